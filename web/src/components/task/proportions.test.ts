import { describe, expect, it } from "vitest";

import { LEAST_PERCENT, parts, shares } from "./proportions";

const sum = (numbers: readonly number[]): number => numbers.reduce((all, each) => all + each, 0);

describe("shares", () => {
  it("are in proportion where all are wide enough", () => {
    expect(shares([1, 1, 2], 4)).toEqual([25, 25, 50]);
  });

  it("are never below the least, and add up to 100", () => {
    for (const sizes of [[1, 512, 900_000], [0, 0, 5], [1, 1, 1e15], [3], [5, 90, 5], [0, 0]]) {
      const found = shares(sizes, 4);
      expect(sum(found)).toBeCloseTo(100);
      expect(Math.min(...found)).toBeGreaterThanOrEqual(4 - 1e-9);
    }
  });

  it("are equal where there are more than fit", () => {
    expect(sum(shares(Array<number>(50).fill(1), 4))).toBeCloseTo(100);
  });

  it("of nothing are nothing", () => {
    expect(shares([], 4)).toEqual([]);
  });
});

describe("parts", () => {
  const plan = {
    device: "/dev/vda",
    size_bytes: 1000,
    overwrites: [],
    partitions: [
      { number: 1, role: "bios_boot" as const, size_bytes: 1, filesystem: null },
      { number: 2, role: "esp" as const, size_bytes: 99, filesystem: "vfat" as const },
      { number: 3, role: "root" as const, size_bytes: null, filesystem: "ext4" as const },
    ],
  };

  it("give the one without a size what the others leave", () => {
    const found = parts(plan);
    expect(found.map((part) => part.sizeBytes)).toEqual([1, 99, 900]);
    expect(found.map((part) => part.name)).toEqual(["BIOS boot", "EFI system", "Root"]);
    expect(found[0]?.percent).toBe(LEAST_PERCENT);
  });

  it("leave nothing where the others take more than there is", () => {
    expect(parts({ ...plan, size_bytes: 50 })[2]?.sizeBytes).toBe(0);
  });
});
