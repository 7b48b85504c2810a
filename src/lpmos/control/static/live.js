// The live connection: it comes back by itself and goes on where it was, so that nothing is missed.

import { call } from "./page.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
const SESSION_OVER = 4401;
const TOKEN_MISSING = 4408;

/**
 * Stay connected to /ws for ever.
 *
 * `onState` is told "live" or "waiting"; `onMessages` a list of messages; `onStale` that whatever was
 * read before may be old. The answer says the revision of the store up to which all was heard.
 */
export function connect({ onState, onMessages, onStale }) {
  let wait = FIRST_WAIT_MS;
  let heard = null;

  function take(message) {
    const stale = message.type === "resync" || (message.type === "subscribed" && heard === null);
    if (["subscribed", "resync", "revision"].includes(message.type)) heard = message.revision;
    if (stale) onStale();
    if (stale || message.type === "subscribed") onState("live");
  }

  function open() {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
    socket.addEventListener("open", () => {
      wait = FIRST_WAIT_MS;
      socket.send(JSON.stringify({ type: "subscribe", batch: true, from_revision: heard }));
    });
    socket.addEventListener("message", (event) => {
      const content = JSON.parse(event.data);
      const messages = Array.isArray(content) ? content : [content];
      messages.forEach(take);
      onMessages(messages);
    });
    socket.addEventListener("close", (event) => {
      if (event.code === SESSION_OVER || event.code === TOKEN_MISSING) {
        call("GET", "/session").catch(() => null); // which leads to the login where there is none
      }
      onState("waiting");
      setTimeout(open, wait * (0.5 + Math.random()));
      wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    });
  }

  open();
  return { heard: () => heard ?? 0 };
}
