import { describe, expect, it } from "vitest";

import { percent } from "./fetching";

describe("what a region fetches", () => {
  it("is whole only when its last byte is there", () => {
    expect(percent({ size_bytes: 1000, done_bytes: 999 })).toBe(99);
    expect(percent({ size_bytes: 1000, done_bytes: 1000 })).toBe(100);
  });

  it("has not begun where nothing is known of it", () => {
    expect(percent({ size_bytes: 0 })).toBe(0);
    expect(percent({ size_bytes: 10 })).toBe(0);
  });
});
