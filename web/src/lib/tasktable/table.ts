// What the table of tasks shows, without any page: the filters of its address, what a live message
// makes of a row, and which rows a window over a long list holds.

import type { Schemas } from "../api";
import { type Verb, VERBS } from "../decisions";
import type { Message } from "../live.svelte";
import { STATUS, type Status } from "../status";

export type TaskRow = Schemas["TaskSummary"];

/** The orders that the control plane has, as they are offered. */
export const SORTS = {
  "-created_at": "Newest first",
  created_at: "Oldest first",
  "-updated_at": "Changed last",
  updated_at: "Unchanged longest",
  sn: "Serial number, A to Z",
  "-sn": "Serial number, Z to A",
  status: "State, first to last",
  "-status": "State, last to first",
  idc: "Region, A to Z",
  "-idc": "Region, Z to A",
  os: "System, A to Z",
  "-os": "System, Z to A",
} as const;
export type Sort = keyof typeof SORTS;

export const ACTIONS = Object.keys(VERBS) as Verb[];

export const PAGE_ROWS = 100;
const LONGEST_WORDS = 128;

/** Which tasks are listed, and in which order; empty ones do not filter. */
export interface Filters {
  readonly text: string;
  readonly idc: string;
  readonly status: readonly Status[];
  readonly os: string;
  readonly tag: string;
  readonly tenant: string;
  readonly sort: Sort;
}
export const NEWEST: Sort = "-created_at";

/** The filters that an address names; what is unknown there is left out. */
export function filtersOf(query: URLSearchParams): Filters {
  const word = (name: string): string => (query.get(name) ?? "").trim().slice(0, LONGEST_WORDS);
  const sort = word("sort");
  return {
    text: word("text"),
    idc: word("idc"),
    status: word("status")
      .split(",")
      .filter((each): each is Status => Object.hasOwn(STATUS, each)),
    os: word("os"),
    tag: word("tag"),
    tenant: word("tenant"),
    sort: Object.hasOwn(SORTS, sort) ? (sort as Sort) : NEWEST,
  };
}

/** Filters as parameters of an address: null for one that does not filter. */
export function addressOf(filters: Filters): Record<string, string | null> {
  return {
    text: filters.text || null,
    idc: filters.idc || null,
    status: filters.status.join(",") || null,
    os: filters.os || null,
    tag: filters.tag || null,
    tenant: filters.tenant || null,
    sort: filters.sort === NEWEST ? null : filters.sort,
  };
}

/** Filters as the API takes them. */
export function queryOf(filters: Filters): Record<string, string> {
  const given: Record<string, string | null> = { ...addressOf(filters), sort: filters.sort };
  return Object.fromEntries(
    Object.entries(given).filter((pair): pair is [string, string] => pair[1] !== null),
  );
}

/** Whether anything but the order is chosen. */
export function isFiltered(filters: Filters): boolean {
  return Object.entries(addressOf(filters)).some(([name, value]) => name !== "sort" && value);
}

/** A list with one more, or without that one. */
export function toggled<T>(all: readonly T[], one: T): T[] {
  return all.includes(one) ? all.filter((each) => each !== one) : [...all, one];
}

/**
 * A row after a message about it: the same row where it says nothing new.
 *
 * What can be done in another state is not known until the row is read again.
 */
export function applied(row: TaskRow, message: Message): TaskRow {
  if (message.revision < row.revision) return row;
  switch (message.type) {
    case "status":
      if (message.status === row.status) return row;
      return {
        ...row,
        status: message.status as TaskRow["status"],
        revision: message.revision,
        links: { self: row.links.self, machine: row.links.machine },
      };
    case "progress":
      return {
        ...row,
        percentage: message.percentage,
        stage: message.stage,
        message: message.message,
        bytes_done: message.bytes_done ?? null,
        bytes_total: message.bytes_total ?? null,
        bytes_per_second: message.bytes_per_second ?? null,
        remaining_s: message.remaining_s ?? null,
        revision: message.revision,
      };
    default:
      return row;
  }
}

/** Whether a message may change which rows there are, their order, or what can be done with them. */
export function reorders(message: Message, sort: Sort): boolean {
  if (message.type === "progress") return sort.endsWith("updated_at");
  return message.type === "status" || message.type === "removed" || message.type === "hardware";
}

/** The rows from `first` up to, not with, `end`. */
export interface Window {
  readonly first: number;
  readonly end: number;
}

/** Which of `total` rows of one height are in sight, and `beyond` more at both ends; in pixels. */
export function windowOf(
  scrolled: number,
  height: number,
  rowHeight: number,
  total: number,
  beyond: number,
): Window {
  const first = Math.floor(scrolled / rowHeight) - beyond;
  const end = Math.ceil((scrolled + height) / rowHeight) + beyond;
  return { first: clamped(first, total), end: clamped(end, total) };
}

function clamped(index: number, total: number): number {
  return Math.min(Math.max(index, 0), total);
}

/** The pages that hold these rows. */
export function pagesOf({ first, end }: Window): number[] {
  if (end <= first) return [];
  const from = Math.floor(first / PAGE_ROWS);
  const to = Math.floor((end - 1) / PAGE_ROWS);
  return Array.from({ length: to - from + 1 }, (_, number) => from + number);
}

/** Do `work` with each, at most `limit` at once; what is not begun when `signal` ends is left. */
export async function inTurns<T>(
  all: readonly T[],
  limit: number,
  work: (one: T) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const rest = all.values();
  async function worker(): Promise<void> {
    for (const one of rest) {
      if (signal.aborted) return;
      await work(one);
    }
  }
  await Promise.all(Array.from({ length: Math.min(limit, all.length) }, worker));
}
