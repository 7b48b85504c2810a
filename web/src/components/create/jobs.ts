// The jobs that can be chosen in the form of a new task; those that write are for API and CLI.

import type { Schemas } from "../../lib/api";

type Step = Schemas["Job"]["steps"][number];

interface Preset {
  readonly name: string;
  readonly what: string;
  readonly steps: (keys: boolean) => Step[];
}

const PREFIX = "job ";
const RESCUE_MINUTES = 60;

export const PRESETS: readonly Preset[] = [
  {
    name: "burn-in",
    what: "test memory, and read every disk",
    steps: () => [{ step: "memory_test" }, { step: "disk_test" }, { step: "inventory" }],
  },
  { name: "memory-test", what: "test memory", steps: () => [{ step: "memory_test" }] },
  { name: "disk-test", what: "read every disk", steps: () => [{ step: "disk_test" }] },
  { name: "inventory", what: "report the hardware", steps: () => [{ step: "inventory" }] },
  {
    name: "rescue",
    what: `keep the agent up for ${RESCUE_MINUTES} minutes, with SSH for the keys given`,
    steps: (keys) => [{ step: "rescue", minutes: RESCUE_MINUTES, ...(keys ? { ssh: true } : {}) }],
  },
];

/** What stands for a preset where a system is chosen. */
export function valueOf(preset: Preset): string {
  return PREFIX + preset.name;
}

/** The preset that was chosen in place of a system; undefined: it is an install. */
export function presetOf(system: string): Preset | undefined {
  return PRESETS.find((preset) => valueOf(preset) === system);
}
