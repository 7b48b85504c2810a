import { expect, test } from "vitest";

import { columnOf, headerProblems, tableOfJson, TEMPLATE } from "./columns";

test("the file to begin with has no problem", () => {
  expect(headerProblems(TEMPLATE[0] ?? [])).toEqual([]);
  expect(headerProblems(["region_id", "target_mac", "os_type", "os_version", "tags.x"])).toEqual(
    [],
  );
});

test("unknown, repeated and missing columns are named at once", () => {
  const said = headerProblems(["idc", "colour", "mac", "mac", "os_type", "tags."]).join(" ");
  for (const each of ["“colour” is no", "“mac” is there twice", "“os_version” is missing"]) {
    expect(said).toContain(each);
  }
  expect(said).toContain("“tags.” is no column");
});

test("an error finds its column", () => {
  const header = ["region_id", "mac", "network_config.dns", "ssh_keys", "tags.rack"];
  expect(columnOf(header, "idc")).toBe(0);
  expect(columnOf(header, "network_config.dns.1")).toBe(2);
  expect(columnOf(header, "ssh_keys.0")).toBe(3);
  expect(columnOf(header, "tags.rack")).toBe(4);
  expect(columnOf(header, "row")).toBe(-1);
});

test("JSON becomes the same table", () => {
  const table = tableOfJson(
    JSON.stringify([
      {
        idc: "dc1",
        target_mac: "52:54:00:00:00:01",
        network_config: { address: "192.0.2.1/24", dns: ["192.0.2.2", "192.0.2.3"] },
        ssh_keys: ["a", "b"],
        tags: { rack: "r7" },
        root_disk: { overwrite: true, serial: null },
        disk_layout: { raid: "raid1" },
      },
      { idc: "dc2", network_config: "dhcp" },
    ]),
  );
  const row = Object.fromEntries(table.header.map((name, at) => [name, table.rows[0]?.[at]]));
  expect(row).toMatchObject({
    idc: "dc1",
    mac: "52:54:00:00:00:01",
    "network_config.dns": "192.0.2.2 192.0.2.3",
    ssh_keys: "a\nb",
    "tags.rack": "r7",
    "root_disk.overwrite": "true",
    disk_layout: '{"raid":"raid1"}',
    "root_disk.serial": "",
  });
  expect(table.rows[1]?.[table.header.indexOf("network_config")]).toBe("dhcp");
});

test.each(["{}", "[1]", "[null]", "{broken"])("%s is no array of tasks", (text) => {
  expect(() => tableOfJson(text)).toThrow();
});
