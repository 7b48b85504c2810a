// The panel with everything about one task.

import { bytes, clock, element } from "./page.js";
import { FINAL, STATUS } from "./words.js";

/** The panel's content for a task as `GET /tasks/{id}` gives it. */
export function details(task, actions) {
  return [
    heading(task),
    element("p", { className: "muted" }, task.meaning),
    actions,
    task.error && failure(task.error),
    task.plan && section(FINAL.has(task.status) ? "Root disk" : "Disk that will be written", target(task.plan)),
    task.progress.length > 0 && section("Progress", stages(task)),
    task.hardware && section("Hardware", hardware(task.hardware)),
    section("Timeline", timeline(task.timeline)),
    section("Request", request(task)),
    section("Log", element("pre", { tabIndex: 0 }, task.logs.join("\n") || "nothing yet")),
  ].filter(Boolean);
}

/** The box that says what will be lost. */
export function target(plan) {
  const facts = [plan.device, bytes(plan.size_bytes), plan.model, plan.serial && `serial ${plan.serial}`, plan.wwn];
  const holds = plan.overwrites.length > 0;
  return element(
    "div",
    { className: holds ? "target" : "target blank" },
    element("b", {}, facts.filter(Boolean).join(" · ")),
    element("div", {}, holds ? `Held ${plan.overwrites.join(", ")} when it was reported: an installation destroys it.` : "The disk was blank when it was reported."),
    element("div", { className: "small muted" }, plan.partitions.map(partition).join(" · ")),
  );
}

function partition(each) {
  const size = each.size_bytes === null ? "the rest" : bytes(each.size_bytes);
  return `${each.number}: ${each.role.replace("_", " ")}${each.filesystem ? ` (${each.filesystem})` : ""}, ${size}`;
}

function heading(task) {
  return element(
    "header",
    {},
    element(
      "div",
      {},
      element("h2", {}, task.hostname),
      element("div", { className: "mono muted" }, `${task.sn} · ${task.mac} · ${task.idc}`),
    ),
    element("span", { className: "chip", data: { status: task.status } }, STATUS[task.status] || task.status),
  );
}

function section(title, ...content) {
  return element("section", {}, element("h3", {}, title), ...content);
}

function pairs(rows) {
  const list = element("dl");
  for (const [name, value] of rows) {
    if (value) list.append(element("dt", {}, name), element("dd", {}, value));
  }
  return list;
}

function failure(error) {
  return element(
    "section",
    { className: "failure" },
    element("p", {}, element("b", {}, error.reason)),
    error.hint && element("p", {}, error.hint),
    error.command && element("pre", {}, `$ ${error.command}`),
    error.output && element("pre", {}, error.output),
  );
}

function stages(task) {
  const list = element("ul");
  for (const step of task.progress) {
    const rate = step.bytes_per_second ? ` · ${bytes(step.bytes_per_second)}/s` : "";
    const done = step.bytes_total ? ` · ${bytes(step.bytes_done || 0)} of ${bytes(step.bytes_total)}` : "";
    list.append(
      element(
        "li",
        {},
        element("b", {}, step.step),
        ` ${Math.round(step.percent)} %${done}${rate}`,
        element("div", { className: "small muted" }, step.message),
      ),
    );
  }
  return element("div", {}, element("progress", { max: 100, value: task.percentage }), list);
}

function hardware(found) {
  const words = (...parts) => parts.filter(Boolean).join(" ");
  const dimms = found.memory.dimms.filter((dimm) => dimm.size_bytes > 0).length;
  const rows = [
    ["Product", words(found.product.vendor, found.product.name)],
    ["Serial", found.product.serial],
    ["Processor", words(found.cpu.model, `· ${found.cpu.sockets} × socket, ${found.cpu.cores} cores, ${found.cpu.threads} threads`)],
    ["Memory", bytes(found.memory.total_bytes) + (dimms ? ` in ${dimms} modules` : "")],
    ["Firmware", words(found.boot_mode.toUpperCase(), found.bios.vendor, found.bios.version)],
    ["Secure Boot", found.secure_boot === null ? "" : found.secure_boot ? "on" : "off"],
    ["BMC", found.bmc_address],
  ];
  const disks = found.disks.map((disk) =>
    element(
      "li",
      {},
      element("b", {}, disk.device),
      ` ${bytes(disk.size_bytes)} ${disk.kind.toUpperCase()} ${words(disk.model, disk.serial && `serial ${disk.serial}`)}`,
      element("div", { className: "small muted" }, disk.contents.length ? `holds ${disk.contents.join(", ")}` : "blank"),
    ),
  );
  const nics = found.nics.map((nic) =>
    element(
      "li",
      {},
      element("b", {}, nic.interface),
      ` ${nic.mac} ${words(nic.driver, nic.speed_mbps && `${nic.speed_mbps} Mbit/s`, nic.booted && "· netbooted")}`,
    ),
  );
  return element("div", {}, pairs(rows), element("ul", {}, ...disks, ...nics));
}

function timeline(entries) {
  return element(
    "ul",
    { className: "timeline" },
    ...entries.map((entry) =>
      element(
        "li",
        {},
        element("time", { className: "muted small", dateTime: entry.timestamp }, clock(entry.timestamp)),
        element("span", {}, STATUS[entry.event] || entry.event),
        entry.detail && element("span", { className: "small muted" }, entry.detail),
      ),
    ),
  );
}

function request(task) {
  const network = task.network_config === "dhcp" ? "DHCP" : `${task.network_config.address}`;
  return pairs([
    ["System", `${task.os_type} ${task.os_version}`],
    ["Network", network],
    ["SSH keys", task.ssh_keys.length ? `${task.ssh_keys.length}` : "none"],
    ["Tags", Object.entries(task.tags).map(([key, value]) => `${key}=${value}`).join(", ")],
    ["Created", `${clock(task.created_at)} by ${task.created_by}`],
    ["Task", task.task_id],
  ]);
}
