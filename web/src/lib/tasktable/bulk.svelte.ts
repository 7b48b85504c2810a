// One decision for many tasks: a few calls at a time, what came of each, and what was refused.
//
// A task is shown as it will be as soon as its call is made; where the call is refused, it is shown
// as it was. The calls keep below the rate that the control plane allows one user.

import { type Decidable, type Outcome, type Verb, VERBS } from "../decisions";
import { inTurns, type TaskRow } from "./table";

export const AT_ONCE = 6;
/** Each of those at once takes at least so long, whatever the answer took: 100 calls a second. */
export const PACE_MS = 60;

/** A task, and why it was refused. */
export interface Refusal {
  readonly taskId: string;
  readonly hostname: string;
  readonly reason: string;
}
/** Shows a task in another state; the answer takes that back. */
export type Assume = (taskId: string, status: TaskRow["status"]) => () => void;
/** Decides on one task; never throws. */
export type Decide = (seen: Decidable) => Promise<Outcome>;

export class Bulk {
  state = $state<"before" | "running" | "done">("before");
  all = $state(0);
  done = $state(0);
  refused = $state.raw<readonly Refusal[]>([]);
  /** Those of which all went well. */
  good = $state.raw<readonly string[]>([]);
  #stopping = new AbortController();

  /** Decide on all of them. */
  async run(
    tasks: readonly Decidable[],
    verb: Verb,
    decide: Decide,
    assume: Assume,
    paceMs = PACE_MS,
  ): Promise<void> {
    this.state = "running";
    this.all = tasks.length;
    const good: string[] = [];
    const expected = VERBS[verb].expected;
    const one = async (seen: Decidable): Promise<void> => {
      const back = expected ? assume(seen.task_id, expected) : () => undefined;
      const outcome = await decide(seen);
      if (outcome.kind === "done") good.push(seen.task_id);
      else {
        back();
        const { task_id: taskId, hostname } = seen;
        this.refused = [...this.refused, { taskId, hostname, reason: outcome.said }];
      }
      this.done += 1;
    };
    await inTurns(tasks, AT_ONCE, paced(one, paceMs), this.#stopping.signal);
    this.good = good;
    this.state = "done";
  }

  /** Begin no further call. */
  stop(): void {
    this.#stopping.abort();
  }
}

/** The same work, which takes at least so many milliseconds. */
export function paced<T>(work: (one: T) => Promise<void>, paceMs: number) {
  return async (one: T): Promise<void> => {
    await Promise.all([work(one), new Promise((resolve) => setTimeout(resolve, paceMs))]);
  };
}
