import { describe, expect, it } from "vitest";

import { writtenBy } from "../../lib/tasktable/plans";
import { argumentsOf, outcomes } from "./job";

describe("a job in words", () => {
  it("says what a step was given, but for its disks", () => {
    const asked = { step: "disk_test", mode: "write", size_bytes: 5, disks: [{ serial: "A" }] };
    expect(argumentsOf(asked)).toBe("mode write, size bytes 5");
    expect(argumentsOf({ step: "inventory" })).toBe("");
  });

  it("names the disks that are written, and no other", () => {
    const disk = (device: string) => ({ device, size_bytes: 1 });
    const plan = {
      steps: [
        { asked: { step: "disk_test" as const }, devices: ["/dev/sda", "/dev/sdb"] },
        {
          asked: { step: "disk_erase" as const, disks: [{ serial: "B" }] },
          devices: ["/dev/sdb"],
          writes: true,
        },
      ],
      disks: [disk("/dev/sda"), disk("/dev/sdb")],
    };
    expect(writtenBy(plan).map(({ device }) => device)).toEqual(["/dev/sdb"]);
  });

  it("knows what passed", () => {
    const result = { step: "disk_test", seconds: 1, summary: "bad", evidence: ["at 0"] };
    const found = outcomes([
      { ...result, outcome: "passed" },
      { ...result, outcome: "failed" },
    ]);
    expect(found.map(({ passed }) => passed)).toEqual([true, false]);
  });
});
