import { describe, expect, it } from "vitest";

import { begun, gaps, lasting, remaining, secondsBetween, stages, total } from "./durations";

const at = (seconds: number): { timestamp: string } => ({
  timestamp: new Date(1_700_000_000_000 + seconds * 1000).toISOString(),
});

describe("gaps", () => {
  it("are the seconds since the entry before; the first has none", () => {
    expect(gaps([at(0), at(1.5), at(61.5)])).toEqual([null, 1.5, 60]);
  });

  it("are not known where clocks of two parts contradict each other", () => {
    expect(gaps([at(10), at(9)])).toEqual([null, null]);
  });

  it("of nothing are nothing", () => {
    expect(gaps([])).toEqual([]);
  });
});

describe("begun", () => {
  it("dates a stage by the end of what stands before it, and all else by itself", () => {
    const found = begun([at(0), at(2), at(9), at(10)], (place) => place === 1 || place === 2);
    expect(found).toEqual([at(0), at(0), at(2), at(10)]);
    expect(gaps(found)).toEqual([null, 0, 2, 8]);
  });
});

describe("total", () => {
  it("is from the first to the last, or to now", () => {
    const entries = [at(0), at(90)];
    expect(total(entries, null)).toBe(90);
    expect(total(entries, Date.parse(at(120).timestamp))).toBe(120);
  });

  it("is never less than nothing", () => {
    expect(total([at(5), at(1)], null)).toBe(0);
    expect(total([], null)).toBe(0);
  });
});

describe("stages", () => {
  const steps = [
    { step: "partitioning", percent: 5, ...at(3) },
    {
      step: "downloading",
      percent: 40,
      bytes_done: 100,
      bytes_total: 300,
      bytes_per_second: 20,
      ...at(13),
    },
  ];

  it("take from the end of the one before, the first from the start of the installation", () => {
    expect(stages(steps, at(0).timestamp, null).map((stage) => stage.seconds)).toEqual([3, 10]);
  });

  it("go on until now, the last one alone", () => {
    const [first, second] = stages(steps, at(0).timestamp, Date.parse(at(33).timestamp));
    expect([first?.seconds, first?.current]).toEqual([3, false]);
    expect([second?.seconds, second?.current]).toEqual([30, true]);
  });

  it("have no time where the start is not known", () => {
    expect(stages(steps, null, null)[0]?.seconds).toBeNull();
  });

  it("say what remains at their rate, where bytes and rate are known", () => {
    const [first, second] = stages(steps, null, null);
    expect(first && remaining(first)).toBeNull();
    expect(second && remaining(second)).toBe(10);
    expect(second && remaining({ ...second, rate: 0 })).toBeNull();
    expect(second && remaining({ ...second, bytesDone: 400 })).toBe(0);
  });
});

it("a length of time that is not known is a dash", () => {
  expect([lasting(null), lasting(61)]).toEqual(["–", "1 min 1 s"]);
  expect(secondsBetween(at(0).timestamp, at(2).timestamp)).toBe(2);
});
