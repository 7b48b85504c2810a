// What can be seen to be wrong with a field as it is typed.

import type { Fields, Name } from "./fields";
import { readMac } from "./mac";
import { checkGateway, checkInterface, checkLinks, checkServers } from "./network";
import { readSize } from "./size";

/** What is wrong with a field, or nothing. */
export function check(fields: Fields, name: Name): string {
  const isStatic = fields.network === "static";
  switch (name) {
    case "mac":
      return fields.mac.trim() ? readMac(fields.mac).wrong : "The MAC address is needed.";
    case "idc":
      return fields.idc ? "" : "Choose a region.";
    case "system":
      return fields.system ? "" : "Choose a system.";
    case "address":
      if (!isStatic) return "";
      return fields.address.trim() ? checkInterface(fields.address).wrong : "It is needed.";
    case "gateway":
      return isStatic ? checkGateway(fields.gateway, fields.address).wrong : "";
    case "dns":
      return isStatic ? checkServers(fields.dns).wrong : "";
    case "links":
      return fields.network === "links" ? checkLinks(fields.links) : "";
    case "minSize":
      return readSize(fields.minSize).wrong;
    case "maxSize":
      return checkMaximum(fields.minSize, fields.maxSize);
    case "sshKeys":
      return checkKeys(fields.sshKeys);
    default:
      return "";
  }
}

function checkMaximum(least: string, most: string): string {
  const { value, wrong } = readSize(most);
  if (wrong || !value || !readSize(least).value) return wrong;
  return Number(value) < Number(readSize(least).value) ? "It is below the smallest size." : "";
}

const KEY =
  /^(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9@.-]+) [A-Za-z0-9+/=]{16,}/;

function checkKeys(text: string): string {
  if (/PRIVATE KEY/i.test(text)) {
    return "This is a private key: it must stay with you. Give the public one (….pub).";
  }
  const place = text.split("\n").findIndex((line) => {
    const key = line.trim();
    return key !== "" && !key.startsWith("#") && !KEY.test(key);
  });
  return place < 0 ? "" : `Line ${place + 1} is no OpenSSH public key.`;
}
