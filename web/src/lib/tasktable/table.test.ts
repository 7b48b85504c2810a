import { describe, expect, test } from "vitest";

import type { Message } from "../live.svelte";
import {
  addressOf,
  applied,
  filtersOf,
  inTurns,
  isFiltered,
  pagesOf,
  queryOf,
  reorders,
  toggled,
  windowOf,
} from "./table";
import { row } from "./table.samples";
import { howFar } from "./words";

const progress = (revision: number, percentage: number): Message => ({
  type: "progress",
  task_id: "t1",
  percentage,
  stage: "downloading",
  message: "",
  revision,
});

describe("filters", () => {
  test("of an address are the address again", () => {
    const address =
      "text=web&idc=dc1&status=failed%2Cready&os=debian+12&tag=a%3Db&tenant=t&sort=sn";
    const filters = filtersOf(new URLSearchParams(address));
    expect(filters.status).toEqual(["failed", "ready"]);
    const given = Object.entries(addressOf(filters)) as [string, string][];
    expect(new URLSearchParams(given).toString()).toBe(address);
  });

  test("that nobody knows are left out", () => {
    const filters = filtersOf(new URLSearchParams("status=nonsense,failed&sort=nonsense&text=+"));
    expect(filters.status).toEqual(["failed"]);
    expect(filters.sort).toBe("-created_at");
    expect(queryOf(filters)).toEqual({ status: "failed", sort: "-created_at" });
  });

  test("are chosen where anything but the order is", () => {
    expect(isFiltered(filtersOf(new URLSearchParams("sort=sn")))).toBe(false);
    expect(isFiltered(filtersOf(new URLSearchParams("tag=a")))).toBe(true);
  });

  test("are switched one by one", () => {
    expect(toggled(["a", "b"], "a")).toEqual(["b"]);
    expect(toggled(["a"], "b")).toEqual(["a", "b"]);
  });
});

describe("a row", () => {
  test("takes progress, and forgets what it does not say", () => {
    const now = applied(row(1, { bytes_done: 5, remaining_s: 9 }), progress(11, 40));
    expect(now).toMatchObject({ percentage: 40, stage: "downloading", revision: 11 });
    expect(now.bytes_done).toBeNull();
    expect(now.remaining_s).toBeNull();
  });

  test("does not go back to what is older", () => {
    const now = row(1);
    expect(applied(now, progress(9, 40))).toBe(now);
  });

  test("takes everything of one revision", () => {
    const status: Message = { type: "status", task_id: "t1", status: "completed", revision: 11 };
    const now = applied(applied(row(1), status), progress(11, 100));
    expect(now).toMatchObject({ status: "completed", percentage: 100 });
  });

  test("of another state offers nothing until it is read again", () => {
    const status: Message = { type: "status", task_id: "t1", status: "completed", revision: 11 };
    expect(applied(row(1), status).links.cancel).toBeUndefined();
  });
});

test("progress changes the order only where the newest change counts", () => {
  expect(reorders(progress(1, 1), "-created_at")).toBe(false);
  expect(reorders(progress(1, 1), "-updated_at")).toBe(true);
  expect(reorders({ type: "removed", task_id: "t", revision: 1 }, "sn")).toBe(true);
});

test("a window holds the rows in sight, and those around it within the list", () => {
  expect(windowOf(0, 500, 50, 1000, 5)).toEqual({ first: 0, end: 15 });
  expect(windowOf(1000, 500, 50, 1000, 5)).toEqual({ first: 15, end: 35 });
  expect(windowOf(-400, 500, 50, 3, 5)).toEqual({ first: 0, end: 3 });
  expect(windowOf(1e9, 500, 50, 1000, 5)).toEqual({ first: 1000, end: 1000 });
});

test("pages are those that hold the window's rows", () => {
  expect(pagesOf({ first: 0, end: 0 })).toEqual([]);
  expect(pagesOf({ first: 0, end: 100 })).toEqual([0]);
  expect(pagesOf({ first: 99, end: 201 })).toEqual([0, 1, 2]);
});

test("only so many are worked on at once, and none is begun after the end", async () => {
  const stop = new AbortController();
  let now = 0;
  let most = 0;
  const done: number[] = [];
  await inTurns(
    [1, 2, 3, 4, 5, 6, 7],
    3,
    async (number) => {
      most = Math.max(most, (now += 1));
      await Promise.resolve();
      now -= 1;
      done.push(number);
      if (done.length === 4) stop.abort();
    },
    stop.signal,
  );
  expect(most).toBe(3);
  expect(done.length).toBeGreaterThanOrEqual(4);
  expect(done.length).toBeLessThan(7);
});

test("how far it is says only what is known", () => {
  expect(howFar(row(1, { stage: "downloading", percentage: 41.7 }))).toEqual({
    step: "downloading · 42 %",
    amount: "",
    left: "",
  });
  const all = { bytes_done: 2 ** 29, bytes_total: 2 ** 30, bytes_per_second: 2 ** 20 };
  expect(howFar(row(1, { ...all, stage: "writing", remaining_s: 511.2 }))).toEqual({
    step: "writing · 0 %",
    amount: "512 MiB of 1.0 GiB · 1.0 MiB/s",
    left: "9 min left",
  });
});
