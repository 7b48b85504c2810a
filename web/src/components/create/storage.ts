// From what was chosen of the disks to `disk_layout`; what is wrong goes as it was typed.

import type { Schemas } from "../../lib/api";
import type { Fields } from "./fields";
import { readSize } from "./size";

export type Layout = Schemas["StorageLayout"];
export type Raid = NonNullable<Layout["raid"]>;

/** The layout whose parts are all chosen one by one. */
export const OWN = "own";

/** A file system of its own, as it was typed. */
export interface Wish {
  mount: string;
  size: string;
  fill: boolean;
  filesystem: string;
}

/** One of the machine's disks that was chosen by hand. */
export interface Chosen {
  readonly serial?: string;
  readonly wwn?: string;
  readonly device?: string;
}

const FEWEST: Readonly<Record<string, number>> = { raid1: 2, raid5: 3, raid10: 4 };

/** The RAID level that is chosen, or nothing. */
export function raidOf(fields: Fields): string {
  if (fields.layout === OWN) return fields.raid;
  return fields.layout in FEWEST ? fields.layout : "";
}

/** How many disks the layout takes. */
export function diskCount(fields: Fields): number {
  const raid = raidOf(fields);
  if (!raid) return 1;
  const asked = fields.layout === OWN ? Number(fields.diskCount) : 0;
  return fields.members.length || asked || (FEWEST[raid] ?? 1);
}

/** Whether the disks are named one by one, in place of wishes for all of them. */
export function namesDisks(fields: Fields): boolean {
  return raidOf(fields) !== "" && fields.members.length > 0;
}

/** `disk_layout`; nothing where it is what there would be without one. */
export function layoutOf(fields: Fields): string | Layout | undefined {
  const members = namesDisks(fields)
    ? fields.members.map((each) => ({
        ...each,
        ...(fields.overwrite && each.device ? { overwrite: true } : {}),
      }))
    : [];
  if (fields.layout !== OWN) {
    if (!members.length) return fields.layout === "auto" ? undefined : fields.layout;
    return { raid: raidOf(fields) as Raid, members };
  }
  const count = fields.diskCount.trim();
  return {
    ...(fields.raid ? { raid: fields.raid as Raid } : {}),
    ...(fields.raid && count && !members.length ? { disks: number(count) } : {}),
    ...(members.length ? { members } : {}),
    ...(fields.lvm ? { lvm: true } : {}),
    ...(fields.encrypt ? { encrypt: true } : {}),
    filesystem: fields.filesystem as "ext4",
    ...(fields.swap.trim() ? { swap_bytes: size(fields.swap) } : {}),
    ...(fields.partitions.length ? { partitions: fields.partitions.map(partition) } : {}),
    ...(fields.erase === "signatures" ? {} : { erase: fields.erase as "discard" }),
  };
}

/** What is wrong with a table of partitions, as far as it can be seen. */
export function checkPartitions(wishes: readonly Wish[]): string {
  for (const [place, { mount, size: text, fill }] of wishes.entries()) {
    const row = `Partition ${place + 1}`;
    if (!mount.trim().startsWith("/")) return `${row}: where it is mounted begins with /.`;
    if (!fill && !text.trim()) return `${row}: it needs a size, or takes the rest.`;
    if (readSize(text).wrong) return `${row}: ${readSize(text).wrong}`;
  }
  const filling = wishes.filter((each) => each.fill);
  if (filling.length > 1) return "Only one of them takes the rest.";
  if (filling.length && !wishes.some((each) => each.mount.trim() === "/")) {
    return "What is left is for /: list it too, with its size.";
  }
  return "";
}

function partition(wish: Wish): NonNullable<Layout["partitions"]>[number] {
  const { mount, fill, filesystem } = wish;
  const given = wish.size.trim();
  return {
    mount: mount.trim(),
    ...(fill ? { fill } : { size_bytes: size(given) }),
    ...(fill && given ? { min_bytes: size(given) } : {}),
    ...(filesystem ? { filesystem: filesystem as "ext4" } : {}),
  };
}

/** A number of bytes; what is none goes as text, which the API refuses at its field. */
function size(text: string): number {
  const { value } = readSize(text);
  return (value ? Number(value) : text) as number;
}

function number(text: string): number {
  return (/^\d+$/.test(text) ? Number(text) : text) as number;
}
