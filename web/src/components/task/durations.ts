// How long things took: between the events of a task, and in each stage of its installation.

import { duration } from "../../lib/format";

interface Dated {
  readonly timestamp: string;
}

/** Seconds from one time to another. */
export function secondsBetween(from: string, to: string | number): number {
  const end = typeof to === "number" ? to : Date.parse(to);
  return (end - Date.parse(from)) / 1000;
}

/**
 * Seconds from each entry's predecessor to it; null for the first, and where the clocks of two parts
 * differ so much that it would be less than nothing.
 */
export function gaps(entries: readonly Dated[]): (number | null)[] {
  return entries.map((entry, place) => {
    const before = entries[place - 1];
    if (!before) return null;
    const seconds = secondsBetween(before.timestamp, entry.timestamp);
    return seconds < 0 ? null : seconds;
  });
}

/**
 * The entries with the times when they began: a stage is dated by its last word, and began when
 * what stands before it was over.
 */
export function begun<T extends Dated>(
  entries: readonly T[],
  isStage: (place: number) => boolean,
): T[] {
  return entries.map((entry, place) => {
    const before = entries[place - 1];
    return before && isStage(place) ? { ...entry, timestamp: before.timestamp } : entry;
  });
}

/** Seconds from the first entry to the last, or to `now` (milliseconds since 1970) where given. */
export function total(entries: readonly Dated[], now: number | null): number {
  const first = entries[0];
  const last = entries.at(-1);
  if (!first || !last) return 0;
  return Math.max(0, secondsBetween(first.timestamp, now ?? last.timestamp));
}

export interface Stage {
  readonly name: string;
  readonly message: string;
  readonly percent: number;
  readonly bytesDone: number | null;
  readonly bytesTotal: number | null;
  readonly rate: number | null;
  /** Seconds that it took, or takes so far; null where that is not known. */
  readonly seconds: number | null;
  readonly current: boolean;
}

interface Step extends Dated {
  readonly step: string;
  readonly percent: number;
  readonly message?: string;
  readonly bytes_done?: number | null;
  readonly bytes_total?: number | null;
  readonly bytes_per_second?: number | null;
}

/**
 * The stages of an installation.
 *
 * @param started When the installation began; null: not known.
 * @param now Milliseconds since 1970 while it goes on; null where it is over.
 */
export function stages(
  steps: readonly Step[],
  started: string | null,
  now: number | null,
): Stage[] {
  return steps.map((step, place) => {
    const from = steps[place - 1]?.timestamp ?? started;
    const current = now !== null && place === steps.length - 1;
    const seconds = from === null ? null : secondsBetween(from, current ? now : step.timestamp);
    return {
      name: step.step,
      message: step.message ?? "",
      percent: step.percent,
      bytesDone: step.bytes_done ?? null,
      bytesTotal: step.bytes_total ?? null,
      rate: step.bytes_per_second ?? null,
      seconds: seconds === null || seconds < 0 ? null : seconds,
      current,
    };
  });
}

/** Seconds to the end of a stage at its rate; null where bytes or rate are not known. */
export function remaining(stage: Stage): number | null {
  if (stage.bytesDone === null || stage.bytesTotal === null || !stage.rate || stage.rate < 1) {
    return null;
  }
  return Math.max(0, stage.bytesTotal - stage.bytesDone) / stage.rate;
}

/** A length of time, or a dash where it is not known. */
export function lasting(seconds: number | null): string {
  return seconds === null ? "–" : duration(seconds);
}
