import { expect, test } from "vitest";

import type { Schemas } from "../../lib/api";
import { createAddress, sorted } from "./match";

const REPORT = { id: "dc1-x", idc: "dc1", mac: "52:54:00:00:00:01", sn: "SN-1" };

function task(task_id: string, fields: Partial<Schemas["TaskSummary"]>): Schemas["TaskSummary"] {
  const whole = { task_id, idc: "dc1", mac: "other", sn: "other", created_at: "2026-01-02" };
  return { ...whole, ...fields } as Schemas["TaskSummary"];
}

test("tasks that name the machine come first, then those that wait longest", () => {
  const found = sorted(REPORT, [
    task("late", { created_at: "2026-01-03" }),
    task("early", { created_at: "2026-01-01" }),
    task("mac", { mac: REPORT.mac, created_at: "2026-01-09" }),
    task("both", { mac: REPORT.mac, sn: "SN-1" }),
  ]);
  expect(found.map((each) => each.task.task_id)).toEqual(["both", "mac", "early", "late"]);
  expect(found[0]?.same).toEqual(["serial number", "MAC"]);
});

test("a machine without a serial number is like no other without one", () => {
  const [found] = sorted({ ...REPORT, sn: null }, [task("a", { sn: "" })]);
  expect(found?.same).toEqual([]);
});

test("what a machine says of itself cannot change the address of the form", () => {
  const address = createAddress({ ...REPORT, sn: "a&idc=dc9#x" });
  const query = new URL(address, "http://lpmos.test").searchParams;
  expect(query.getAll("idc")).toEqual(["dc1"]);
  expect(query.get("sn")).toBe("a&idc=dc9#x");
  expect(createAddress({ ...REPORT, sn: null })).not.toContain("sn=");
});
