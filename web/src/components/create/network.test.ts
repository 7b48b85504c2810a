import { expect, test } from "vitest";

import { checkGateway, checkInterface, checkLinks, checkServers, readAddress } from "./network";

test.each(["192.0.2.10/24", "10.0.0.1/8", "2001:db8::1/64", "::1/128", "::ffff:192.0.2.1/96"])(
  "%s is an address with its prefix",
  (text) => {
    expect(checkInterface(` ${text} `)).toEqual({ value: text, wrong: "" });
  },
);

test.each([
  ["192.0.2.10", "prefix length is missing"],
  ["192.0.2.10/", "prefix length is missing"],
  ["192.0.2.10/33", "0 to 32"],
  ["192.0.2.10/24/1", "0 to 32"],
  ["2001:db8::1/129", "0 to 128"],
  ["192.0.2.256/24", "no IP address"],
  ["192.0.2/24", "no IP address"],
  ["192.0.02.1/24", "no IP address"],
  ["fe80::1%eth0/64", "no IP address"],
  ["1::2::3/64", "no IP address"],
])("%s is refused", (text, why) => {
  expect(checkInterface(text).wrong).toContain(why);
});

test("IPv6 has eight groups or one gap", () => {
  expect(readAddress("1:2:3:4:5:6:7:8")).not.toBeNull();
  expect(readAddress("1:2:3:4:5:6:7")).toBeNull();
  expect(readAddress("1:2:3:4:5:6:7::8")).toBeNull();
  expect(readAddress("1:2:3:4:5:6:7:8:9")).toBeNull();
  expect(readAddress("12345::")).toBeNull();
  expect(readAddress("192.0.2.1::")).toBeNull();
  expect(readAddress(":")).toBeNull();
});

test("a gateway is in the network of the address", () => {
  expect(checkGateway("192.0.2.1", "192.0.2.10/24").wrong).toBe("");
  expect(checkGateway("192.0.3.1", "192.0.2.10/24").wrong).toContain("not in");
  expect(checkGateway("192.0.3.1", "192.0.2.10/23").wrong).toBe("");
  expect(checkGateway("2001:db8::1", "192.0.2.10/24").wrong).toContain("not in");
  expect(checkGateway("gateway", "192.0.2.10/24").wrong).toContain("no IP address");
  expect(checkGateway("192.0.3.1", "not yet").wrong).toBe("");
  expect(checkGateway("", "192.0.2.10/24").wrong).toBe("");
});

test("name servers stand between spaces or commas", () => {
  expect(checkServers("192.0.2.1, 2001:db8::53\n192.0.2.2").values).toHaveLength(3);
  expect(checkServers("192.0.2.1 dns").wrong).toContain("dns");
  expect(checkServers(Array(9).fill("192.0.2.1").join(" ")).wrong).toContain("At most 8");
  expect(checkServers("")).toEqual({ values: [], wrong: "" });
});

test("links are an object in JSON", () => {
  expect(checkLinks('{"links": []}')).toBe("");
  expect(checkLinks("[]")).toContain('"links"');
  expect(checkLinks('{"links": [}')).toContain("no JSON");
});
