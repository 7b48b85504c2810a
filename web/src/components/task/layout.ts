// How a task wants its disks laid out, in words.

import type { Schemas } from "../../lib/api";
import { bytes } from "../../lib/format";

type Layout = Schemas["StorageLayout"];

/** The document of a layout in one line. */
export function layoutWords(layout: Layout): string {
  const members = (layout.members ?? []).map(
    (each) => each.serial ?? each.wwn ?? each.device ?? each.path ?? "any",
  );
  const parts = (layout.partitions ?? []).map((each) => {
    const size = each.fill ? "the rest" : bytes(each.size_bytes ?? 0);
    return `${each.mount ?? each.name ?? ""} ${size}`;
  });
  const words = [
    layout.raid && layout.raid.replace("raid", "RAID "),
    layout.disks && `${layout.disks} disks`,
    members.length && `disks ${members.join(", ")}`,
    layout.lvm && "LVM",
    layout.encrypt && "encrypted",
    layout.filesystem,
    layout.swap_bytes && `swap ${bytes(layout.swap_bytes)}`,
    ...parts,
    layout.erase && layout.erase !== "signatures" && `erased by ${layout.erase.replace("_", " ")}`,
  ];
  return words.filter(Boolean).join(", ") || "auto";
}
