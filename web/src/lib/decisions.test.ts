import { afterEach, describe, expect, it, vi } from "vitest";

import { type Decidable, decide, isAsSeen, VERBS } from "./decisions";

const SEEN: Decidable = {
  task_id: "t1",
  hostname: "web-1",
  status: "pending_approval",
  revision: 7,
  plan_digest: "aa",
};

interface Call {
  readonly method: string;
  readonly path: string;
  readonly match: string | null;
  readonly body: unknown;
}

/** Answers calls in order, and keeps what was asked. */
function answering(...answers: [number, unknown][]): Call[] {
  const calls: Call[] = [];
  vi.stubGlobal("fetch", async (request: Request) => {
    const text = await request.text();
    calls.push({
      method: request.method,
      path: new URL(request.url).pathname,
      match: request.headers.get("If-Match"),
      body: text ? (JSON.parse(text) as unknown) : null,
    });
    const [status, document] = answers[calls.length - 1] ?? [500, {}];
    const body = status === 204 ? null : JSON.stringify(document);
    return new Response(body, { status, headers: { "Content-Type": "application/json" } });
  });
  return calls;
}

const now = (fields: object): object => ({
  ...SEEN,
  status_history: [],
  approval: null,
  ...fields,
});

afterEach(() => vi.unstubAllGlobals());

describe("decide", () => {
  it("approves the plan that was seen, with its revision and the notes", async () => {
    const calls = answering([200, {}]);
    const outcome = await decide("approve", SEEN, " rack a3 ");
    expect(outcome).toMatchObject({ kind: "done", taskId: "t1", said: "web-1 is approved." });
    expect(calls).toEqual([
      {
        method: "PUT",
        path: "/api/v1/tasks/t1/approve",
        match: '"7"',
        body: { approved: true, plan_digest: "aa", notes: "rack a3" },
      },
    ]);
  });

  it("approves the hardware that was seen, where the whole task was", async () => {
    const calls = answering([200, {}]);
    await decide("approve", { ...SEEN, hardware_fingerprint: "ff" });
    expect(calls[0]?.body).toEqual({ approved: true, plan_digest: "aa", fingerprint: "ff" });
  });

  it("sends again where only the revision went on", async () => {
    const calls = answering([412, {}], [200, now({ revision: 9 })], [204, null]);
    expect(await decide("cancel", SEEN)).toMatchObject({ kind: "done" });
    expect(calls.map((call) => [call.method, call.match])).toEqual([
      ["DELETE", '"7"'],
      ["GET", null],
      ["DELETE", '"9"'],
    ]);
  });

  it("does not approve another plan than was seen", async () => {
    const calls = answering([412, {}], [200, now({ revision: 9, plan_digest: "bb" })]);
    const outcome = await decide("approve", SEEN);
    expect(outcome).toMatchObject({ kind: "refused", overtaken: true });
    expect(outcome.said).toContain("Look again");
    expect(calls).toHaveLength(2);
  });

  it("says who decided first, and what they said", async () => {
    const approval = { approved: true, status: "approved", approved_by: "bob", notes: "mine" };
    const history = [{ status: "approved", timestamp: "2026-01-02T03:04:05Z", by: "bob" }];
    const other = now({ status: "approved", approval, status_history: history });
    answering([409, { detail: "cannot be approved" }], [200, other]);
    const outcome = await decide("reject", SEEN, "wrong rack");
    expect(outcome).toMatchObject({ kind: "refused", overtaken: true });
    expect(outcome.said).toContain("approved meanwhile by bob: “mine”");
  });

  it("says what a retry made", async () => {
    const calls = answering([201, { task_id: "t2" }]);
    const outcome = await decide("retry", { ...SEEN, status: "failed" });
    expect(outcome).toMatchObject({ kind: "done", taskId: "t2" });
    expect(calls[0]).toMatchObject({ method: "POST", path: "/api/v1/tasks/t1/retry" });
  });

  it("says why it is refused, as a sentence", async () => {
    answering([403, { detail: "another person must approve it" }]);
    expect((await decide("approve", SEEN)).said).toBe(
      "Another person must approve it. Ask somebody who may.",
    );
    answering([422, { detail: "x", errors: [{ field: "reason", message: "is empty" }] }]);
    expect((await decide("reject", SEEN)).said).toBe("What you wrote is empty.");
    answering([409, { detail: "its machine has another task since" }], [200, now({})]);
    expect(await decide("retry", SEEN)).toMatchObject({
      said: "Its machine has another task since.",
      overtaken: false,
    });
  });

  it("gives up where the task changes faster than it can be seen", async () => {
    const again: [number, unknown][] = Array.from({ length: 8 }, (_, place) =>
      place % 2 ? [200, now({ revision: 10 + place })] : [412, {}],
    );
    const calls = answering(...again);
    expect(await decide("cancel", SEEN)).toMatchObject({ kind: "refused", overtaken: false });
    expect(calls).toHaveLength(8);
  });

  it("says so where nobody answers", async () => {
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("down")));
    expect((await decide("cancel", SEEN)).said).toContain("does not answer");
  });
});

it("a decision is possible only in its states", () => {
  expect(VERBS.approve.possible("pending_approval")).toBe(true);
  expect(VERBS.approve.possible("approved")).toBe(false);
  expect(VERBS.cancel.possible("installing")).toBe(true);
  expect(VERBS.cancel.possible("failed")).toBe(false);
  expect(VERBS.retry.possible("failed")).toBe(true);
  expect(VERBS.retry.possible("completed")).toBe(false);
});

it("another boot of the same machine is nothing new, another plan is", () => {
  expect(isAsSeen(SEEN, { ...SEEN, revision: 8 })).toBe(true);
  expect(isAsSeen(SEEN, { ...SEEN, plan_digest: "bb" })).toBe(false);
  expect(isAsSeen(SEEN, { ...SEEN, status: "approved" })).toBe(false);
  const whole = { ...SEEN, hardware_fingerprint: "ff" };
  expect(isAsSeen(whole, { ...whole, hardware_fingerprint: "00" })).toBe(false);
  expect(isAsSeen(SEEN, whole)).toBe(true);
});
