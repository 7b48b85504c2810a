// A disk plan as a tree: each partition, and what stands on it, and on that.

import type { Schemas } from "../../lib/api";

type DiskPlan = Schemas["DiskPlan"];
export type Written = Pick<
  DiskPlan,
  "device" | "size_bytes" | "serial" | "wwn" | "model" | "overwrites"
>;

export interface Block {
  /** What the block is called; unique in its plan. */
  readonly id: string;
  /** What kind of block it is, for people. */
  readonly what: string;
  /** null: the rest; undefined: as large as what it stands on. */
  readonly sizeBytes: number | null | undefined;
  /** The file system on it, or empty. */
  readonly filesystem: string;
  readonly mount: string;
  readonly above: readonly Block[];
}

const ROLES: Readonly<Record<string, string>> = {
  bios_boot: "BIOS boot",
  esp: "EFI system",
  root: "Root",
};
const LEVELS: Readonly<Record<string, string>> = {
  raid1: "RAID 1",
  raid5: "RAID 5",
  raid10: "RAID 10",
};

/** Every disk that is written, the first one first. */
export function disksOf(plan: DiskPlan): Written[] {
  return [plan, ...(plan.members ?? [])];
}

/** The partitions of a plan, each with what stands on it. */
export function blocks(plan: DiskPlan): Block[] {
  const count = disksOf(plan).length;
  return plan.partitions.map((part) => {
    const id = `p${part.number}`;
    const arrays = (plan.arrays ?? [])
      .filter((array) => array.partition === part.number)
      .map((array) =>
        block(plan, array.id, `${LEVELS[array.level] ?? array.level} over ${count} disks`),
      );
    const found = block(plan, id, ROLES[part.role] ?? "Partition", part.size_bytes);
    return {
      ...found,
      filesystem: found.filesystem || (part.filesystem ?? ""),
      mount: found.mount || (part.role === "esp" ? "/boot/efi" : part.role === "root" ? "/" : ""),
      above: [...arrays, ...found.above],
    };
  });
}

/** What a block is for, in a word or two: its mount point's name, or what it carries. */
export function purpose(found: Block): string {
  if (found.what !== "Partition" && ["p1", "p2"].includes(found.id)) return found.what;
  if (found.filesystem === "swap") return "Swap";
  if (found.mount === "/") return "Root";
  if (found.mount) return found.mount === "/boot" ? "Boot" : found.mount;
  const [only, ...others] = found.above;
  if (only && !others.length) {
    if (only.what === "LVM group") return "LVM";
    return only.what.startsWith("LUKS") ? "Encrypted" : purpose(only);
  }
  return found.filesystem ? found.id : found.what;
}

/** What stands on a block, from below to above, without its volumes: `RAID 1, LUKS2, LVM`. */
export function layers(found: Block): string {
  const words: string[] = [];
  for (let at: Block | undefined = found.above[0]; at; at = at.above[0]) {
    if (at.what === "volume") break;
    words.push(at.what.replace(/ (over|group).*/, ""), at.filesystem);
  }
  return [found.filesystem, ...words].filter(Boolean).join(", ");
}

function block(plan: DiskPlan, id: string, what: string, sizeBytes?: number | null): Block {
  const made = (plan.filesystems ?? []).find((each) => each.on === id);
  return {
    id,
    what,
    sizeBytes,
    filesystem: made?.kind ?? "",
    mount: made?.mount ?? "",
    above: [
      ...(plan.encrypted ?? [])
        .filter((each) => each.on === id)
        .map((each) => block(plan, each.id, "LUKS2 encrypted")),
      ...(plan.groups ?? [])
        .filter((group) => group.on === id)
        .map((group) => ({
          ...block(plan, group.id, "LVM group"),
          above: group.volumes.map((volume) =>
            block(plan, `${group.id}/${volume.name}`, "volume", volume.size_bytes),
          ),
        })),
    ],
  };
}
