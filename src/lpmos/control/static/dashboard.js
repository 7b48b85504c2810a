// The live table of tasks. The list is what the API says; messages only bring it up to date sooner.

import { details, target } from "./details.js";
import { connect } from "./live.js";
import { ago, byId, bytes, call, element, read } from "./page.js";
import { DECIDABLE, FINAL, STATUS } from "./words.js";

const PAGE_SIZE = 50;
const RELOAD_AFTER_MS = 400;
const NOTICE_MS = 6000;
const CONFLICT = 409;

const view = { status: "", idc: "", offset: 0, total: 0, selected: null };
const tasks = new Map();
const rows = new Map();

// Reading again: at once, or soon and then once for many reasons

function soon(work) {
  let timer = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      work();
    }, RELOAD_AFTER_MS);
  };
}

async function load() {
  const query = new URLSearchParams({ limit: PAGE_SIZE, offset: view.offset });
  if (view.status) query.set("status", view.status);
  if (view.idc) query.set("idc", view.idc);
  try {
    const { document: list, revision } = await read(`/tasks?${query}`);
    if (revision < live.heard()) loadSoon(); // another control plane answered, which is behind
    if (list.tasks.length === 0 && view.offset > 0) {
      view.offset = 0;
      return load();
    }
    view.total = list.total;
    tasks.clear();
    for (const task of list.tasks) tasks.set(task.task_id, task);
    showList();
    showCounts(list.counts);
  } catch (problem) {
    notice(problem.message);
  }
}

async function loadRegions() {
  try {
    const { regions } = await call("GET", "/regions");
    const chosen = byId("region");
    const names = regions.map((region) =>
      element("option", { value: region.idc }, region.online ? region.idc : `${region.idc} (offline)`),
    );
    chosen.replaceChildren(element("option", { value: "" }, "all"), ...names);
    chosen.value = view.idc;
  } catch (problem) {
    notice(problem.message);
  }
}

const loadSoon = soon(load);
const loadRegionsSoon = soon(loadRegions);
const loadDetailsSoon = soon(() => showDetails());

// The table

function showList() {
  const body = byId("tasks");
  for (const [id, row] of rows) {
    if (!tasks.has(id)) {
      row.remove();
      rows.delete(id);
    }
  }
  let place = 0;
  for (const task of tasks.values()) {
    if (!rows.has(task.task_id)) rows.set(task.task_id, element("tr"));
    const row = rows.get(task.task_id);
    if (body.children[place] !== row) body.insertBefore(row, body.children[place] || null);
    showRow(row, task);
    place += 1;
  }
  const empty = byId("empty");
  empty.hidden = tasks.size > 0;
  empty.textContent = view.status || view.idc ? "No task matches." : "No tasks yet. Create one to install a machine.";
  byId("pager").hidden = view.total <= PAGE_SIZE;
  byId("range").textContent = `${view.offset + 1}–${view.offset + tasks.size} of ${view.total}`;
  byId("newer").disabled = view.offset === 0;
  byId("older").disabled = view.offset + tasks.size >= view.total;
}

/** Bring one row up to date; cells that stay as they are keep their elements and the focus. */
function showRow(row, task) {
  const shown = JSON.stringify([task, view.selected === task.task_id]);
  if (row.shown === shown) return;
  row.shown = shown;
  row.dataset.status = task.status;
  row.dataset.task = task.task_id;
  row.setAttribute("aria-selected", view.selected === task.task_id);
  if (row.children.length === 0) {
    for (const name of ["machine", "region", "system", "status", "progress", "updated nowrap", "row-actions"]) {
      row.append(element("td", { className: name }));
    }
    row.children[0].append(element("a", { href: `#task=${task.task_id}` }), element("span", { className: "sub mono" }), element("span", { className: "sub mono" }));
  }
  const [machine, region, system, status, progress, updated, actions] = row.children;
  machine.children[0].textContent = task.hostname;
  machine.children[1].textContent = task.sn;
  machine.children[2].textContent = task.mac;
  region.textContent = task.idc;
  system.textContent = `${task.os_type} ${task.os_version}`;
  status.replaceChildren(element("span", { className: "chip", data: { status: task.status } }, STATUS[task.status] || task.status));
  showProgress(progress, task);
  updated.replaceChildren(element("time", { dateTime: task.updated_at, title: task.updated_at }, ago(task.updated_at)));
  if (actions.dataset.status !== task.status) {
    actions.dataset.status = task.status;
    actions.replaceChildren(...buttons(task));
  }
}

function showProgress(cell, task) {
  if (task.error) {
    cell.replaceChildren(element("span", { className: "sub" }, task.error));
    return;
  }
  if (!task.stage) {
    cell.replaceChildren();
    return;
  }
  if (!cell.querySelector("progress")) {
    cell.replaceChildren(element("progress", { max: 100, ariaLabel: "Progress" }), element("span", { className: "sub" }));
  }
  const moving = task.status === "installing" && task.bytes_per_second;
  const rate = moving ? ` · ${bytes(task.bytes_per_second)}/s` : "";
  cell.children[0].value = task.percentage;
  cell.children[1].textContent = `${task.stage} · ${Math.round(task.percentage)} %${rate}`;
  cell.title = task.message;
}

function showCounts(counts) {
  const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const group = byId("counts");
  const entries = [["", "All", all], ...Object.keys(STATUS).map((status) => [status, STATUS[status], counts[status] || 0])];
  if (group.children.length === 0) {
    for (const [status] of entries) {
      const button = element("button", { type: "button", className: "count" }, element("b"), element("span"));
      button.addEventListener("click", () => choose({ status }));
      group.append(button);
    }
  }
  entries.forEach(([status, name, count], place) => {
    const button = group.children[place];
    button.children[0].textContent = count;
    button.children[1].textContent = name;
    button.dataset.zero = count === 0;
    button.dataset.urgent = status === DECIDABLE && count > 0;
    button.setAttribute("aria-pressed", view.status === status);
  });
}

function choose(change) {
  Object.assign(view, { offset: 0 }, change);
  load();
}

// What may be done with a task

function buttons(task) {
  const made = [];
  if (task.status === DECIDABLE) {
    made.push(button("Approve", "primary", () => decide("approve", task)));
    made.push(button("Reject", "danger", () => decide("reject", task)));
  }
  if (!FINAL.has(task.status)) made.push(button("Cancel", "", () => decide("cancel", task)));
  return made.length ? [element("div", { className: "actions" }, ...made)] : [];
}

function button(name, className, work) {
  const made = element("button", { type: "button", className }, name);
  made.addEventListener("click", work);
  return made;
}

const DECISIONS = {
  approve: {
    question: (task) => `Install ${task.os_type} ${task.os_version} on ${task.hostname}?`,
    consequence: "The disk below is erased and written as soon as the machine's agent hears of it.",
    words: "Notes (may stay empty)",
    verb: "Approve",
    done: "approved",
    send: (id, words, digest) =>
      call("PUT", `/tasks/${id}/approve`, { approved: true, notes: words || null, plan_digest: digest }),
  },
  reject: {
    question: (task) => `Reject ${task.hostname}?`,
    consequence: "Nothing is written to the machine. The task ends.",
    words: "Reason",
    verb: "Reject",
    done: "rejected",
    send: (id, words) => call("PUT", `/tasks/${id}/reject`, { reason: words }),
  },
  cancel: {
    question: (task) => `Cancel the task of ${task.hostname}?`,
    consequence: "The machine will not start to install. One that is installing stops, and its disk stays half written.",
    words: null,
    verb: "Cancel the task",
    done: "cancelled",
    send: (id) => call("DELETE", `/tasks/${id}`),
  },
};

let pending = null;

async function decide(kind, task) {
  const decision = DECISIONS[kind];
  pending = { decision, task, digest: null };
  byId("question").textContent = decision.question(task);
  byId("consequence").textContent = decision.consequence;
  byId("words").value = "";
  byId("words").parentElement.hidden = decision.words === null;
  byId("words-label").textContent = decision.words || "";
  byId("decide").textContent = decision.verb;
  byId("refusal").textContent = "";
  byId("target").replaceChildren();
  byId("decide").disabled = decision === DECISIONS.approve;
  byId("decision").showModal();
  if (decision === DECISIONS.approve) await showTarget(pending);
}

/** Show the disk of the task as it is now: only what is shown here can be approved. */
async function showTarget(asked) {
  try {
    const whole = await call("GET", `/tasks/${asked.task.task_id}`);
    if (asked !== pending) return;
    asked.digest = whole.plan_digest;
    byId("target").replaceChildren(...(whole.plan ? [target(whole.plan)] : []));
    const decidable = whole.status === DECIDABLE && whole.plan;
    byId("decide").disabled = !decidable;
    if (!decidable) byId("refusal").textContent ||= `The task is ${STATUS[whole.status] || whole.status} now: there is nothing to approve.`;
  } catch (problem) {
    if (asked === pending) byId("refusal").textContent = problem.message;
  }
}

byId("decision").addEventListener("submit", async (event) => {
  event.preventDefault();
  const asked = pending;
  const { decision, task } = asked;
  byId("decide").disabled = true;
  byId("refusal").textContent = "";
  try {
    await decision.send(task.task_id, byId("words").value.trim(), asked.digest);
    if (asked === pending) byId("decision").close();
    notice(`${task.hostname} is ${decision.done}.`);
    load();
    showDetails();
  } catch (problem) {
    if (asked !== pending) return notice(problem.message);
    byId("refusal").textContent = problem.message;
    if (decision === DECISIONS.approve && problem.status === CONFLICT) await showTarget(asked);
    else byId("decide").disabled = false;
  }
});
byId("back").addEventListener("click", () => byId("decision").close());

// The panel of one task

async function showDetails() {
  const panel = byId("details");
  const id = view.selected;
  byId("split").classList.toggle("open", id !== null);
  panel.hidden = id === null;
  for (const [rowId, row] of rows) row.setAttribute("aria-selected", rowId === id);
  if (id === null) return;
  try {
    const task = await call("GET", `/tasks/${encodeURIComponent(id)}`);
    if (view.selected !== id) return;
    const scrolled = panel.scrollTop;
    const close = button("Close", "", () => select(null));
    const actions = element("div", { className: "actions" }, ...buttons(task), close);
    panel.replaceChildren(...details(task, actions));
    panel.scrollTop = scrolled;
  } catch (problem) {
    panel.replaceChildren(element("p", {}, problem.message), button("Close", "", () => select(null)));
  }
}

function select(id) {
  if (id === null) history.replaceState(null, "", location.pathname);
  view.selected = id;
  showDetails();
}

function followAddress() {
  const match = /^#task=([0-9A-Za-z-]{1,64})$/.exec(location.hash);
  view.selected = match ? match[1] : null;
  showDetails().then(() => match && byId("details").focus({ preventScroll: true }));
}

// Messages

function take(messages) {
  for (const message of messages) {
    if (message.type === "region") loadRegionsSoon();
    if (message.type === "removed") loadSoon();
    const task = tasks.get(message.task_id);
    if (message.task_id === view.selected) loadDetailsSoon();
    if (!task) {
      if (message.type === "status") loadSoon();
      continue;
    }
    if (message.type === "status") {
      task.status = message.status;
      loadSoon();
    } else if (message.type === "progress") {
      task.percentage = message.percentage;
      task.stage = message.stage;
      task.message = message.message;
      task.bytes_per_second = message.bytes_per_second ?? null;
    }
    task.updated_at = new Date().toISOString();
    showRow(rows.get(task.task_id), task);
  }
}

function showConnection(state) {
  const sign = byId("connection");
  sign.dataset.state = state;
  sign.textContent = state === "live" ? "live" : "reconnecting…";
}

function readAgain() {
  load();
  loadRegions();
  showDetails();
}

let noticeTimer = null;

function notice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => {
    byId("notice").hidden = true;
  }, NOTICE_MS);
}

byId("region").addEventListener("change", (event) => choose({ idc: event.target.value }));
byId("newer").addEventListener("click", () => choose({ offset: Math.max(0, view.offset - PAGE_SIZE) }));
byId("older").addEventListener("click", () => choose({ offset: view.offset + PAGE_SIZE }));
byId("logout").addEventListener("click", async () => {
  await call("DELETE", "/session").catch(() => null);
  location.assign("/login");
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !byId("decision").open && view.selected) select(null);
});
window.addEventListener("hashchange", followAddress);
setInterval(() => {
  for (const [id, row] of rows) {
    const time = row.querySelector("time");
    if (time && tasks.has(id)) time.textContent = ago(tasks.get(id).updated_at);
  }
}, 5000);

const live = connect({ onState: showConnection, onMessages: take, onStale: readAgain });
followAddress();
