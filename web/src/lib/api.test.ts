import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { exchange, Problem } from "./api";
import { session } from "./session.svelte";

const request = (): Request => new Request("http://localhost/api/v1/tasks");
const busy = (after: string): Response =>
  new Response("{}", { status: 429, headers: { "Retry-After": after } });

describe("one request", () => {
  const answers: (Response | Error)[] = [];
  let asked = 0;

  beforeEach(() => {
    asked = 0;
    vi.useFakeTimers();
    vi.stubGlobal("fetch", () => {
      asked += 1;
      const next = answers.shift();
      return next instanceof Error ? Promise.reject(next) : Promise.resolve(next);
    });
  });
  afterEach(() => {
    answers.length = 0;
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it("waits as long as a busy control plane asks for, and sends again", async () => {
    answers.push(busy("2"), new Response("{}"));
    const answer = exchange(request());
    await vi.advanceTimersByTimeAsync(1_900);
    expect(asked).toBe(1);
    await vi.advanceTimersByTimeAsync(200);
    expect((await answer).status).toBe(200);
  });

  it("gives up where it would wait long, or after some tries", async () => {
    answers.push(busy("60"));
    expect((await exchange(request())).status).toBe(429);
    answers.push(busy("1"), busy("1"), busy("1"), busy("1"));
    const answer = exchange(request());
    await vi.advanceTimersByTimeAsync(3_100);
    expect((await answer).status).toBe(429);
    expect(asked).toBe(1 + 4);
  });

  it("says that nothing answers", async () => {
    answers.push(new TypeError("failed"));
    await expect(exchange(request())).rejects.toThrow(Problem);
  });

  it("waits for somebody to sign in again, and then goes on", async () => {
    answers.push(new Response("{}", { status: 401 }), new Response("{}"));
    const answer = exchange(request());
    await vi.waitUntil(() => session.over);
    answers.push(new Response("{}"));
    const reader = { name: "olga", display_name: "", roles: [], tenant: null, permissions: [] };
    answers.unshift(Response.json(reader));
    expect(await session.signIn("olga", "a password")).toBe("");
    expect((await answer).status).toBe(200);
    expect(session.over).toBe(false);
  });
});
