// IP addresses of a static configuration, checked as they are typed: IPv4 and IPv6, the gateway
// inside the address's network. The API has the last word.

import { NOTHING, type Checked } from "./mac";

interface Address {
  readonly bits: bigint;
  readonly width: 32 | 128;
}

const DNS_LIMIT = 8;

/** An address, or null where it is none (RFC 4632 and RFC 4291 text forms, no zone). */
export function readAddress(text: string): Address | null {
  return text.includes(":") ? readV6(text) : readV4(text);
}

/** An address with the length of its prefix: `192.0.2.10/24`. */
export function checkInterface(text: string): Checked {
  const given = text.trim();
  if (!given) return NOTHING;
  const [address = "", length] = given.split("/");
  const found = readAddress(address);
  if (!found) return { value: "", wrong: "This is no IP address." };
  if (length === undefined || length === "") {
    return { value: "", wrong: "The prefix length is missing: 192.0.2.10/24." };
  }
  if (given.split("/").length > 2 || !isLength(length, found.width)) {
    return { value: "", wrong: `The prefix length is 0 to ${found.width}.` };
  }
  return { value: given, wrong: "" };
}

/** A gateway, which must be in the network of `within` where that is right. */
export function checkGateway(text: string, within: string): Checked {
  const given = text.trim();
  if (!given) return NOTHING;
  const gateway = readAddress(given);
  if (!gateway) return { value: "", wrong: "This is no IP address." };
  if (checkInterface(within).value && !isInside(gateway, within.trim())) {
    return { value: "", wrong: "This is not in the address's network." };
  }
  return { value: given, wrong: "" };
}

/** Name servers, with spaces or commas between them. */
export function checkServers(text: string): { values: string[]; wrong: string } {
  const values = text.split(/[\s,]+/).filter(Boolean);
  const bad = values.filter((each) => !readAddress(each));
  if (bad.length) {
    return { values, wrong: `${bad.join(", ")}: ${bad.length > 1 ? "no" : "no IP"} address.` };
  }
  return { values, wrong: values.length > DNS_LIMIT ? `At most ${DNS_LIMIT} name servers.` : "" };
}

/** The whole of a network as JSON: an object; what it says is the API's to check. */
export function checkLinks(text: string): string {
  try {
    const found: unknown = JSON.parse(text);
    const isObject = typeof found === "object" && found !== null && !Array.isArray(found);
    return isObject ? "" : 'It begins with { and has "links".';
  } catch (error) {
    return `This is no JSON: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function isLength(text: string, width: number): boolean {
  return /^\d{1,3}$/.test(text) && Number(text) <= width;
}

function isInside(address: Address, network: string): boolean {
  const [base = "", length = "0"] = network.split("/");
  const found = readAddress(base);
  if (!found || found.width !== address.width) return false;
  const host = BigInt(found.width - Number(length));
  return found.bits >> host === address.bits >> host;
}

function readV4(text: string): Address | null {
  const parts = text.split(".");
  if (parts.length !== 4) return null;
  let bits = 0n;
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return null;
    bits = (bits << 8n) | BigInt(part);
  }
  return { bits, width: 32 };
}

function readV6(text: string): Address | null {
  const halves = text.split("::");
  if (halves.length > 2 || (halves.length === 2 && halves[0]?.includes("."))) return null;
  const head = groups(halves[0] ?? "");
  const tail = halves.length === 2 ? groups(halves[1] ?? "") : [];
  if (!head || !tail) return null;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return null;
  const all = [...head, ...Array<number>(missing).fill(0), ...tail];
  return { bits: all.reduce((bits, group) => (bits << 16n) | BigInt(group), 0n), width: 128 };
}

/** The 16-bit groups of one side of `::`; the last may be an IPv4 address. */
function groups(text: string): number[] | null {
  if (!text) return [];
  const found: number[] = [];
  const parts = text.split(":");
  for (const [place, part] of parts.entries()) {
    if (part.includes(".")) {
      const inner = readV4(part);
      if (!inner || place !== parts.length - 1) return null;
      found.push(Number(inner.bits >> 16n), Number(inner.bits & 0xffffn));
    } else if (/^[0-9a-f]{1,4}$/i.test(part)) found.push(parseInt(part, 16));
    else return null;
  }
  return found;
}
