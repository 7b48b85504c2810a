// How wide the parts of a disk are drawn: in proportion, but none too narrow to be seen.

import type { Schemas } from "../../lib/api";
import { blocks, layers, purpose } from "./blocks";

type DiskPlan = Schemas["DiskPlan"];

export interface Part {
  readonly number: number;
  readonly name: string;
  readonly filesystem: string | null;
  readonly sizeBytes: number;
  /** Of the bar, 0 to 100. */
  readonly percent: number;
}

/** What the narrowest part has of the bar. */
export const LEAST_PERCENT = 4;

/** What is left for nobody where the plan's last partition has a size; below it, it is rounding. */
const LEAST_FREE_BYTES = 64 * 2 ** 20;

/**
 * The partitions of a plan as they are drawn on a disk of it; the one without a size takes what the
 * others leave. Where all have one, the rest is the part of number 0.
 */
export function parts(plan: DiskPlan, sizeBytes = plan.size_bytes): Part[] {
  const found = blocks(plan).map((block, place) => ({
    number: plan.partitions[place]?.number ?? 0,
    name: purpose(block),
    filesystem: layers(block) || null,
    known: block.sizeBytes ?? null,
  }));
  const rest = Math.max(0, sizeBytes - found.reduce((sum, each) => sum + (each.known ?? 0), 0));
  const all = found.every((each) => each.known !== null);
  if (found.length && all && rest > LEAST_FREE_BYTES) {
    found.push({ number: 0, name: "Free", filesystem: null, known: rest });
  }
  const sizes = found.map((each) => each.known ?? rest);
  const percents = shares(sizes, LEAST_PERCENT);
  return found.map(({ number, name, filesystem }, place) => ({
    number,
    name,
    filesystem,
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
