// From what was typed to the document that the API takes; what is wrong goes as it was typed.

import type { Schemas } from "../../lib/api";
import type { Fields } from "./fields";
import { presetOf } from "./jobs";
import { readMac } from "./mac";
import { checkServers } from "./network";
import { setupOf } from "./setup";
import { readSize } from "./size";
import { layoutOf, namesDisks, OWN } from "./storage";

const NOTES = "notes";

/** What `POST /tasks` takes. */
export function newTask(fields: Fields): Schemas["NewTask"] {
  const { idc, mac, sn, tenant } = fields;
  return {
    ...(jobOf(fields) ?? ofReport(fields)),
    idc,
    mac: readMac(mac).value || mac.trim(),
    ...given({ sn, tenant }),
  };
}

/** A job in place of an install, with nothing of one; null where it is an install. */
function jobOf(fields: Fields): Partial<Schemas["NewTask"]> | null {
  const preset = presetOf(fields.system);
  if (!preset) return null;
  const keys = preset.name === "rescue" ? lines(fields.sshKeys) : [];
  const tags = tagsOf(fields);
  return {
    job: { steps: preset.steps(keys.length > 0) },
    ...given({ hostname: fields.hostname }),
    ...(keys.length ? { ssh_keys: keys } : {}),
    ...(Object.keys(tags).length ? { tags } : {}),
  };
}

/** The same without what a report of the machine says already. */
export function ofReport(fields: Fields): Schemas["TaskOfReport"] {
  const [os_type = "", os_version = ""] = fields.system.split(" ");
  const keys = lines(fields.sshKeys);
  const tags = tagsOf(fields);
  const disk = namesDisks(fields) ? {} : diskOf(fields);
  const layout = layoutOf(fields);
  const setup = setupOf(fields);
  const isSecret = fields.layout === OWN && fields.encrypt;
  return {
    os_type,
    os_version,
    ...given({
      hostname: fields.hostname,
      tenant: fields.tenant,
      kernel_arguments: fields.kernelArguments,
    }),
    ...(fields.method ? { method: fields.method } : {}),
    ...(layout === undefined ? {} : { disk_layout: layout as "auto" }),
    ...(isSecret && fields.passphrase ? { disk_passphrase: fields.passphrase } : {}),
    ...(Object.keys(disk).length ? { root_disk: disk } : {}),
    ...(fields.network === "dhcp" ? {} : { network_config: networkOf(fields) }),
    ...(keys.length ? { ssh_keys: keys } : {}),
    ...(setup ? { setup } : {}),
    ...(Object.keys(tags).length ? { tags } : {}),
  };
}

function tagsOf(fields: Fields): Record<string, string> {
  const pairs = fields.tags
    .filter(({ key, value }) => key.trim() || value.trim())
    .map(({ key, value }): [string, string] => [key.trim(), value.trim()]);
  const notes = fields.notes.trim();
  return Object.fromEntries(notes ? [...pairs, [NOTES, notes]] : pairs);
}

function diskOf(fields: Fields): Partial<Schemas["RootDiskHints"]> {
  const { serial, wwn, model, device, path, minSize, maxSize, kind, overwrite } = fields;
  return {
    ...given({ serial, wwn, model, device, path }),
    ...(minSize.trim() ? { min_size_bytes: bytes(minSize) } : {}),
    ...(maxSize.trim() ? { max_size_bytes: bytes(maxSize) } : {}),
    ...(kind === "nvme" ? { nvme: true } : kind ? { rotational: kind === "hdd" } : {}),
    ...(overwrite ? { overwrite } : {}),
  };
}

function networkOf(fields: Fields): Schemas["Network"] {
  if (fields.network === "links") return parsed(fields.links);
  const { address, gateway, dns } = fields;
  const servers = checkServers(dns).values;
  return {
    address: address.trim(),
    ...given({ gateway }),
    ...(servers.length ? { dns: servers } : {}),
  };
}

/** JSON as what it says; what is none goes as text, which the API refuses at its field. */
function parsed(text: string): Schemas["Network"] {
  try {
    return JSON.parse(text) as Schemas["Network"];
  } catch {
    return text as unknown as Schemas["Network"];
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
