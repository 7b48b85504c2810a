// How far a task's install is, in a few words.

import { bytes, duration } from "../format";
import type { TaskRow } from "./table";

export interface HowFar {
  /** The step, and how far the whole is. */
  readonly step: string;
  /** The bytes and their rate, as far as they are known. */
  readonly amount: string;
  /** How long it will take; empty where nobody knows. */
  readonly left: string;
}

/** Step and part, bytes and rate, remaining time. */
export function howFar(row: TaskRow): HowFar {
  const { bytes_done: done, bytes_total: total, bytes_per_second: rate, remaining_s: left } = row;
  const amount =
    done === null ? "" : total === null ? bytes(done) : `${bytes(done)} of ${bytes(total)}`;
  return {
    step: `${row.stage} · ${Math.round(row.percentage)} %`,
    amount: [amount, rate === null ? "" : `${bytes(rate)}/s`].filter(Boolean).join(" · "),
    left: left === null ? "" : `${remaining(left)} left`,
  };
}

/** A guess need not be exact: two units only from an hour on. */
function remaining(seconds: number): string {
  if (seconds < 60) return `${Math.ceil(seconds)} s`;
  return seconds < 3600 ? `${Math.ceil(seconds / 60)} min` : duration(seconds);
}
