// What is told of one task to who names it only: a connection of its own, for as long as it is wanted.

const RECONNECT_MS = 5_000;
/** An older control plane, which does not know of these messages, closes so. */
const MALFORMED = 4400;

/** The messages that are told so, and those by which a page knows that they may be over. */
export type Kind = "log" | "boot" | "status";

export interface Ear {
  /** Something came, or the connection is there. */
  heard(): void;
  /** The connection is gone; it is tried again. */
  lost?(): void;
}

/** Hear these messages of a task until the answer is called. */
export function feed(taskId: string, types: readonly Kind[], ear: Ear): () => void {
  const ended = new AbortController();
  listen(taskId, types, ear, ended.signal);
  return () => ended.abort();
}

function listen(taskId: string, types: readonly Kind[], ear: Ear, ended: AbortSignal): void {
  if (ended.aborted) return;
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${location.host}/ws`);
  const wish = { type: "subscribe", task_id: taskId, types, batch: true };
  socket.addEventListener("open", () => socket.send(JSON.stringify(wish)));
  const news: readonly string[] = ["subscribed", "resync", ...types];
  socket.addEventListener("message", (event) => {
    const content = JSON.parse(String(event.data)) as { type: string }[] | { type: string };
    if ([content].flat().some((message) => news.includes(message.type))) ear.heard();
  });
  socket.addEventListener("close", (event) => {
    ear.lost?.();
    if (event.code === MALFORMED) return;
    setTimeout(() => listen(taskId, types, ear, ended), RECONNECT_MS);
  });
  ended.addEventListener("abort", () => socket.close());
}
