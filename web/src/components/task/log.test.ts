import { describe, expect, it } from "vitest";

import { added, KEPT_LINES, places, speaker, split } from "./log.svelte";

const answer = (first: number, ...lines: string[]): Parameters<typeof added>[1] => ({
  first,
  next: first + lines.length - 1,
  missed: 0,
  finished: false,
  lines,
});

describe("added", () => {
  it("appends in order, each line once", () => {
    const one = added([], answer(1, "a", "b"));
    const two = added(one, answer(2, "b", "c"));
    expect(two.map((line) => [line.number, line.text])).toEqual([
      [1, "a"],
      [2, "b"],
      [3, "c"],
    ]);
    expect(added(two, answer(4))).toBe(two);
  });

  it("keeps the newest only", () => {
    const many = Array.from({ length: KEPT_LINES + 5 }, (_, place) => `line ${place}`);
    const lines = added([], answer(1, ...many));
    expect(lines).toHaveLength(KEPT_LINES);
    expect(lines[0]?.number).toBe(6);
  });
});

describe("a line", () => {
  it("says whose it is after its level, and else is the region's", () => {
    const said = (words: string): string => speaker(`2026-01-01T00:00:00.000Z ${words}`);
    expect(said("[INFO] [installer] syslog: [agent] x")).toBe("installer");
    expect(said("[ERROR] [kernel] I/O error")).toBe("kernel");
    expect(said("[INFO] [agent]")).toBe("agent");
    expect(said("[INFO] boot script sent")).toBe("region");
    expect(said("[INFO] [1/4] Collecting")).toBe("region");
  });
});

describe("a search", () => {
  const lines = added([], answer(1, "Wrote disk", "nothing", "the DISK is whole"));

  it("finds whatever the case, and nothing for nothing", () => {
    expect(places(lines, "disk")).toEqual([0, 2]);
    expect(places(lines, "")).toEqual([]);
  });

  it("marks every match of a line", () => {
    expect(split("a Disk, a disk", "disk")).toEqual(["a ", "Disk", ", a ", "disk", ""]);
    expect(split("nothing", "disk")).toEqual(["nothing"]);
    expect(split("text", "")).toEqual(["text"]);
  });
});
