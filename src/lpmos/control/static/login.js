// The token goes from the field to the control plane once and is kept nowhere here.

import { byId, call } from "./page.js";

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = byId("token");
  byId("complaint").textContent = "";
  try {
    await call("POST", "/session", { token: field.value.trim() });
    location.assign("/");
  } catch (problem) {
    byId("complaint").textContent = problem.message;
    field.value = "";
    field.focus();
  }
});
