import { describe, expect, test } from "vitest";

import type { Decidable, Outcome } from "../decisions";
import { AT_ONCE, Bulk } from "./bulk.svelte";
import { disksOf, type Planned } from "./plans";
import { offered, open, Selection } from "./selection.svelte";
import { row } from "./table.samples";
import { barsOf, byHour } from "./throughput";

function refusing(...ids: string[]) {
  return async (seen: Decidable): Promise<Outcome> => {
    await Promise.resolve();
    const taskId = seen.task_id;
    return ids.includes(taskId)
      ? { kind: "refused", verb: "approve", taskId, said: "it changed", overtaken: true }
      : { kind: "done", verb: "approve", taskId, said: "done" };
  };
}

describe("many at once", () => {
  test("are shown as they will be, and those that were refused as they were", async () => {
    const shown = new Map<string, string>();
    const assume = (taskId: string, status: string) => {
      shown.set(taskId, status);
      return () => void shown.set(taskId, "as it was");
    };
    const bulk = new Bulk();
    const rows = Array.from({ length: 20 }, (_, number) => row(number));
    await bulk.run(rows, "approve", refusing("t7"), assume, 0);
    expect(bulk.state).toBe("done");
    expect(bulk.good).toHaveLength(19);
    expect(bulk.refused).toEqual([{ taskId: "t7", hostname: "web-7", reason: "it changed" }]);
    expect(shown.get("t7")).toBe("as it was");
    expect(shown.get("t8")).toBe("approved");
  });

  test("are not begun after the stop, and few at a time", async () => {
    const bulk = new Bulk();
    let begun = 0;
    const rows = Array.from({ length: 50 }, (_, number) => row(number));
    const decide = async (seen: Decidable): Promise<Outcome> => {
      begun += 1;
      bulk.stop();
      return refusing()(seen);
    };
    await bulk.run(rows, "cancel", decide, () => () => undefined, 0);
    expect(begun).toBeLessThanOrEqual(AT_ONCE);
    expect(bulk.done).toBe(begun);
  });
});

describe("a selection", () => {
  test("keeps its rows as new as they are told", () => {
    const selection = new Selection();
    selection.toggle(row(1));
    selection.toggle(row(2));
    selection.toggle(row(2));
    selection.take([{ type: "status", task_id: "t1", status: "failed", revision: 99 }]);
    expect([...selection.rows.values()].map((each) => each.status)).toEqual(["failed"]);
    selection.refresh([row(1, { links: { self: "", machine: "", retry: "" } }), row(3)]);
    expect(open(selection.rows.values(), "retry")).toHaveLength(1);
    expect(selection.rows.size).toBe(1);
  });

  test("has an end", () => {
    const selection = new Selection();
    const many = Array.from({ length: 10_001 }, (_, number) => row(number));
    expect(selection.add(many)).toBe(false);
    expect(selection.rows.size).toBe(10_000);
  });
});

test("a row offers what its state allows and the reader may do", () => {
  const links = { self: "", machine: "", approve: "", reject: "", cancel: "" };
  expect(offered(row(1, { links }), (permission) => permission === "task:approve")).toEqual([
    "approve",
    "reject",
  ]);
  expect(offered(row(1, { links }), () => false)).toEqual([]);
});

test("disks that are alike are counted together, and those that hold something", () => {
  const plan = (device: string, overwrites: string[]): Planned =>
    ({ plan: { device, size_bytes: 2 ** 30, overwrites, partitions: [] } }) as unknown as Planned;
  const none = { plan: null } as unknown as Planned;
  expect(
    disksOf([plan("/dev/sdb", []), plan("/dev/sda", ["ext4"]), plan("/dev/sda", []), none]),
  ).toEqual([
    { what: "/dev/sda · 1.0 GiB", count: 2, full: 1 },
    { what: "/dev/sdb · 1.0 GiB", count: 1, full: 0 },
  ]);
});

describe("the plot", () => {
  const bucket = (created: number, completed: number, failed: number) => ({
    at: "2026-01-02T03:00:00Z",
    created,
    completed,
    failed,
  });

  test("has the highest at its top and nothing for nothing", () => {
    const chart = barsOf([bucket(1, 2, 2), bucket(0, 0, 0)], 100, 42);
    expect(chart.highest).toBe(4);
    expect(chart.bars).toHaveLength(1);
    expect(chart.bars[0]?.failed).toEqual({ y: 2, height: 20 });
    expect(barsOf([], 100, 42)).toEqual({ bars: [], line: "", highest: 0 });
  });

  test("is summed by the hour, the newest first", () => {
    const hours = byHour(
      Array.from({ length: 25 }, () => bucket(1, 2, 3)),
      300,
    );
    expect(hours).toHaveLength(3);
    expect(hours[0]).toMatchObject({ created: 12, completed: 24, failed: 36 });
    expect(hours[2]).toMatchObject({ created: 1 });
  });
});
