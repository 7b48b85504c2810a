import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { BulkJob } from "./job.svelte";

const HEADER = "idc,mac,os_type,os_version";
const ROW = "dc1,52:54:00:00:00:01,debian,12";

beforeEach(() => sessionStorage.clear());
afterEach(() => vi.unstubAllGlobals());

function answering(...answers: { status: number; rows?: unknown[] }[]): Request[] {
  const asked: Request[] = [];
  vi.stubGlobal("fetch", (request: Request) => {
    asked.push(request);
    const { status, rows } = answers[Math.min(asked.length, answers.length) - 1] ?? { status: 500 };
    return Promise.resolve(new Response(JSON.stringify({ rows }), { status }));
  });
  return asked;
}

function loaded(rows: number): BulkJob {
  const job = new BulkJob();
  job.take([HEADER, ...Array<string>(rows).fill(ROW)].join("\n"), "rack.csv");
  return job;
}

const created = (row: number): object => ({ row, status: "created", task_id: `t${row}` });

test("an answer's errors stand at their cells until these are changed", async () => {
  const problem = { code: "x", detail: "d", errors: [{ field: "mac", message: "is wrong" }] };
  answering({ status: 200, rows: [{ row: 1, status: "invalid", problem }] });
  const job = loaded(1);
  await job.check();
  expect(job.fault(job.rows[0]!, 1)).toBe("is wrong");
  expect(job.fault(job.rows[0]!, 0)).toBe("");
  job.edit(job.rows[0]!, 1, "52:54:00:00:00:02");
  expect(job.wrong).toHaveLength(0);
  expect(job.rows[0]?.cells[1]).toBe("52:54:00:00:00:02");
});

test("rows are made in parts, each with a key that stays as long as they do", async () => {
  const rows = Array.from({ length: 500 }, (_, place) => created(place + 1));
  const asked = answering({ status: 201, rows });
  const job = loaded(700);
  await job.create();
  expect(asked).toHaveLength(2);
  expect(job.done).toBe(700);
  const keys = asked.map((each) => each.headers.get("Idempotency-Key"));
  expect(new Set(keys).size).toBe(2);
  expect(new URL(asked[0]!.url).search).toBe("");
});

test("all or none is one call, and one that was taken back gets a new key", async () => {
  const asked = answering({
    status: 409,
    rows: [
      { row: 1, status: "taken_back" },
      { row: 2, status: "conflict", problem: { code: "conflict", detail: "busy" } },
    ],
  });
  const job = loaded(2);
  job.atomic = true;
  await job.create();
  expect(job.fault(job.rows[1]!, -1)).toBe("busy");
  expect(new URL(asked[0]!.url).search).toBe("?atomic=true");
  await job.create();
  const [first, second] = asked.map((each) => each.headers.get("Idempotency-Key"));
  expect(first).not.toBe(second);
});

test("rows that have their task are not sent again", async () => {
  const asked = answering({
    status: 200,
    rows: [created(1), { row: 2, status: "conflict", problem: { code: "x", detail: "busy" } }],
  });
  const job = loaded(2);
  await job.create();
  expect(job.failedCsv()).toBe(`${HEADER}\r\n${ROW}\r\n`);
  job.edit(job.rows[1]!, 1, "52:54:00:00:00:09");
  await job.create();
  expect(await asked[1]?.text()).toContain("52:54:00:00:00:09");
  expect((await asked[0]?.clone().text())?.split("\r\n")).toHaveLength(4);
});

test("the table comes back after a reload, with what was made", async () => {
  answering({ status: 201, rows: [created(1)] });
  const job = loaded(1);
  await job.create();
  const again = new BulkJob();
  expect(again.source).toBe("rack.csv");
  expect(again.done).toBe(1);
  again.clear();
  expect(new BulkJob().rows).toHaveLength(0);
});

test.each([
  ["", "no row below"],
  [HEADER, "no row below"],
  [`${HEADER}\n"open`, "opens a quote"],
  ["idc,colour\na,b", "“colour” is no column"],
  ["[{broken", "not JSON"],
])("%j is refused before anything is sent", (text, why) => {
  const job = new BulkJob();
  job.take(text, "x");
  expect(job.faults.join(" ")).toContain(why);
});

test("a row of another length is marked", () => {
  const job = new BulkJob();
  job.take(`${HEADER}\n${ROW},more`, "x");
  expect(job.fault(job.rows[0]!, -1)).toContain("5 cells");
});

test("more than 10,000 rows are refused", () => {
  expect(loaded(10_001).faults[0]).toContain("at most 10000");
});
