// What is typed goes to the control plane once and is kept nowhere here.

import { byId, call } from "./page.js";

const form = byId("login");
const otherWay = byId("other-way");
let byToken = false;

/** Show the fields of one way to log in; those of the other are not asked for. */
function choose(token) {
  byToken = token;
  byId("by-token").hidden = !token;
  byId("by-name").hidden = token;
  byId("token").disabled = !token;
  byId("username").disabled = byId("password").disabled = token;
  byId("complaint").textContent = "";
  otherWay.textContent = token ? "Use name and password instead" : "Use a token instead";
  byId(token ? "token" : "username").focus();
}

function typed() {
  if (byToken) return { token: byId("token").value.trim() };
  return { username: byId("username").value.trim(), password: byId("password").value };
}

otherWay.addEventListener("click", () => choose(!byToken));

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("complaint").textContent = "";
  try {
    await call("POST", "/session", typed());
    location.assign("/");
  } catch (problem) {
    const secret = byId(byToken ? "token" : "password");
    byId("complaint").textContent = problem.message;
    secret.value = "";
    secret.focus();
  }
});

/** Offer the identity provider where there is one; the other ways are there without it. */
async function offer() {
  try {
    const { configured } = await call("GET", "/login/oidc");
    byId("elsewhere").hidden = !configured;
  } catch {
    byId("elsewhere").hidden = true;
  }
}

offer();
