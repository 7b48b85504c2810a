// The tasks that the reader selected: wherever they are in the list, in sight or not, and as new as
// what was read and told of them.

import { type Verb, VERBS } from "../decisions";
import type { Message } from "../live.svelte";
import { ACTIONS, applied, type TaskRow } from "./table";

/** So many can be selected at once. */
export const MOST_SELECTED = 10_000;

export class Selection {
  rows = $state.raw<ReadonlyMap<string, TaskRow>>(new Map());
  /** The task that a range goes from. */
  from: string | null = null;

  has(taskId: string): boolean {
    return this.rows.has(taskId);
  }

  /** Select one, or not any more; ranges go from it. */
  toggle(row: TaskRow): void {
    this.from = row.task_id;
    const rows = new Map(this.rows);
    if (!rows.delete(row.task_id) && rows.size < MOST_SELECTED) rows.set(row.task_id, row);
    this.rows = rows;
  }

  /** Select these too. Returns whether all of them had room. */
  add(more: readonly TaskRow[]): boolean {
    const rows = new Map(this.rows);
    for (const row of more) {
      if (rows.size >= MOST_SELECTED && !rows.has(row.task_id)) break;
      rows.set(row.task_id, row);
    }
    this.rows = rows;
    return more.every((row) => rows.has(row.task_id));
  }

  drop(taskIds: readonly string[]): void {
    const rows = new Map(this.rows);
    for (const taskId of taskIds) rows.delete(taskId);
    this.rows = rows;
  }

  clear(): void {
    this.rows = new Map();
    this.from = null;
  }

  /** Take over what was read of tasks that are selected. */
  refresh(read: readonly TaskRow[]): void {
    const known = read.filter((row) => this.rows.has(row.task_id));
    if (known.length) this.#put(known);
  }

  /** Take over what was told of tasks that are selected. */
  take(messages: readonly Message[]): void {
    if (!this.rows.size) return;
    const changed = new Map<string, TaskRow>();
    for (const message of messages) {
      if (message.type !== "status") continue;
      const row = changed.get(message.task_id) ?? this.rows.get(message.task_id);
      if (row) changed.set(message.task_id, applied(row, message));
    }
    if (changed.size) this.#put([...changed.values()]);
  }

  #put(rows: readonly TaskRow[]): void {
    const all = new Map(this.rows);
    for (const row of rows) all.set(row.task_id, row);
    this.rows = all;
  }
}

/** Those of the rows that allow it in their state. */
export function open(rows: Iterable<TaskRow>, verb: Verb): TaskRow[] {
  return [...rows].filter((row) => row.links[verb] !== undefined);
}

/** What a row allows in its state and the reader may do. */
export function offered(row: TaskRow, may: (permission: string) => boolean): Verb[] {
  return ACTIONS.filter((verb) => row.links[verb] !== undefined && may(VERBS[verb].permission));
}
