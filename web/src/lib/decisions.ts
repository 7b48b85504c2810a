// What people decide on a task: approve, reject, cancel, try again; what came of it, in words.
//
// A decision holds for what its maker saw: the state and the disk plan. Where only the revision went
// on (progress, another boot), it is sent again for the new one; where more changed, it is refused
// and said who did what.

import { api, got, Problem, type Schemas, words } from "./api";
import { newKey } from "./key";
import { isFinal, type Status, statusName } from "./status";

export type Verb = "approve" | "reject" | "cancel" | "retry";

/** What a decision must know of a task; a row of the list and the whole task both have it. */
export interface Decidable {
  readonly task_id: string;
  readonly hostname: string;
  readonly status: string;
  readonly revision: number;
  readonly plan_digest: string | null;
  /** The whole task's alone: the machine with its NICs and disks. */
  readonly hardware_fingerprint?: string | null;
}

export interface Done {
  readonly kind: "done";
  readonly verb: Verb;
  /** What was done, for a notice. */
  readonly said: string;
  /** The task; for a retry, the new one. */
  readonly taskId: string;
}
export interface Refused {
  readonly kind: "refused";
  readonly verb: Verb;
  readonly taskId: string;
  /** Why, and what to do. */
  readonly said: string;
  /** Whether the task is another than was seen: show it anew. */
  readonly overtaken: boolean;
}
export type Outcome = Done | Refused;

type Task = Schemas["TaskView"];

interface Kind {
  /** On the button. */
  readonly name: string;
  readonly permission: string;
  /** The state that it leads to; shown at once. A retry leaves the task as it is. */
  readonly expected: Status | null;
  /** What was done to the machine's task. */
  readonly done: string;
  readonly possible: (status: string) => boolean;
}

export const VERBS: Readonly<Record<Verb, Kind>> = {
  approve: {
    name: "Approve",
    permission: "task:approve",
    expected: "approved",
    done: "is approved",
    possible: (status) => status === "pending_approval",
  },
  reject: {
    name: "Reject",
    permission: "task:approve",
    expected: "rejected",
    done: "is rejected",
    possible: (status) => status === "pending_approval",
  },
  cancel: {
    name: "Cancel task",
    permission: "task:cancel",
    expected: "cancelled",
    done: "is cancelled",
    possible: (status) => !isFinal(status),
  },
  retry: {
    name: "Try again",
    permission: "task:retry",
    expected: null,
    done: "is tried again",
    possible: (status) => ["failed", "cancelled", "rejected"].includes(status),
  },
};

const TRIES = 4;

/**
 * Decide, and say what came of it; never throws but where `signal` ends it.
 *
 * @param note Notes of an approval, the reason of a rejection.
 * @param key The same decision sent again with it is done once (retry).
 */
export async function decide(
  verb: Verb,
  seen: Decidable,
  note = "",
  key = newKey(),
): Promise<Outcome> {
  let revision = seen.revision;
  for (let left = TRIES; ; left -= 1) {
    try {
      const taskId = await send(verb, seen, revision, note.trim(), key);
      const said = `${seen.hostname} ${VERBS[verb].done}.`;
      return { kind: "done", verb, said, taskId };
    } catch (error) {
      const now = await asItIs(seen.task_id, error);
      const same = now !== null && isAsSeen(seen, now);
      if (now && same && left > 1 && error instanceof Problem && error.status === 412) {
        revision = now.revision;
        continue;
      }
      const said = now && !same ? overtaken(seen, now) : refusal(error);
      return {
        kind: "refused",
        verb,
        taskId: seen.task_id,
        said,
        overtaken: now !== null && !same,
      };
    }
  }
}

/** Whether the task is still what was seen: in the same state, the same disk plan and hardware. */
export function isAsSeen(seen: Decidable, now: Decidable): boolean {
  const { hardware_fingerprint: hardware } = seen;
  const sameHardware = !hardware || hardware === now.hardware_fingerprint;
  return seen.status === now.status && seen.plan_digest === now.plan_digest && sameHardware;
}

/** What happened to a task since it was seen: who did what, and what to do. */
export function overtaken(seen: Decidable, now: Task): string {
  if (seen.status === now.status) {
    const what = seen.plan_digest === now.plan_digest ? "" : ": the disk plan is another now";
    return `The hardware changed since you looked at it${what}. Look again, then decide.`;
  }
  return `${lastStep(now)} Nothing was changed by you.`;
}

/** The last step of a task: what it became, by whom, and what they said. */
export function lastStep(task: Task): string {
  const by = task.status_history.at(-1)?.by ?? decidedBy(task);
  const note = task.approval?.reason ?? task.approval?.notes;
  const decision = task.status === "approved" || task.status === "rejected";
  const who = by ? ` by ${by}` : "";
  const what = decision && note ? `: “${note}”` : "";
  return `It is ${statusName(task.status).toLowerCase()} meanwhile${who}${what}.`;
}

function decidedBy(task: Task): string | null {
  if (task.status === "approved") return task.approval?.approved_by ?? null;
  return task.status === "rejected" ? (task.approval?.rejected_by ?? null) : null;
}

async function send(
  verb: Verb,
  seen: Decidable,
  revision: number,
  note: string,
  key: string,
): Promise<string> {
  const path = { task_id: seen.task_id };
  const params = { path, header: { "If-Match": `"${revision}"` } };
  switch (verb) {
    case "approve": {
      const plan = seen.plan_digest ? { plan_digest: seen.plan_digest } : {};
      const hardware = seen.hardware_fingerprint ? { fingerprint: seen.hardware_fingerprint } : {};
      const notes = note ? { notes: note } : {};
      const body = { approved: true as const, ...plan, ...hardware, ...notes };
      await got(api.PUT("/api/v1/tasks/{task_id}/approve", { params, body }));
      return seen.task_id;
    }
    case "reject":
      await got(api.PUT("/api/v1/tasks/{task_id}/reject", { params, body: { reason: note } }));
      return seen.task_id;
    case "cancel":
      await got(api.DELETE("/api/v1/tasks/{task_id}", { params }));
      return seen.task_id;
    case "retry": {
      const header = { ...params.header, "Idempotency-Key": key };
      const made = await got(
        api.POST("/api/v1/tasks/{task_id}/retry", { params: { path, header } }),
      );
      return made.task_id;
    }
  }
}

/** The task now, where the refusal may be because it changed. */
async function asItIs(taskId: string, error: unknown): Promise<Task | null> {
  if (!(error instanceof Problem) || ![409, 412].includes(error.status)) return null;
  const params = { path: { task_id: taskId } };
  try {
    return await got(api.GET("/api/v1/tasks/{task_id}", { params }));
  } catch {
    return null;
  }
}

function refusal(error: unknown): string {
  if (!(error instanceof Problem)) return words(error);
  const field = error.of("reason") || error.of("notes");
  if (field) return `What you wrote ${field}.`;
  if (error.status === 403) return `${sentence(error.message)} Ask somebody who may.`;
  if (error.status === 412) return "The task changes too fast just now. Try again in a moment.";
  return sentence(error.message);
}

function sentence(text: string): string {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}
