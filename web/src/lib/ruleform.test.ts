import { describe, expect, it } from "vitest";

import { fieldsOf, formOf } from "./ruleform";

describe("a rule's form", () => {
  it("gives an approve rule no task, and a create rule no overwriting", () => {
    const approve = fieldsOf({ ...formOf(null), allowOverwrite: true, tenant: " acme " });
    expect(approve).toMatchObject({ kind: "approve", tenant: "acme", allow_overwrite: true });
    expect(approve).not.toHaveProperty("task");
    const create = fieldsOf({ ...formOf(null), kind: "create", allowOverwrite: true });
    expect(create).toMatchObject({ kind: "create", task: { os_type: "debian", os_version: "12" } });
    expect(create).not.toHaveProperty("allow_overwrite");
  });

  it("takes regions with commas or blanks between them", () => {
    expect(fieldsOf({ ...formOf(null), idc: "dc1, dc2  dc3" }).idc).toEqual(["dc1", "dc2", "dc3"]);
    expect(fieldsOf({ ...formOf(null), idc: " " }).idc).toEqual([]);
  });

  it("says in words that the task is not JSON", () => {
    expect(() => fieldsOf({ ...formOf(null), kind: "create", task: "{" })).toThrow(
      "The task is not JSON",
    );
  });
});
