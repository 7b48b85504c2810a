// The live connection: it comes back by itself, and says when a list has to be read again.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
const SESSION_OVER = 4401;
const TOKEN_MISSING = 4408;

/**
 * Stay connected to /ws for ever.
 *
 * `onState` is told "live" or "waiting", `onMessages` a list of messages. After "live" whatever was
 * read before may be old: messages are not repeated.
 */
export function connect({ onState, onMessages }) {
  let wait = FIRST_WAIT_MS;

  function open() {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
    socket.addEventListener("open", () => {
      wait = FIRST_WAIT_MS;
      socket.send(JSON.stringify({ type: "subscribe", batch: true }));
    });
    socket.addEventListener("message", (event) => {
      const content = JSON.parse(event.data);
      if (Array.isArray(content)) onMessages(content);
      else if (content.type === "subscribed") onState("live");
    });
    socket.addEventListener("close", (event) => {
      if (event.code === SESSION_OVER || event.code === TOKEN_MISSING) {
        location.assign("/login");
        return;
      }
      onState("waiting");
      setTimeout(open, wait * (0.5 + Math.random()));
      wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    });
  }

  open();
}
