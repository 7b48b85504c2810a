import { expect, test } from "vitest";

import { readCsv, separatorOf, textOf, writeCsv } from "./csv";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("cells may be quoted and have commas, quotes and line ends", () => {
  const text = 'a,b\r\n"x, ""y""","two\r\nlines"\r\n';
  expect(readCsv(text)).toEqual([
    ["a", "b"],
    ['x, "y"', "two\r\nlines"],
  ]);
});

test("every kind of line end is one, and the last may be missing", () => {
  expect(readCsv("a,b\n1,2\r\n3,4\r5,6")).toEqual([
    ["a", "b"],
    ["1", "2"],
    ["3", "4"],
    ["5", "6"],
  ]);
});

test("a byte order mark is no part of the first name", () => {
  expect(readCsv("\uFEFFidc,mac\n")).toEqual([["idc", "mac"]]);
  const marked = new Uint8Array([0xef, 0xbb, 0xbf, ...bytes("idc,mac\n")]);
  expect(readCsv(textOf(marked))).toEqual([["idc", "mac"]]);
});

test("empty cells stay, lines without text do not", () => {
  expect(readCsv("a,b,c\n\n,,\n1,,\n")).toEqual([
    ["a", "b", "c"],
    ["1", "", ""],
  ]);
});

test("a spreadsheet's separators are found", () => {
  expect(separatorOf("idc;mac;sn\n")).toBe(";");
  expect(readCsv("idc\tmac\ndc1\t52")).toEqual([
    ["idc", "mac"],
    ["dc1", "52"],
  ]);
  expect(separatorOf("one")).toBe(",");
});

test.each([
  ['a\n"open', "Line 2 opens a quote"],
  ['a\n"b"c', "Line 2 has text after"],
  ["a\0b", "zero byte"],
])("%j is not readable", (text, why) => {
  expect(() => readCsv(text)).toThrow(why);
});

test("other encodings are named", () => {
  expect(() => textOf(new Uint8Array([0xff, 0xfe, 0x61, 0]))).toThrow("UTF-16");
  expect(() => textOf(new Uint8Array([0x61, 0xe4, 0x62]))).toThrow("not UTF-8");
});

test("what is written is read again", () => {
  const rows = [
    ["a", 'x "y", z', " space "],
    ["=1+1", "two\nlines", ""],
  ];
  expect(readCsv(writeCsv(rows), ",")).toEqual(rows);
});

test("10,000 rows take no second", () => {
  const rows = Array.from({ length: 10_000 }, (_, n) => ["dc1", `SN-${n}`, `52:54:00:00:00:${n}`]);
  const start = performance.now();
  expect(readCsv(writeCsv(rows))).toHaveLength(10_000);
  expect(performance.now() - start).toBeLessThan(1000);
});
