import { expect, test, vi } from "vitest";

import { Problem } from "../../lib/api";
import { Sending } from "./sending.svelte";

test("a call without an answer is made again until there is one", async () => {
  vi.useFakeTimers();
  const sending = new Sending();
  const call = vi
    .fn<() => Promise<string>>()
    .mockRejectedValueOnce(new Problem(0, {}))
    .mockRejectedValueOnce(new Problem(503, { detail: "the store is away" }, "1"))
    .mockResolvedValue("made");
  const answer = sending.run(call);
  await vi.advanceTimersByTimeAsync(0);
  expect(sending.trouble).toContain("does not answer");
  await vi.advanceTimersByTimeAsync(3_000);
  expect(sending.trouble).toBe("the store is away");
  await vi.advanceTimersByTimeAsync(1_000);
  expect(await answer).toBe("made");
  expect([sending.busy, sending.trouble]).toEqual([false, ""]);
  vi.useRealTimers();
});

test("a refusal is no reason to try again", async () => {
  const call = vi.fn().mockRejectedValue(new Problem(422, {}));
  await expect(new Sending().run(call)).rejects.toThrow("422");
  expect(call).toHaveBeenCalledOnce();
});

test("who stops waiting gets the trouble", async () => {
  const sending = new Sending();
  const answer = sending.run(() => Promise.reject(new Problem(0, { detail: "gone" })));
  await vi.waitFor(() => expect(sending.trouble).not.toBe(""));
  sending.stop();
  await expect(answer).rejects.toThrow("gone");
  expect(sending.busy).toBe(false);
});
