// How long the parts of one task took, beside what they usually take: the rows of a picture.

import type { Schemas } from "../../lib/api";

type Took = Schemas["Took"];

export interface Part {
  readonly name: string;
  readonly seconds: number;
  /** What it usually takes; null before a machine of this model was installed. */
  readonly usual: Took | null;
  /** Whether it took longer than 19 of 20 do, which are known to a tenth of a second. */
  readonly slow: boolean;
  /** How far along the picture it reaches, and its usual times do: 0 to 100. */
  readonly percent: number;
  readonly p50: number;
  readonly p95: number;
}

/** In these a task waits for people, or for the region and the power switch. */
const WAITS: ReadonlySet<string> = new Set(["pending", "ready", "pending_approval", "approved"]);
const NAMES: Readonly<Record<string, string>> = {
  "boot.address": "address",
  "boot.loader": "boot loader",
  "boot.ipxe": "iPXE",
  "boot.kernel": "kernel",
  "boot.initramfs": "initramfs",
  "boot.start": "agent starts",
  booting: "netboot",
  first_boot: "first boot",
  "restart.seen": "restart",
  "restart.script": "netboot again",
  "restart.system": "system starts",
};
const FEW = 5;

/**
 * Each part once, in the order of the machine's way: a whole is left out where its parts are known.
 *
 * @param durations Seconds by part.
 * @param usual The percentiles of each part.
 */
export function parts(durations: Readonly<Record<string, number>>, usual: readonly Took[]): Part[] {
  const shown = Object.entries(durations).filter(([part]) => isShown(part, durations));
  const known = new Map(usual.map((each) => [each.part, each]));
  const longest = Math.max(
    0.001,
    ...shown.flatMap(([part, seconds]) => [seconds, known.get(part)?.p95_s ?? 0]),
  );
  const along = (seconds: number): number => (100 * seconds) / longest;
  return shown.map(([part, seconds]) => {
    const found = known.get(part) ?? null;
    return {
      name: NAMES[part] ?? part.replace(/^install\./, ""),
      seconds,
      usual: found,
      slow: found !== null && found.count >= FEW && seconds > found.p95_s + 0.05,
      percent: along(seconds),
      p50: along(found?.p50_s ?? 0),
      p95: along(found?.p95_s ?? 0),
    };
  });
}

function isShown(part: string, durations: Readonly<Record<string, number>>): boolean {
  if (part === "whole" || part === "boot" || WAITS.has(part)) return false;
  if (part === "booting") return !("boot.start" in durations);
  if (part === "installing") return !Object.keys(durations).some(isStep);
  if (part === "first_boot") return !("restart.system" in durations);
  return !part.startsWith("restart.") || "restart.system" in durations;
}

function isStep(part: string): boolean {
  const other = part in NAMES || part === "whole" || part === "boot" || part === "installing";
  return !other && !WAITS.has(part);
}
