import { expect, test } from "vitest";

import { blocks, disksOf, layers, purpose, type Block } from "./blocks";
import { layoutWords } from "./layout";
import { parts } from "./proportions";

const GIB = 2 ** 30;
const layer = (number: number, size_bytes: number | null) => ({
  number,
  role: "layer" as const,
  size_bytes,
  filesystem: null,
});
const PLAN = {
  device: "/dev/sda",
  size_bytes: 100 * GIB,
  overwrites: [],
  partitions: [
    { number: 1, role: "bios_boot" as const, size_bytes: 2 ** 20, filesystem: null },
    { number: 2, role: "esp" as const, size_bytes: GIB / 2, filesystem: "vfat" as const },
    layer(3, GIB),
    layer(4, null),
  ],
  members: [{ device: "/dev/sdb", size_bytes: 200 * GIB, overwrites: ["ext4"] }],
  arrays: [
    { id: "md-boot", level: "raid1" as const, partition: 3 },
    { id: "md-root", level: "raid1" as const, partition: 4 },
  ],
  encrypted: [{ id: "crypt-root", on: "md-root" }],
  groups: [
    {
      id: "vg0",
      on: "crypt-root",
      volumes: [
        { name: "swap", size_bytes: GIB },
        { name: "root", size_bytes: null },
      ],
    },
  ],
  filesystems: [
    { on: "vg0/root", kind: "xfs" as const, mount: "/" },
    { on: "md-boot", kind: "ext4" as const, mount: "/boot" },
    { on: "vg0/swap", kind: "swap" as const, mount: null },
  ],
};

const ids = (found: readonly Block[]): unknown[] =>
  found.map((each) => (each.above.length ? [each.id, ids(each.above)] : each.id));

test("what stands on what is a tree", () => {
  expect(ids(blocks(PLAN))).toEqual([
    "p1",
    "p2",
    ["p3", ["md-boot"]],
    ["p4", [["md-root", [["crypt-root", [["vg0", ["vg0/swap", "vg0/root"]]]]]]]],
  ]);
});

test("every partition says what it is for, and what stands on it", () => {
  const found = blocks(PLAN);
  expect(found.map(purpose)).toEqual(["BIOS boot", "EFI system", "Boot", "Encrypted"]);
  expect(found.map(layers)).toEqual(["", "vfat", "RAID 1, ext4", "RAID 1, LUKS2 encrypted, LVM"]);
  expect(found.map((each) => each.mount)).toEqual(["", "/boot/efi", "", ""]);
});

test("plain partitions are called by their mounts", () => {
  const plan = {
    ...PLAN,
    members: [],
    arrays: [],
    encrypted: [],
    groups: [],
    partitions: [layer(3, GIB), layer(4, GIB), layer(5, GIB), layer(6, GIB)],
    filesystems: [
      { on: "p4", kind: "ext4" as const, mount: "/" },
      { on: "p3", kind: "ext4" as const, mount: "/boot" },
      { on: "p5", kind: "xfs" as const, mount: "/var/lib" },
      { on: "p6", kind: "swap" as const },
    ],
  };
  expect(blocks(plan).map(purpose)).toEqual(["Boot", "Root", "/var/lib", "Swap"]);
  const free = parts(plan).at(-1);
  expect([free?.number, free?.name, free?.sizeBytes]).toEqual([0, "Free", 96 * GIB]);
});

test("a disk that is larger has more of what takes the rest", () => {
  const [first, second] = disksOf(PLAN).map((disk) => parts(PLAN, disk.size_bytes).at(-1));
  expect((second?.sizeBytes ?? 0) - (first?.sizeBytes ?? 0)).toBe(100 * GIB);
});

test("a plan of a version before has one disk and its partitions", () => {
  const { device, size_bytes, partitions } = PLAN;
  const old = { device, size_bytes, partitions: partitions.slice(0, 2) };
  expect(disksOf(old)).toHaveLength(1);
  expect(blocks(old).map(layers)).toEqual(["", "vfat"]);
});

test("an image that brings its partitions has none in the plan", () => {
  expect(parts({ ...PLAN, partitions: [], whole_image: true })).toEqual([]);
});

test("a layout is said in words", () => {
  expect(layoutWords({})).toBe("auto");
  expect(
    layoutWords({
      raid: "raid1",
      members: [{ serial: "S1" }, {}],
      lvm: true,
      partitions: [
        { mount: "/var", size_bytes: 4 * GIB },
        { name: "data", fill: true },
      ],
      erase: "nvme_format",
    }),
  ).toBe("RAID 1, disks S1, any, LVM, /var 4.0 GiB, data the rest, erased by nvme format");
});
