// What the identity provider sent the browser back with is handed in once; then it goes on.
//
// This page was reached across sites, so no cookie of ours came with it; with this call they do.

import { byId, call } from "./page.js";

const NAMES = ["state", "code", "error", "iss"];
const came = new URLSearchParams(location.search);
const answer = Object.fromEntries(
  NAMES.filter((name) => came.has(name)).map((name) => [name, came.get(name)]),
);
history.replaceState(null, "", location.pathname);

try {
  const { next } = await call("POST", "/login/oidc", answer);
  location.replace(next);
} catch (problem) {
  byId("doing").hidden = true;
  byId("complaint").textContent = problem.message;
}
