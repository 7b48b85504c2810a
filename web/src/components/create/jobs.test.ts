import { describe, expect, it } from "vitest";

import { newTask } from "./document";
import { Fields } from "./fields";
import { PRESETS, presetOf, valueOf } from "./jobs";

function made(name: string, fields: Partial<Fields> = {}): object {
  const preset = PRESETS.find((each) => each.name === name);
  const system = preset ? valueOf(preset) : name;
  return newTask({ ...new Fields(), idc: "dc1", mac: "52:54:00:00:00:01", ...fields, system });
}

const PLACE = { idc: "dc1", mac: "52:54:00:00:00:01" };

describe("a job in the form of a new task", () => {
  it("is a document without anything of an install", () => {
    const typed = { layout: "lvm", serial: "S1", packages: "nginx", network: "static" };
    expect(made("memory-test", typed)).toEqual({
      ...PLACE,
      job: { steps: [{ step: "memory_test" }] },
    });
  });

  it("lets the holders of the keys in by a rescue, and by nothing else", () => {
    const key = "ssh-ed25519 AAAA me";
    expect(made("rescue", { sshKeys: key })).toEqual({
      ...PLACE,
      ssh_keys: [key],
      job: { steps: [{ step: "rescue", minutes: 60, ssh: true }] },
    });
    expect(made("rescue")).toMatchObject({ job: { steps: [{ step: "rescue", minutes: 60 }] } });
    expect(made("disk-test", { sshKeys: key })).not.toHaveProperty("ssh_keys");
  });

  it("is none where a system is chosen", () => {
    expect(presetOf("debian 12")).toBeUndefined();
    expect(made("debian 12")).toMatchObject({ os_type: "debian", os_version: "12" });
  });

  it("writes to no disk", () => {
    const steps = PRESETS.flatMap((preset) => preset.steps(true));
    expect(steps.filter((step) => step.step === "disk_erase" || "mode" in step)).toEqual([]);
  });
});
