import { beforeEach, describe, expect, test, vi } from "vitest";

import type { Listener, Message } from "../live.svelte";
import { filtersOf, PAGE_ROWS, type TaskRow } from "./table";
import { TaskRows } from "./rows.svelte";
import { row } from "./table.samples";

const ALL = filtersOf(new URLSearchParams());

/** A control plane with a list of tasks, which counts what it is asked. */
class Fleet {
  tasks: TaskRow[] = [];
  revision = 10;
  asked: number[] = [];
  listener: Listener | null = null;
  missed: Message[] = [];
  failing = false;

  read = async (_: unknown, offset: number, signal: AbortSignal) => {
    this.asked.push(offset);
    await Promise.resolve();
    if (signal.aborted) throw new Error("ended");
    if (this.failing) throw new Error("away");
    const rows = this.tasks.slice(offset, offset + PAGE_ROWS);
    return { rows, total: this.tasks.length, counts: {}, revision: this.revision };
  };
  source = {
    listen: (listener: Listener) => {
      this.listener = listener;
      return () => undefined;
    },
    since: () => this.missed,
  };
}

let fleet: Fleet;
let pinned: number | null;
let moves: number[];
let pointing: boolean;

function made(count: number): TaskRows {
  fleet.tasks = Array.from({ length: count }, (_, number) => row(count - number));
  const rows = new TaskRows(fleet.read, fleet.source, {
    pinned: () => pinned,
    moved: (by) => moves.push(by),
    pointing: () => pointing,
  });
  rows.follow();
  rows.show(ALL);
  return rows;
}

function status(taskId: string, to: string): Message {
  fleet.revision += 1;
  return { type: "status", task_id: taskId, status: to, revision: fleet.revision };
}

beforeEach(() => {
  vi.useFakeTimers();
  fleet = new Fleet();
  pinned = null;
  moves = [];
  pointing = false;
  return () => vi.useRealTimers();
});

const settled = () => vi.advanceTimersByTimeAsync(20);

describe("rows", () => {
  test("are read by the page as they come into sight, and once", async () => {
    const rows = made(5000);
    await settled();
    expect(rows.total).toBe(5000);
    expect(fleet.asked).toEqual([0]);
    rows.look({ first: 0, end: 20 });
    expect(fleet.asked).toEqual([0]);
    rows.look({ first: 4960, end: 4990 });
    await settled();
    expect(fleet.asked).toEqual([0, 4900]);
    expect(rows.row(4999)?.hostname).toBe("web-1");
    expect(rows.row(2500)).toBeUndefined();
  });

  test("that went out of sight before they came are not waited for", async () => {
    const rows = made(5000);
    await settled();
    rows.look({ first: 2000, end: 2020 });
    rows.look({ first: 4960, end: 4990 });
    await settled();
    expect(rows.row(2000)).toBeUndefined();
    expect(rows.row(4970)).toBeDefined();
  });

  test("change once per frame, by what is told", async () => {
    const rows = made(10);
    await settled();
    const version = rows.version;
    const message = (percentage: number): Message => ({
      type: "progress",
      task_id: "t10",
      percentage,
      stage: "x",
      message: "",
      revision: ++fleet.revision,
    });
    fleet.listener?.take([message(1)]);
    fleet.listener?.take([message(2)]);
    expect(rows.version).toBe(version);
    await settled();
    expect(rows.version).toBe(version + 1);
    expect(rows.row(0)?.percentage).toBe(2);
    await vi.advanceTimersByTimeAsync(3000);
    expect(fleet.asked).toEqual([0]);
  });

  test("are read again once a second while states change", async () => {
    made(10);
    await settled();
    for (let turn = 0; turn < 30; turn += 1) {
      fleet.listener?.take([status("t10", turn % 2 ? "ready" : "booting")]);
      await vi.advanceTimersByTimeAsync(100);
    }
    expect(fleet.asked.length).toBeGreaterThanOrEqual(3);
    expect(fleet.asked.length).toBeLessThanOrEqual(4);
  });

  test("of an answer that was under way have what was told meanwhile", async () => {
    fleet.missed = [{ type: "status", task_id: "t3", status: "completed", revision: 11 }];
    const rows = made(3);
    await settled();
    expect(rows.row(0)?.status).toBe("completed");
  });

  test("stay where they are when tasks come above them", async () => {
    const rows = made(300);
    await settled();
    pinned = 40;
    rows.look({ first: 40, end: 60 });
    fleet.tasks = [row(302), row(301), ...fleet.tasks];
    fleet.listener?.take([status("t302", "pending")]);
    await vi.advanceTimersByTimeAsync(1100);
    expect(moves).toEqual([2]);
    expect(rows.fresh).toBe(2);
  });

  test("are not read again while somebody points, but for so long", async () => {
    made(3);
    await settled();
    pointing = true;
    fleet.listener?.take([status("t3", "ready")]);
    await vi.advanceTimersByTimeAsync(3000);
    expect(fleet.asked).toEqual([0]);
    await vi.advanceTimersByTimeAsync(2000);
    expect(fleet.asked).toEqual([0, 0]);
  });

  test("are shown as assumed until that is taken back", async () => {
    const rows = made(3);
    await settled();
    const back = rows.assume("t3", "approved");
    expect(rows.row(0)?.status).toBe("approved");
    back();
    expect(rows.row(0)?.status).toBe("installing");
  });

  test("are not taken back where something newer came", async () => {
    const rows = made(3);
    await settled();
    const back = rows.assume("t3", "approved");
    fleet.listener?.take([status("t3", "cancelled")]);
    await settled();
    back();
    expect(rows.row(0)?.status).toBe("cancelled");
  });

  test("that could not be read are tried again, and why is said", async () => {
    fleet.failing = true;
    const rows = made(3);
    await settled();
    expect(rows.error).toBe("away");
    fleet.failing = false;
    await vi.advanceTimersByTimeAsync(3100);
    expect(rows.error).toBeNull();
    expect(rows.total).toBe(3);
  });

  test("are let go of when they are many", async () => {
    const rows = made(20_000);
    await settled();
    for (let first = 0; first < 20_000; first += 100) {
      rows.look({ first, end: first + 20 });
      await settled();
    }
    expect(rows.row(0)).toBeUndefined();
    expect(rows.row(19_950)).toBeDefined();
  });
});
