// The form for a new task: what can be chosen comes from the regions, what is wrong from the API.

import { byId, call, element } from "./page.js";

const form = byId("create");
const field = (name) => form.elements.namedItem(name);
let regions = [];

function showSystems() {
  const region = regions.find((each) => each.idc === field("idc").value);
  const offered = region ? region.offered : [];
  field("os_type").replaceChildren(
    ...offered.map((os) =>
      element("option", { value: JSON.stringify([os.os_type, os.os_version]) }, `${os.os_type} ${os.os_version}`),
    ),
  );
  complain("os_type", region && offered.length === 0 ? "This region offers nothing yet: build an image there." : "");
}

function complain(name, text) {
  const place = field(name);
  if (!place) return false;
  place.closest(".field").querySelector("em").textContent = text;
  place.setAttribute("aria-invalid", text !== "");
  return true;
}

function wanted() {
  const [osType, osVersion] = JSON.parse(field("os_type").value || '["",""]');
  const task = { idc: field("idc").value, os_type: osType, os_version: osVersion, mac: field("mac").value.trim() };
  for (const name of ["sn", "hostname"]) {
    if (field(name).value.trim()) task[name] = field(name).value.trim();
  }
  const keys = field("ssh_keys").value.split("\n").map((line) => line.trim()).filter(Boolean);
  if (keys.length) task.ssh_keys = keys;
  const serial = field("root_disk.serial").value.trim();
  if (serial) task.root_disk = { serial };
  const notes = field("notes").value.trim();
  if (notes) task.tags = { notes };
  return task;
}

/** The form's field that an error of the API is about. */
function nameOf(path) {
  if (path === "os_version") return "os_type";
  if (path === "tags.notes") return "notes";
  return path.startsWith("ssh_keys") ? "ssh_keys" : path;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("complaint").textContent = "";
  for (const place of form.querySelectorAll("em")) place.textContent = "";
  const submit = form.querySelector("button[type=submit]");
  submit.disabled = true;
  try {
    const made = await call("POST", "/tasks", wanted());
    location.assign(`/#task=${made.task_id}`);
  } catch (problem) {
    const unplaced = problem.errors.filter((each) => !complain(nameOf(each.field), each.message));
    if (problem.errors.length === 0) byId("complaint").textContent = problem.message;
    else byId("complaint").textContent = unplaced.map((each) => `${each.field}: ${each.message}`).join("; ");
    form.querySelector("[aria-invalid=true]")?.focus();
  } finally {
    submit.disabled = false;
  }
});

field("idc").addEventListener("change", showSystems);

try {
  regions = (await call("GET", "/regions")).regions;
  field("idc").replaceChildren(
    ...regions.map((region) => element("option", { value: region.idc }, region.online ? region.idc : `${region.idc} (offline)`)),
  );
  if (regions.length === 0) byId("complaint").textContent = "No region has reported yet. Start one: lpmos region.";
  showSystems();
} catch (problem) {
  byId("complaint").textContent = problem.message;
}
