// A job in words: what a step was given, and how steps ended, in the order of the steps.

import type { Schemas } from "../../lib/api";

export interface Ended {
  readonly passed: boolean;
  readonly seconds: number;
  readonly summary: string;
  readonly evidence: readonly string[];
}

/** What a step was given besides its name and disks. */
export function argumentsOf(asked: object): string {
  return Object.entries(asked)
    .filter(([name]) => name !== "step" && name !== "disks")
    .filter(([, value]) => value !== false && value !== null)
    .map(([name, value]) => {
      const words = name.replace("_", " ");
      return value === true ? words : `${words} ${String(value)}`;
    })
    .join(", ");
}

/** The results by the number of their step: the nth result is the nth step's. */
export function outcomes(results: readonly Schemas["StepResult"][]): Ended[] {
  return results.map(({ outcome, seconds, summary, evidence }) => ({
    passed: outcome === "passed",
    seconds,
    summary,
    evidence: evidence ?? [],
  }));
}
