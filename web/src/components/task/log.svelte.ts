// A task's log, followed: the lines that are known, in order, each once.
//
// A connection of its own says that there are more; what they are is asked for by number, so that
// nothing is missed or doubled however the connection goes.

import { api, got } from "../../lib/api";
import { feed } from "./feed";

export const KEPT_LINES = 5_000;
const POLL_MS = 10_000;
const GATHERED_MS = 200;

export interface Answer {
  readonly first: number;
  readonly next: number;
  readonly missed: number;
  readonly finished: boolean;
  readonly lines: readonly string[];
}

export interface Line {
  readonly number: number;
  readonly text: string;
}

/** Who speaks in a log; the region itself names nobody. */
export const SPEAKERS = ["region", "agent", "installer", "kernel"] as const;
export type Speaker = (typeof SPEAKERS)[number];

const SPOKEN = /\[(?:INFO|WARN|ERROR)\] \[(agent|installer|kernel)\](?: |$)/;

/** Whose words a line has. */
export function speaker(text: string): Speaker {
  return (SPOKEN.exec(text)?.[1] as Speaker | undefined) ?? "region";
}

/** The lines after an answer is added; null stands for lines that the store has no more. */
export function added(lines: readonly Line[], answer: Answer): readonly Line[] {
  const known = lines.at(-1)?.number ?? 0;
  const fresh = answer.lines
    .map((text, place) => ({ number: answer.first + place, text }))
    .filter((line) => line.number > known);
  return fresh.length > 0 ? [...lines, ...fresh].slice(-KEPT_LINES) : lines;
}

/** The places of the lines that have this text, whatever the case; none where nothing is asked for. */
export function places(lines: readonly Line[], text: string): number[] {
  const wanted = text.toLowerCase();
  if (!wanted) return [];
  return lines.flatMap((line, place) => (line.text.toLowerCase().includes(wanted) ? [place] : []));
}

/** A line in parts: what matches stands at the odd places. */
export function split(line: string, text: string): string[] {
  const wanted = text.toLowerCase();
  const lower = line.toLowerCase();
  if (!wanted || lower.length !== line.length) return [line];
  const parts: string[] = [];
  let from = 0;
  for (;;) {
    const at = lower.indexOf(wanted, from);
    if (at < 0) return [...parts, line.slice(from)];
    parts.push(line.slice(from, at), line.slice(at, at + wanted.length));
    from = at + wanted.length;
  }
}

export class Log {
  lines = $state.raw<readonly Line[]>([]);
  /** How many lines are not in the store any more; the whole log has them. */
  missed = $state(0);
  finished = $state(false);
  /** Whether it was read at all. */
  there = $state(false);
  /** Whether new lines are told as they come; else they are asked for now and then. */
  live = $state(false);
  #taskId: string;
  #busy = false;
  #again = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(taskId: string) {
    this.#taskId = taskId;
  }

  /** Read and follow until the answer is called. */
  follow(): () => void {
    const poll = setInterval(() => this.ring(), POLL_MS);
    const end = feed(this.#taskId, ["log", "status"], {
      heard: () => {
        this.live = true;
        this.ring();
      },
      lost: () => {
        this.live = false;
      },
    });
    void this.#more();
    return () => {
      end();
      clearInterval(poll);
      clearTimeout(this.#timer);
      this.#timer = undefined;
    };
  }

  /** There may be more: read it soon. */
  ring(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#more();
    }, GATHERED_MS);
  }

  async #more(): Promise<void> {
    if (this.#busy) {
      this.#again = true;
      return;
    }
    this.#busy = true;
    try {
      await this.#read();
    } catch {
      // The connection's own indicator says that the control plane is away; it is read again soon.
    } finally {
      this.#busy = false;
    }
    if (this.#again) {
      this.#again = false;
      this.ring();
    }
  }

  async #read(): Promise<void> {
    const path = { task_id: this.#taskId };
    const after = this.lines.at(-1)?.number ?? 0;
    const params = { path, query: { after } };
    const answer = await got(api.GET("/api/v1/tasks/{task_id}/log", { params }));
    this.missed += answer.missed;
    this.finished = answer.finished;
    this.lines = added(this.lines, answer);
    this.there = true;
  }
}
