// What every page needs: calls to the API, elements made of text only, and how values are written.
//
// Input is only ever put into a page as text: nothing here or in the pages parses markup.

/** An error answer of the API: the problem document of RFC 9457. */
export class Problem extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the control plane answered ${status}`);
    this.status = status;
    this.errors = problem.errors || [];
  }
}

/** Call the API; the answer's JSON. Whoever is not logged in any more is sent to the login page. */
export async function call(method, path, body) {
  return (await exchange(method, path, body)).document;
}

/** Read from the API: the answer's JSON, and the store's revision that it is at least as new as. */
export async function read(path) {
  return exchange("GET", path);
}

async function exchange(method, path, body) {
  const request = { method, headers: { Accept: "application/json" } };
  if (body !== undefined) {
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(`/api/v1${path}`, request);
  } catch {
    throw new Problem(0, { detail: "The control plane does not answer." });
  }
  if (answer.status === 401 && !location.pathname.startsWith("/login")) {
    location.assign("/login");
  }
  const revision = Number(answer.headers.get("Lpmos-Revision"));
  if (answer.status === 204) return { document: null, revision };
  const document = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(answer.status, document);
  return { document, revision };
}

/** A new element. Properties are set as such; `data` and `aria` are objects; children are nodes or text. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "data") Object.assign(made.dataset, value);
    else if (key === "aria") {
      for (const [word, text] of Object.entries(value)) made.setAttribute(`aria-${word}`, text);
    } else made[key] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** A number of bytes for people. */
export function bytes(count) {
  let power = 0;
  while (count >= 1024 && power < UNITS.length - 1) {
    count /= 1024;
    power += 1;
  }
  return `${count >= 10 || power === 0 ? Math.round(count) : count.toFixed(1)} ${UNITS[power]}`;
}

/** How long ago a time is. */
export function ago(time) {
  const seconds = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  if (seconds < 5) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return new Date(time).toLocaleDateString();
}

/** A time of day, with the date where it is not today. */
export function clock(time) {
  const at = new Date(time);
  const today = at.toDateString() === new Date().toDateString();
  return today ? at.toLocaleTimeString() : at.toLocaleString();
}
