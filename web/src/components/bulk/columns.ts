// The columns of a bulk file, and a JSON array of tasks as such a table.

import { Unreadable } from "./csv";

export const NEEDED = ["idc", "mac", "os_type", "os_version"] as const;
const OLDER: Record<string, string> = { idc: "region_id", mac: "target_mac" };
const KNOWN = new Set([
  ...NEEDED,
  ...Object.values(OLDER),
  "sn",
  "hostname",
  "method",
  "kernel_arguments",
  "disk_layout",
  "disk_passphrase",
  "root_disk.serial",
  "root_disk.wwn",
  "root_disk.model",
  "root_disk.device",
  "root_disk.min_size_bytes",
  "root_disk.max_size_bytes",
  "root_disk.rotational",
  "root_disk.overwrite",
  "root_disk.nvme",
  "root_disk.path",
  "network_config",
  "network_config.address",
  "network_config.gateway",
  "network_config.dns",
  "network_config.search",
  "ssh_keys",
  "tenant",
]);

/** What stands in the file that one may begin with. */
export const TEMPLATE: readonly (readonly string[])[] = [
  [
    "idc",
    "mac",
    "sn",
    "os_type",
    "os_version",
    "hostname",
    "network_config.address",
    "network_config.gateway",
    "network_config.dns",
    "root_disk.serial",
    "ssh_keys",
    "tags.rack",
  ],
  ["dc1", "52:54:00:00:00:01", "SN-0001", "debian", "12", "web-1", "", "", "", "", "", "r7"],
];

export interface Table {
  readonly header: readonly string[];
  readonly rows: string[][];
}

/** What is wrong with the names of the columns, each in a sentence. */
export function headerProblems(header: readonly string[]): string[] {
  const unknown = header.filter((name) => !KNOWN.has(name) && !/^tags\../.test(name));
  const twice = header.filter((name, place) => header.indexOf(name) !== place);
  const missing = NEEDED.filter(
    (name) => !header.includes(name) && !header.includes(OLDER[name] ?? name),
  );
  return [
    ...[...new Set(unknown)].map((name) => `“${name}” is no column.`),
    ...[...new Set(twice)].map((name) => `The column “${name}” is there twice.`),
    ...missing.map((name) => `The column “${name}” is missing.`),
  ];
}

/** The column that an error of the API is about; -1 where it is about the whole row. */
export function columnOf(header: readonly string[], field: string): number {
  const older = Object.entries(OLDER).find(([name]) => name === field)?.[1];
  for (const name of [field, older, field.replace(/\.\d+$/, ""), field.replace(/\..*$/, "")]) {
    const place = name === undefined ? -1 : header.indexOf(name);
    if (place >= 0) return place;
  }
  return -1;
}

/** A JSON array of tasks as a table. Raises `Unreadable` where it is none. */
export function tableOfJson(text: string): Table {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch (error) {
    throw new Unreadable(`This is not JSON: ${error instanceof Error ? error.message : ""}`);
  }
  if (!Array.isArray(found) || found.some((each) => typeof each !== "object" || each === null)) {
    throw new Unreadable("A JSON file must be an array of tasks: [{…}, {…}].");
  }
  const flat = (found as Record<string, unknown>[]).map(flattened);
  const header = [...new Set([...NEEDED, ...flat.flatMap((each) => [...each.keys()])])];
  return { header, rows: flat.map((each) => header.map((name) => each.get(name) ?? "")) };
}

function flattened(task: Record<string, unknown>): Map<string, string> {
  const cells = new Map<string, string>();
  for (const [name, value] of Object.entries(task)) {
    const renamed = Object.entries(OLDER).find(([, older]) => older === name)?.[0] ?? name;
    const isParted = typeof value === "object" && value !== null && !Array.isArray(value);
    if (isParted && name !== "disk_layout") {
      for (const [inner, each] of Object.entries(value)) {
        cells.set(`${renamed}.${inner}`, cellOf(each, " "));
      }
    } else cells.set(renamed, cellOf(value, "\n"));
  }
  return cells;
}

function cellOf(value: unknown, between: string): string {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.map((each) => cellOf(each, between)).join(between);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
