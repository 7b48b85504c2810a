import { describe, expect, it } from "vitest";

import { free, isLow } from "./networks";

describe("a network", () => {
  it("has what is not leased, and never less than nothing", () => {
    expect(free({ size: 100, leases: 30 })).toBe(70);
    expect(free({ size: 10, leases: 12 })).toBe(0);
    expect(free({})).toBe(0);
  });

  it("is low from nine of ten leases on, and a proxy never", () => {
    expect(isLow({ size: 100, leases: 89 })).toBe(false);
    expect(isLow({ size: 100, leases: 90 })).toBe(true);
    expect(isLow({ size: 0, leases: 0 })).toBe(false);
  });
});
