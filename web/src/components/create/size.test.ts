import { expect, test } from "vitest";

import { readSize } from "./size";

test.each([
  ["500 GB", "500000000000"],
  ["500gb", "500000000000"],
  ["8 GiB", "8589934592"],
  ["1.5T", "1500000000000"],
  ["1,5 TB", "1500000000000"],
  ["512", "512"],
])("%s is %s bytes", (text, bytes) => {
  expect(readSize(text)).toEqual({ value: bytes, wrong: "" });
});

test.each(["much", "-1 GB", "5 iB", "5 GB 2", "99999 PB"])("%s is no size", (text) => {
  expect(readSize(text).wrong).not.toBe("");
});

test("nothing is not wrong", () => {
  expect(readSize("")).toEqual({ value: "", wrong: "" });
});
