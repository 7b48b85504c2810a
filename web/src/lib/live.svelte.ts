// The live connection: what happens, as it happens, with nothing missed.
//
// It comes back by itself and goes on from the revision up to which all was heard. Whoever reads a
// list gives the revision of the answer to `since` and gets what was told after it: an answer that was
// under way while a change came is made whole that way. After `resync` everybody reads anew.

import { session } from "./session.svelte";

interface At {
  readonly revision: number;
}
export interface StatusMessage extends At {
  readonly type: "status";
  readonly task_id: string;
  readonly status: string;
}
export interface ProgressMessage extends At {
  readonly type: "progress";
  readonly task_id: string;
  readonly percentage: number;
  readonly stage: string;
  readonly message: string;
  readonly bytes_per_second?: number;
  readonly bytes_done?: number;
  readonly bytes_total?: number;
  readonly remaining_s?: number;
}
export interface HardwareMessage extends At {
  readonly type: "hardware";
  readonly task_id: string;
  readonly hardware: unknown;
}
export interface RemovedMessage extends At {
  readonly type: "removed";
  readonly task_id: string;
}
export interface LogMessage extends At {
  readonly type: "log";
  readonly task_id: string;
}
export interface MachineMessage extends At {
  readonly type: "machine";
  readonly idc: string;
  readonly sn: string;
  readonly removed?: boolean;
}
export interface AgentMessage extends At {
  readonly type: "agent";
  readonly idc: string;
  readonly sn: string;
  readonly online: boolean;
}
export interface RegionMessage extends At {
  readonly type: "region";
  readonly idc: string;
  readonly online: boolean;
}
export interface UnmatchedMessage extends At {
  readonly type: "unmatched";
  readonly idc: string;
  readonly count: number;
}
export type Message =
  | StatusMessage
  | ProgressMessage
  | HardwareMessage
  | RemovedMessage
  | LogMessage
  | MachineMessage
  | AgentMessage
  | RegionMessage
  | UnmatchedMessage;
type Framing = { readonly type: "subscribed" | "resync" | "revision"; readonly revision: number };

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
/** How long the server may be silent: it says a revision every 10 s. */
const SILENCE_MS = 25_000;
const KEPT_MESSAGES = 5_000;
const SESSION_OVER = 4401;

export interface Listener {
  /** What happened, in order; called at most 40 times a second. */
  take(messages: readonly Message[]): void;
  /** What was read before may be old: read it again. */
  stale(): void;
}

class Live {
  state = $state<"connecting" | "live" | "waiting">("connecting");
  /** When it is tried again, in milliseconds since 1970; null while connected. */
  nextTry = $state<number | null>(null);
  #heard: number | null = null;
  #known = 0;
  #kept: Message[] = [];
  #keptFrom = 0;
  #listeners = new Set<Listener>();
  #socket: WebSocket | null = null;
  #wait = FIRST_WAIT_MS;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #silence: ReturnType<typeof setTimeout> | undefined;

  /** Connect, and stay so for ever. */
  start(): void {
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.state === "waiting") this.retryNow();
    });
    this.#open();
  }

  /** Hear everything from now on; the answer ends that. */
  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * What was told after this revision. Where that is not known here any more, the server is asked for
   * it, and it comes to the listeners.
   */
  since(revision: number): readonly Message[] {
    if (this.#heard === null || revision >= this.#known) return [];
    if (revision < this.#keptFrom) {
      this.#subscribe(revision);
      return [];
    }
    return this.#kept.filter((message) => message.revision > revision);
  }

  /** Try to connect at once. */
  retryNow(): void {
    if (this.state === "live" || this.#socket) return;
    clearTimeout(this.#timer);
    this.#open();
  }

  #open(): void {
    this.nextTry = null;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws`);
    this.#socket = socket;
    this.#stayAwake();
    socket.addEventListener("open", () => this.#subscribe(this.#heard));
    socket.addEventListener("message", (event) => {
      this.#stayAwake();
      const content = JSON.parse(String(event.data)) as (Message | Framing)[] | Message | Framing;
      this.#take(Array.isArray(content) ? content : [content]);
    });
    socket.addEventListener("close", (event) => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      clearTimeout(this.#silence);
      if (event.code === SESSION_OVER) void session.signedInAgain().then(() => this.retryNow());
      this.#again();
    });
  }

  #again(): void {
    const wait = this.#wait * (0.5 + Math.random());
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT_MS);
    this.state = "waiting";
    this.nextTry = Date.now() + wait;
    this.#timer = setTimeout(() => {
      if (session.over) this.#again();
      else this.#open();
    }, wait);
  }

  #stayAwake(): void {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#socket?.close(), SILENCE_MS);
  }

  #subscribe(from: number | null): void {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    const wish = {
      type: "subscribe",
      batch: true,
      ...(from === null ? {} : { from_revision: from }),
    };
    this.#socket.send(JSON.stringify(wish));
  }

  #take(batch: readonly (Message | Framing)[]): void {
    const told: Message[] = [];
    let stale = false;
    for (const message of batch) {
      switch (message.type) {
        case "resync":
          stale = true;
          this.#forget(message.revision);
          break;
        case "subscribed":
          if (this.#heard === null) {
            stale = true;
            this.#forget(message.revision);
          }
          this.#wait = FIRST_WAIT_MS;
          this.state = "live";
          break;
        case "revision":
          this.#heard = message.revision;
          break;
        default:
          told.push(message);
      }
      this.#known = Math.max(this.#known, message.revision);
    }
    this.#keep(told);
    if (told.length) for (const listener of this.#listeners) listener.take(told);
    if (stale) for (const listener of this.#listeners) listener.stale();
  }

  #forget(revision: number): void {
    this.#heard = revision;
    this.#known = revision;
    this.#kept = [];
    this.#keptFrom = revision;
  }

  #keep(told: readonly Message[]): void {
    this.#kept.push(...told);
    if (this.#kept.length > 2 * KEPT_MESSAGES) {
      const dropped = this.#kept.splice(0, this.#kept.length - KEPT_MESSAGES);
      this.#keptFrom = dropped.at(-1)?.revision ?? this.#keptFrom;
    }
  }
}

export const live = new Live();
