// The form of a new task: what was typed, what is wrong with it, and the document that it makes.
//
// What can be seen here is said as it is typed; the API is asked all the same and has the last
// word. What it says of a field stands there until the field is changed.

import type { FieldError, Schemas } from "../../lib/api";
import { newKey } from "../../lib/key";
import { forget, keep, kept } from "./draft";
import { isUnfinishedMac, readMac } from "./mac";
import { checkGateway, checkInterface, checkServers } from "./network";
import { readSize } from "./size";

export interface Tag {
  key: string;
  value: string;
}

/** All that can be typed or chosen; texts as they were typed. */
export class Fields {
  idc = "";
  /** The OS and its version with a space between them, which neither has. */
  system = "";
  mac = "";
  sn = "";
  hostname = "";
  tenant = "";
  layout = "auto";
  serial = "";
  wwn = "";
  model = "";
  device = "";
  minSize = "";
  maxSize = "";
  kind = "";
  overwrite = false;
  network = "dhcp";
  address = "";
  gateway = "";
  dns = "";
  sshKeys = "";
  tags: Tag[] = [];
  notes = "";
}

export type Name = keyof Fields;

const DRAFT = "create";
const NOTES = "notes";
const API_NAMES: Record<string, Name> = {
  region_id: "idc",
  target_mac: "mac",
  os_type: "system",
  os_version: "system",
  disk_layout: "layout",
  root_disk: "serial",
  "root_disk.serial": "serial",
  "root_disk.wwn": "wwn",
  "root_disk.model": "model",
  "root_disk.device": "device",
  "root_disk.min_size_bytes": "minSize",
  "root_disk.max_size_bytes": "maxSize",
  "root_disk.rotational": "kind",
  "root_disk.overwrite": "overwrite",
  network_config: "network",
  "network_config.address": "address",
  "network_config.gateway": "gateway",
  "network_config.dns": "dns",
  ssh_keys: "sshKeys",
  "tags.notes": "notes",
};

/** The form's field that an error of the API is about; null where there is none. */
export function placeOf(field: string): Name | null {
  const name = field.replace(/^create\./, "");
  const known = API_NAMES[name] ?? API_NAMES[name.replace(/\.\d+$/, "")];
  if (known) return known;
  if (name.startsWith("tags")) return "tags";
  return name in new Fields() ? (name as Name) : null;
}

interface Refusal {
  readonly value: string;
  readonly message: string;
}
interface Draft {
  readonly fields: Partial<Fields>;
  readonly sent: { readonly body: string; readonly key: string } | null;
}

export class TaskForm {
  fields = $state<Fields>({ ...new Fields() });
  /** What the API said that belongs to no field. */
  elsewhere = $state<readonly string[]>([]);
  /** Whether it was there from an earlier visit. */
  restored = $state(false);
  #left = $state<Partial<Record<Name, boolean>>>({});
  #refused = $state.raw<Partial<Record<Name, Refusal>>>({});
  #sent: { readonly body: string; readonly key: string } | null = null;

  /** What was kept, but what an address names is as it says. */
  constructor(given: Partial<Fields>) {
    const draft = kept<Draft>(DRAFT);
    const same = (name: Name): boolean => !given[name] || draft?.fields?.[name] === given[name];
    if (draft?.fields && same("mac") && same("sn")) {
      Object.assign(this.fields, draft.fields);
      this.#sent = draft.sent ?? null;
      this.restored = this.isTouched();
    }
    Object.assign(this.fields, given);
  }

  /** Whether somebody typed something. */
  isTouched(): boolean {
    const { mac, sn, hostname, sshKeys, serial, address, notes, tags } = this.fields;
    return [mac, sn, hostname, sshKeys, serial, address, notes].some(Boolean) || tags.length > 0;
  }

  /** Keep what is there now in this tab. */
  keep(): void {
    keep(DRAFT, { fields: $state.snapshot(this.fields), sent: this.#sent });
  }

  /** Begin anew, or leave: it was sent. */
  clear(): void {
    forget(DRAFT);
    const { idc, system } = this.fields;
    this.fields = { ...new Fields(), idc, system };
    this.#left = {};
    this.#refused = {};
    this.#sent = null;
    this.elsewhere = [];
    this.restored = false;
  }

  /** The reader is done with this field: what is wrong with it is said now. */
  leave(name: Name): void {
    this.#left[name] = true;
  }

  /** What is wrong with a field, or nothing. */
  wrong(name: Name): string {
    const own = this.#check(name);
    if (own && (this.#left[name] || (name === "mac" && !isUnfinishedMac(this.fields.mac)))) {
      return own;
    }
    const refused = this.#refused[name];
    return refused?.value === this.#text(name) ? refused.message : "";
  }

  /** The address of the NIC as it is stored, or nothing. */
  get mac(): string {
    return readMac(this.fields.mac).value;
  }

  /** Whether something must not leave this page. */
  get hasSecret(): boolean {
    return /PRIVATE KEY/i.test(this.fields.sshKeys);
  }

  /** Put what the API said to its fields. */
  refuse(errors: readonly FieldError[]): void {
    const refused: Partial<Record<Name, Refusal>> = {};
    const elsewhere: string[] = [];
    for (const { field, message } of errors) {
      const name = placeOf(field);
      if (!name) {
        elsewhere.push(`${field}: ${message}`);
        continue;
      }
      const said = name === "tags" ? `${field.replace(/^.*tags\.?/, "")} ${message}` : message;
      const before = refused[name];
      refused[name] = {
        value: this.#text(name),
        message: before ? `${before.message}; ${said}` : said,
      };
    }
    this.#refused = refused;
    this.elsewhere = elsewhere;
    for (const name of Object.keys(new Fields()) as Name[]) this.leave(name);
  }

  /** The key of the call with this body: the same as long as the body is the same. */
  keyOf(body: object): string {
    const text = JSON.stringify(body);
    if (this.#sent?.body !== text) this.#sent = { body: text, key: newKey() };
    this.keep();
    return this.#sent.key;
  }

  /** What `POST /tasks` takes; what is wrong goes as it was typed, for the API to say so. */
  document(): Schemas["NewTask"] {
    const { idc, mac, sn, tenant } = this.fields;
    return {
      ...this.ofReport(),
      idc,
      mac: this.mac || mac.trim(),
      ...given({ sn, tenant }),
    };
  }

  /** The same without what a report of the machine says already. */
  ofReport(): Schemas["TaskOfReport"] {
    const fields = this.fields;
    const [os_type = "", os_version = ""] = fields.system.split(" ");
    const keys = lines(fields.sshKeys);
    const tags = this.#tags();
    const disk = this.#disk();
    return {
      os_type,
      os_version,
      ...given({ hostname: fields.hostname, tenant: fields.tenant }),
      ...(fields.layout === "auto" ? {} : { disk_layout: fields.layout as "auto" }),
      ...(Object.keys(disk).length ? { root_disk: disk } : {}),
      ...(fields.network === "static" ? { network_config: this.#network() } : {}),
      ...(keys.length ? { ssh_keys: keys } : {}),
      ...(Object.keys(tags).length ? { tags } : {}),
    };
  }

  #check(name: Name): string {
    const fields = this.fields;
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

  #text(name: Name): string {
    return JSON.stringify(this.fields[name]);
  }

  #tags(): Record<string, string> {
    const pairs = this.fields.tags
      .filter(({ key, value }) => key.trim() || value.trim())
      .map(({ key, value }): [string, string] => [key.trim(), value.trim()]);
    const notes = this.fields.notes.trim();
    return Object.fromEntries(notes ? [...pairs, [NOTES, notes]] : pairs);
  }

  #disk(): Partial<Schemas["RootDiskHints"]> {
    const { serial, wwn, model, device, minSize, maxSize, kind, overwrite } = this.fields;
    return {
      ...given({ serial, wwn, model, device }),
      ...(minSize.trim() ? { min_size_bytes: bytes(minSize) } : {}),
      ...(maxSize.trim() ? { max_size_bytes: bytes(maxSize) } : {}),
      ...(kind ? { rotational: kind === "hdd" } : {}),
      ...(overwrite ? { overwrite } : {}),
    };
  }

  #network(): Schemas["Network"] {
    const { address, gateway, dns } = this.fields;
    const servers = checkServers(dns).values;
    return {
      address: address.trim(),
      ...given({ gateway }),
      ...(servers.length ? { dns: servers } : {}),
    };
  }
}

function given<T extends Record<string, string>>(texts: T): Partial<T> {
  const pairs = Object.entries(texts).map(([name, text]) => [name, text.trim()]);
  return Object.fromEntries(pairs.filter(([, text]) => text)) as Partial<T>;
}

function lines(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line && !line.startsWith("#"));
}

/** A number of bytes; what is none goes as text, which the API refuses at its field. */
function bytes(text: string): number {
  const { value } = readSize(text);
  return (value ? Number(value) : text) as number;
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
