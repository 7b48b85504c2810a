// What can be seen to be wrong with a field as it is typed.

import type { Fields, Name } from "./fields";
import { readMac } from "./mac";
import { checkGateway, checkInterface, checkLinks, checkServers } from "./network";
import { readSize } from "./size";
import { checkPartitions, OWN } from "./storage";

/** What is wrong with a field, or nothing. */
export function check(fields: Fields, name: Name): string {
  const isStatic = fields.network === "static";
  const isOwn = fields.layout === OWN;
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
    case "swap":
      return isOwn ? readSize(fields.swap).wrong : "";
    case "lvm":
      return isOwn ? checkLvm(fields) : "";
    case "passphrase":
      return isOwn && fields.encrypt ? checkPassphrase(fields.passphrase) : "";
    case "partitions":
      return isOwn ? checkPartitions(fields.partitions) : "";
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

function checkLvm({ lvm, encrypt, swap, partitions }: Fields): string {
  if (!encrypt || lvm) return "";
  const several =
    swap.trim() !== "" || partitions.some(({ mount }) => !["/", "/boot"].includes(mount.trim()));
  return several ? "With encryption it is needed: then one passphrase opens all." : "";
}

function checkPassphrase(text: string): string {
  if (!/^[ -~]*$/.test(text)) return "ASCII only: the console's keyboard may not be yours.";
  return text.length < 8 ? "At least 8 characters." : "";
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
