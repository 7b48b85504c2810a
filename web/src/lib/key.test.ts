import { expect, it } from "vitest";

import { newKey } from "./key";

it("keys are 32 digits and differ", () => {
  expect(newKey()).toMatch(/^[0-9a-f]{32}$/);
  expect(newKey()).not.toBe(newKey());
});
