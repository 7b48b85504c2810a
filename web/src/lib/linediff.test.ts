import { describe, expect, it } from "vitest";

import { folded, lineDiff } from "./linediff";

const kept = (kinds: string[], lines: ReturnType<typeof lineDiff>): string =>
  lines
    .filter((line) => kinds.includes(line.kind))
    .map((line) => line.text)
    .join("\n");

describe("the difference of two texts", () => {
  it.each([
    ["", ""],
    ["a\nb\nc", "a\nb\nc"],
    ["a\nb\nc", "a\nx\nc\nd"],
    ["x\ny", ""],
    ["a\na\nb\na", "a\nb\na\na"],
  ])("gives both texts back", (before, after) => {
    const lines = lineDiff(before, after);
    expect(kept(["same", "removed"], lines)).toBe(before);
    expect(kept(["same", "added"], lines)).toBe(after);
  });

  it("marks only what changed", () => {
    const kinds = lineDiff("a\nb\nc", "a\nx\nc").map((line) => line.kind);
    expect(kinds).toEqual(["same", "removed", "added", "same"]);
  });

  it("leaves out what is far from every change, and counts it", () => {
    const before = Array.from({ length: 20 }, (_, place) => `line ${place}`).join("\n");
    const shown = folded(lineDiff(before, before.replace("line 10", "changed")), 2);
    expect(shown[0]).toEqual({ hidden: 8 });
    expect(shown.at(-1)).toEqual({ hidden: 7 });
    expect(shown).toHaveLength(2 + 2 + 2 + 2);
  });
});
