import { expect, test } from "vitest";

import { check } from "./checks";
import { newTask } from "./document";
import { keep, kept } from "./draft";
import { Fields, placeOf } from "./fields";
import { TaskForm } from "./form.svelte";
import { checkPartitions, diskCount, layoutOf, OWN, type Wish } from "./storage";

const TYPED = { ...new Fields(), idc: "dc1", system: "debian 12", mac: "5254.0000.0001" };
const wish = (mount: string, size: string, fill = false): Wish => ({
  mount,
  size,
  fill,
  filesystem: "",
});

test("a layout by name is sent by its name", () => {
  expect(layoutOf(TYPED)).toBeUndefined();
  expect(newTask({ ...TYPED, layout: "raid5" }).disk_layout).toBe("raid5");
  expect(diskCount({ ...TYPED, layout: "raid5" })).toBe(3);
});

test("disks that are chosen one by one stand in place of wishes for all", () => {
  const members = [{ serial: "S1" }, { device: "/dev/sdb" }];
  const found = newTask({ ...TYPED, layout: "raid1", members, model: "ACME", overwrite: true });
  expect(found.disk_layout).toEqual({
    raid: "raid1",
    members: [{ serial: "S1" }, { device: "/dev/sdb", overwrite: true }],
  });
  expect(found.root_disk).toBeUndefined();
});

test("chosen disks of another layout are no members of one over one disk", () => {
  const found = newTask({ ...TYPED, members: [{ serial: "S1" }], model: "ACME" });
  expect([found.disk_layout, found.root_disk]).toEqual([undefined, { model: "ACME" }]);
});

test("an own choice is the document that it says", () => {
  const fields = {
    ...TYPED,
    layout: OWN,
    raid: "raid1",
    diskCount: "3",
    lvm: true,
    encrypt: true,
    passphrase: "correct horse",
    filesystem: "xfs",
    swap: "8 GiB",
    partitions: [wish("/", "40 GB"), { ...wish(" /srv ", "1 GB", true), filesystem: "ext4" }],
    erase: "discard",
  };
  const found = newTask(fields);
  expect(found.disk_layout).toEqual({
    raid: "raid1",
    disks: 3,
    lvm: true,
    encrypt: true,
    filesystem: "xfs",
    swap_bytes: 8 * 2 ** 30,
    partitions: [
      { mount: "/", size_bytes: 40e9 },
      { mount: "/srv", fill: true, min_bytes: 1e9, filesystem: "ext4" },
    ],
    erase: "discard",
  });
  expect(found.disk_passphrase).toBe("correct horse");
  expect(newTask({ ...fields, layout: "raid1" }).disk_passphrase).toBeUndefined();
});

test("what is no number goes as it was typed, for the API to refuse", () => {
  const found = layoutOf({ ...TYPED, layout: OWN, raid: "raid1", diskCount: "two", swap: "much" });
  expect(found).toMatchObject({ disks: "two", swap_bytes: "much" });
});

test.each([
  [[wish("var", "1 GB")], "begins with /"],
  [[wish("/var", "")], "needs a size"],
  [[wish("/var", "much")], "Partition 1"],
  [[wish("/", "", true), wish("/var", "", true)], "Only one"],
  [[wish("/var", "", true)], "list it too"],
  [[wish("/", "1 GB"), wish("/var", "", true)], ""],
])("partitions are checked as far as it can be seen", (wishes, said) => {
  if (said) expect(checkPartitions(wishes)).toContain(said);
  else expect(checkPartitions(wishes)).toBe("");
});

test("encryption needs LVM for more than the root, and a passphrase", () => {
  const own = { ...TYPED, layout: OWN, encrypt: true };
  expect(check({ ...own, swap: "1 GB" }, "lvm")).toContain("one passphrase");
  expect(check(own, "lvm")).toBe("");
  expect(check({ ...own, passphrase: "short" }, "passphrase")).toContain("8");
  expect(check({ ...own, passphrase: "grün und lang" }, "passphrase")).toContain("ASCII");
  expect(check({ ...TYPED, encrypt: true }, "passphrase")).toBe("");
});

test.each([
  ["disk_layout", "layout"],
  ["disk_layout.swap_bytes", "swap"],
  ["disk_layout.partitions.0.mount", "partitions"],
  ["disk_layout.members.1.serial", "layout"],
  ["disk_passphrase", "passphrase"],
  ["root_disk.path", "path"],
])("an error at %s stands at %s", (field, name) => {
  expect(placeOf(field)).toBe(name);
});

test("a passphrase is never kept in the tab, nor the body that it stands in", () => {
  const form = new TaskForm({
    idc: "dc1",
    layout: OWN,
    encrypt: true,
    passphrase: "correct horse",
  });
  form.keyOf(form.document());
  expect(JSON.stringify({ ...sessionStorage })).not.toContain("correct horse");
  expect(kept<{ fields: Fields }>("create")?.fields?.layout).toBe(OWN);
  keep("create", {});
});
