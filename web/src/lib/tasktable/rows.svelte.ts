// The rows of all matching tasks, as far as they were in sight: pages of a hundred, read as they are
// looked at, kept as new as the live messages say.
//
// A message changes the rows that are here, once per frame. One that may change which rows there are
// makes the pages in sight be read again, at most once a second; all others are old from then on,
// and are read again when they come into sight.

import { words } from "../api";
import type { Listener, Message } from "../live.svelte";
import {
  applied,
  type Filters,
  NEWEST,
  PAGE_ROWS,
  pagesOf,
  reorders,
  type TaskRow,
  type Window,
} from "./table";

const AGAIN_MS = 1_000;
const HELD_MS = 4_000;
const RETRY_MS = 3_000;
const KEPT_PAGES = 60;
const KEPT_MESSAGES = 5_000;
/** So many rows before and after those in sight are read with them. */
const AROUND = 50;

/** One page as the control plane answers it. */
export interface Answer {
  readonly rows: readonly TaskRow[];
  readonly total: number;
  readonly counts: Readonly<Record<string, number>>;
  /** The answer is at least as new as this. */
  readonly revision: number;
}
export type Read = (filters: Filters, offset: number, signal: AbortSignal) => Promise<Answer>;

interface Page {
  rows: TaskRow[];
  old: boolean;
}
interface Place {
  readonly page: number;
  readonly at: number;
}
interface Source {
  readonly listen: (listener: Listener) => () => void;
  readonly since: (revision: number) => readonly Message[];
}

/** What the page that shows the rows says of itself. */
export interface Sight {
  /** The row that must stay where it is on the screen; null: the list is seen from its top. */
  pinned(): number | null;
  /** The rows moved by so many places. */
  moved(by: number): void;
  /** Whether the reader is about to point at a row. */
  pointing(): boolean;
}

export class TaskRows {
  total = $state(0);
  counts = $state.raw<Readonly<Record<string, number>> | null>(null);
  /** Whether the first rows of these filters are still on their way. */
  loading = $state(true);
  error = $state<string | null>(null);
  /** How many tasks came above what is in sight. */
  fresh = $state(0);
  /** Goes on with each change of a row: who reads `row` reads this first. */
  version = $state(0);
  /** Called with all rows that were read. */
  read: (rows: readonly TaskRow[]) => void = () => undefined;

  #filters: Filters | null = null;
  #window: Window = { first: 0, end: 0 };
  #pages = new Map<number, Page>();
  #places = new Map<string, Place>();
  #underWay = new Map<number, AbortController>();
  #told: Message[] = [];
  #frame = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #wantedSince = 0;
  readonly #read: Read;
  readonly #source: Source;
  readonly #sight: Sight;

  constructor(read: Read, source: Source, sight: Sight) {
    this.#read = read;
    this.#source = source;
    this.#sight = sight;
  }

  /** Follow what happens until the answer is called. */
  follow(): () => void {
    const end = this.#source.listen({
      take: (messages) => this.#take(messages),
      stale: () => this.#soon(0),
    });
    return () => {
      end();
      clearTimeout(this.#timer);
      cancelAnimationFrame(this.#frame);
      this.#abandon(() => true);
    };
  }

  /** List these tasks; what was listed before stays until the first of them are there. */
  show(filters: Filters): void {
    this.#filters = filters;
    this.#abandon(() => true);
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.loading = true;
    this.fresh = 0;
    this.#window = { first: 0, end: 1 };
    void this.#load([0], true);
  }

  /** Say which rows are in sight. */
  look(window: Window): void {
    this.#window = window;
    if (this.loading) return;
    const wanted = this.#wanted();
    this.#abandon((page) => !wanted.includes(page));
    const missing = wanted.filter(
      (page) => (this.#pages.get(page)?.old ?? true) && !this.#underWay.has(page),
    );
    if (missing.length) void this.#load(missing);
  }

  /** The row at a place in the list; undefined while it is not here. */
  row(index: number): TaskRow | undefined {
    return this.#pages.get(Math.floor(index / PAGE_ROWS))?.rows[index % PAGE_ROWS];
  }

  /** The place of a task in the list; null where it is not here. */
  indexOf(taskId: string): number | null {
    const place = this.#places.get(taskId);
    return place ? place.page * PAGE_ROWS + place.at : null;
  }

  /** Read again what is in sight. */
  again(): void {
    this.#soon(0);
  }

  /** Show a task as it is about to be; the answer takes that back where nothing newer came. */
  assume(taskId: string, status: TaskRow["status"]): () => void {
    const was = this.#at(taskId);
    if (!was) return () => undefined;
    const assumed: TaskRow = {
      ...was,
      status,
      links: { self: was.links.self, machine: was.links.machine },
    };
    this.#put(taskId, assumed);
    return () => {
      if (this.#at(taskId) === assumed) this.#put(taskId, was);
    };
  }

  #at(taskId: string): TaskRow | undefined {
    const place = this.#places.get(taskId);
    return place && this.#pages.get(place.page)?.rows[place.at];
  }

  #put(taskId: string, row: TaskRow): void {
    const place = this.#places.get(taskId);
    const page = place && this.#pages.get(place.page);
    if (!page) return;
    page.rows[place.at] = row;
    this.version += 1;
  }

  #wanted(): number[] {
    const { first, end } = this.#window;
    const last = Math.max(this.total, 1);
    return pagesOf({ first: Math.max(0, first - AROUND), end: Math.min(end + AROUND, last) });
  }

  async #load(pages: readonly number[], anew = false): Promise<void> {
    const filters = this.#filters;
    if (!filters) return;
    const running = new AbortController();
    for (const page of pages) {
      this.#underWay.get(page)?.abort();
      this.#underWay.set(page, running);
    }
    try {
      const answers = await Promise.all(
        pages.map((page) => this.#read(filters, page * PAGE_ROWS, running.signal)),
      );
      if (running.signal.aborted) return;
      this.#done(pages, running);
      this.#install(pages, answers, anew);
      this.error = null;
    } catch (error) {
      if (running.signal.aborted) return;
      this.#done(pages, running);
      this.error = words(error);
      if (anew) this.#retry(filters);
      else this.#soon(RETRY_MS);
    }
  }

  #retry(filters: Filters): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#filters === filters) this.show(filters);
    }, RETRY_MS);
  }

  #done(pages: readonly number[], running: AbortController): void {
    for (const page of pages) {
      if (this.#underWay.get(page) === running) this.#underWay.delete(page);
    }
  }

  #abandon(which: (page: number) => boolean): void {
    for (const running of new Set(this.#underWay.values())) {
      const pages = [...this.#underWay].filter(([, each]) => each === running);
      if (!pages.every(([page]) => which(page))) continue;
      running.abort();
      for (const [page] of pages) this.#underWay.delete(page);
    }
  }

  #install(pages: readonly number[], answers: readonly Answer[], anew: boolean): void {
    const pinned = anew ? null : this.#sight.pinned();
    const kept = pinned === null ? undefined : this.row(pinned)?.task_id;
    if (anew) {
      this.#pages.clear();
      this.#places.clear();
      this.loading = false;
    }
    for (const [number, answer] of answers.entries()) this.#page(pages[number] ?? 0, answer);
    const newest = answers.at(-1);
    if (newest) {
      this.total = newest.total;
      this.counts = newest.counts;
    }
    this.#shorten();
    this.version += 1;
    if (kept !== undefined && pinned !== null) this.#keepInPlace(kept, pinned, pages);
    else if (!anew && pinned === null) this.fresh = 0;
  }

  #page(number: number, answer: Answer): void {
    const rows = [...answer.rows];
    this.#pages.set(number, { rows, old: false });
    for (const [at, row] of rows.entries()) this.#places.set(row.task_id, { page: number, at });
    this.read(rows);
    const missed = this.#source.since(answer.revision);
    if (missed.length) this.#apply(missed);
  }

  #keepInPlace(taskId: string, pinned: number, pages: readonly number[]): void {
    const place = this.#places.get(taskId);
    if (!place || !pages.includes(place.page)) return;
    const by = place.page * PAGE_ROWS + place.at - pinned;
    if (by === 0) return;
    if (this.#filters?.sort === NEWEST) this.fresh = Math.max(0, this.fresh + by);
    this.#sight.moved(by);
  }

  /** Let go of the pages that are farthest from what is in sight, and of those beyond the end. */
  #shorten(): void {
    const middle = this.#window.first / PAGE_ROWS;
    const far = [...this.#pages.keys()].sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle));
    const beyond = far.filter((page) => page > 0 && page * PAGE_ROWS >= this.total);
    for (const page of [...far.slice(KEPT_PAGES), ...beyond]) this.#drop(page);
  }

  #drop(number: number): void {
    for (const row of this.#pages.get(number)?.rows ?? []) {
      if (this.#places.get(row.task_id)?.page === number) this.#places.delete(row.task_id);
    }
    this.#pages.delete(number);
  }

  #take(messages: readonly Message[]): void {
    this.#told.push(...messages);
    if (document.hidden || this.#told.length > KEPT_MESSAGES) this.#flush();
    else if (!this.#frame) this.#frame = requestAnimationFrame(() => this.#flush());
  }

  #flush(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const told = this.#told;
    this.#told = [];
    this.#apply(told);
  }

  #apply(messages: readonly Message[]): void {
    const sort = this.#filters?.sort ?? NEWEST;
    let changed = false;
    let again = false;
    for (const message of messages) {
      if (message.type !== "progress") again ||= reorders(message, sort);
      if (!("task_id" in message)) continue;
      const place = this.#places.get(message.task_id);
      const page = place && this.#pages.get(place.page);
      const row = page?.rows[place?.at ?? 0];
      if (!page || !place || !row) continue;
      const now = applied(row, message);
      if (now === row) continue;
      page.rows[place.at] = now;
      changed = true;
      if (message.type === "progress") again ||= reorders(message, sort);
    }
    if (changed) this.version += 1;
    if (again) this.#soon(AGAIN_MS);
  }

  /** Read what is in sight again in a while; what is asked for meanwhile is the same reading. */
  #soon(wait: number): void {
    if (this.#timer !== undefined && wait > 0) return;
    clearTimeout(this.#timer);
    this.#wantedSince = performance.now();
    this.#timer = setTimeout(() => this.#reread(), wait);
  }

  #reread(): void {
    if (this.#sight.pointing() && performance.now() - this.#wantedSince < HELD_MS) {
      this.#timer = setTimeout(() => this.#reread(), AGAIN_MS / 4);
      return;
    }
    this.#timer = undefined;
    if (this.loading) return; // the answer that is under way is made whole when it comes
    for (const page of this.#pages.values()) page.old = true;
    void this.#load(this.#wanted());
  }
}
