// How wide the parts of a disk are drawn: in proportion, but none too narrow to be seen.

import type { Schemas } from "../../lib/api";

type DiskPlan = Schemas["DiskPlan"];

export interface Part {
  readonly number: number;
  readonly name: string;
  readonly filesystem: string | null;
  readonly sizeBytes: number;
  /** Of the bar, 0 to 100. */
  readonly percent: number;
}

const NAMES: Readonly<Record<string, string>> = {
  bios_boot: "BIOS boot",
  esp: "EFI system",
  root: "Root",
  swap: "Swap",
  boot: "Boot",
};

/** What the narrowest part has of the bar. */
export const LEAST_PERCENT = 4;

/** The partitions of a plan as they are drawn; the one without a size takes what the others leave. */
export function parts(plan: DiskPlan): Part[] {
  const known = plan.partitions.reduce((sum, each) => sum + (each.size_bytes ?? 0), 0);
  const rest = Math.max(0, plan.size_bytes - known);
  const sizes = plan.partitions.map((each) => each.size_bytes ?? rest);
  const percents = shares(sizes, LEAST_PERCENT);
  return plan.partitions.map((each, place) => ({
    number: each.number,
    name: NAMES[each.role] ?? each.role,
    filesystem: each.filesystem,
    sizeBytes: sizes[place] ?? 0,
    percent: percents[place] ?? 0,
  }));
}

/** Percentages of sizes that add up to 100, each at least `least` (or equal, where that is too much). */
export function shares(sizes: readonly number[], least: number): number[] {
  if (sizes.every((size) => size === 0)) return sizes.map(() => 100 / sizes.length);
  const floor = Math.min(least, 100 / sizes.length);
  const narrow = new Set<number>();
  for (;;) {
    const wide = sizes.reduce((sum, size, place) => (narrow.has(place) ? sum : sum + size), 0);
    const room = 100 - narrow.size * floor;
    const percent = (size: number): number => (wide > 0 ? (size / wide) * room : 0);
    const found = sizes.findIndex((size, place) => !narrow.has(place) && percent(size) < floor);
    if (found < 0) return sizes.map((size, place) => (narrow.has(place) ? floor : percent(size)));
    narrow.add(found);
  }
}
