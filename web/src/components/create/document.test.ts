import { expect, test } from "vitest";

import { newTask } from "./document";
import { Fields, LINKS, placeOf } from "./fields";

const TYPED = { ...new Fields(), idc: "dc1", system: "debian 12", mac: "5254.0000.0001" };

test("what was left as it is does not stand in the document", () => {
  expect(newTask(TYPED)).toEqual({
    idc: "dc1",
    mac: "52:54:00:00:00:01",
    os_type: "debian",
    os_version: "12",
  });
});

test("arguments of the kernel are sent without the spaces around them", () => {
  const found = newTask({ ...TYPED, kernelArguments: " console=ttyS1,115200n8 nomodeset " });
  expect(found.kernel_arguments).toBe("console=ttyS1,115200n8 nomodeset");
  expect(newTask({ ...TYPED, kernelArguments: " " })).not.toHaveProperty("kernel_arguments");
});

test("links are sent as they are written", () => {
  const found = newTask({ ...TYPED, network: "links", links: LINKS });
  expect(found.network_config).toEqual(JSON.parse(LINKS));
});

test("links that are no JSON go as text, for the API to refuse", () => {
  const found = newTask({ ...TYPED, network: "links", links: "{" });
  expect(found.network_config).toBe("{");
});

test.each([
  ["network_config.links.0.name", "links"],
  ["network_config.address", "address"],
  ["tags.rack", "tags"],
  ["kernel_arguments", "kernelArguments"],
  ["elsewhere", null],
])("an error at %s stands at %s", (field, name) => {
  expect(placeOf(field)).toBe(name);
});
