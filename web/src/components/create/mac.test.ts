import { expect, test } from "vitest";

import { isUnfinishedMac, readMac } from "./mac";

test.each([
  "52:54:00:AB:cd:01",
  "52-54-00-AB-CD-01",
  "525400abcd01",
  "5254.00ab.cd01",
  "  5254.00AB.CD01 ",
])("%s is read in any usual notation", (text) => {
  expect(readMac(text)).toEqual({ value: "52:54:00:ab:cd:01", wrong: "" });
});

test.each([
  ["52:54", "not a MAC address"],
  ["52:54-00:12:34:56", "not a MAC address"],
  ["52:54:00:12:34:5g", "not a MAC address"],
  ["52:54:00:12:34:56:78", "not a MAC address"],
  ["00:00:00:00:00:00", "zero"],
  ["01:00:5e:00:00:01", "multicast"],
  ["<img src=x>", "not a MAC address"],
])("%s is refused", (text, why) => {
  expect(readMac(text).value).toBe("");
  expect(readMac(text).wrong).toContain(why);
});

test("nothing is not wrong", () => {
  expect(readMac("  ")).toEqual({ value: "", wrong: "" });
});

test("an address that is being typed is not called wrong", () => {
  expect(isUnfinishedMac("52:54:0")).toBe(true);
  expect(isUnfinishedMac("52:5x")).toBe(false);
  expect(isUnfinishedMac("52:54:00:12:34:56")).toBe(false);
});
