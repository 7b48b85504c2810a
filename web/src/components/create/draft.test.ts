import { beforeEach, expect, test, vi } from "vitest";

import { forget, keep, kept } from "./draft";

beforeEach(() => sessionStorage.clear());

test("what was typed comes back until it is sent", () => {
  keep("create", { mac: "52:54" });
  expect(kept("create")).toEqual({ mac: "52:54" });
  expect(kept("bulk")).toBeNull();
  forget("create");
  expect(kept("create")).toBeNull();
});

test("a private key is not kept", () => {
  keep("create", { keys: "-----BEGIN OPENSSH PRIVATE KEY-----\nabc" });
  expect(kept("create")).toEqual({ keys: "" });
});

test("what is no draft is nothing", () => {
  keep("create", {});
  const name = sessionStorage.key(0) ?? "";
  sessionStorage.setItem(name, "{broken");
  expect(kept("create")).toBeNull();
  sessionStorage.setItem(name, '"text"');
  expect(kept("create")).toBeNull();
});

test("a full tab keeps nothing and breaks nothing", () => {
  const full = vi.spyOn(Storage.prototype, "setItem").mockImplementation(() => {
    throw new DOMException("full", "QuotaExceededError");
  });
  keep("create", { mac: "52:54" });
  full.mockRestore();
  expect(kept("create")).toBeNull();
});
