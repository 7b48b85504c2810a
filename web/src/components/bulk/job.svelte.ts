// Many tasks on their way: the table as it is edited, what the control plane said of each row, and
// the calls that check and make them. Rows that have their task are never sent again.

import { exchange, Problem, type Schemas } from "../../lib/api";
import { forget, keep, kept } from "../create/draft";
import { newKey } from "../../lib/key";
import { Sending } from "../create/sending.svelte";
import { columnOf, headerProblems, tableOfJson } from "./columns";
import { readCsv, separatorOf, textOf, Unreadable, writeCsv } from "./csv";

/** How many rows one call makes, so that one sees it go on; all or none is one call. */
const ROWS_IN_CALL = 500;
export const ROWS_LIMIT = 10_000;
const DRAFT = "bulk";
const DONE: ReadonlySet<string> = new Set(["created", "exists"]);

type Result = Schemas["RowResult"];

/** One row: its cells as text, and what was said of it since they were changed. */
export interface BulkRow {
  readonly number: number;
  readonly cells: readonly string[];
  readonly result: Result | null;
}

interface Draft {
  readonly header: string[];
  readonly rows: string[][];
  readonly done: (Result | null)[];
  readonly source: string;
  readonly atomic: boolean;
}

export class BulkJob {
  header = $state.raw<readonly string[]>([]);
  rows = $state.raw<readonly BulkRow[]>([]);
  source = $state("");
  note = $state("");
  /** What is wrong with the file as a whole; nothing is looked at before that is mended. */
  faults = $state.raw<readonly string[]>([]);
  atomic = $state(false);
  phase = $state<"idle" | "checking" | "creating">("idle");
  /** Rows that the calls so far were about. */
  sent = $state(0);
  checked = $state(false);
  sending = new Sending();
  #keys = new Map<string, string>();

  constructor() {
    const draft = kept<Draft>(DRAFT);
    if (!draft?.header || !draft.rows) return;
    this.header = draft.header;
    this.rows = draft.rows.map((cells, place) => ({
      number: place + 1,
      cells,
      result: draft.done?.[place] ?? null,
    }));
    this.source = draft.source ?? "";
    this.atomic = draft.atomic ?? false;
    this.faults = headerProblems(this.header);
  }

  /** Rows that have no task yet. */
  get open(): readonly BulkRow[] {
    return this.rows.filter((row) => !isDone(row));
  }

  get wrong(): readonly BulkRow[] {
    return this.rows.filter(isWrong);
  }

  get done(): number {
    return this.rows.length - this.open.length;
  }

  /** Take a file's content. */
  load(content: Uint8Array, source: string): void {
    try {
      this.take(textOf(content), source);
    } catch (error) {
      this.#refuse(error, source);
    }
  }

  /** Take what was pasted, or a file's text. */
  take(text: string, source: string): void {
    try {
      this.#show(text, source);
    } catch (error) {
      this.#refuse(error, source);
      return;
    }
    this.keep();
  }

  /** Change one cell: what was said of the row is no longer so. */
  edit(row: BulkRow, column: number, text: string): void {
    if (row.cells[column] === text) return;
    const changed = { ...row, cells: row.cells.with(column, text), result: null };
    this.rows = this.rows.with(row.number - 1, changed);
    this.checked = false;
    this.keep();
  }

  /** Leave a row out. */
  drop(row: BulkRow): void {
    this.rows = this.rows
      .filter((each) => each.number !== row.number)
      .map((each, place) => ({ ...each, number: place + 1 }));
    this.keep();
  }

  /** Begin anew. */
  clear(): void {
    forget(DRAFT);
    this.header = [];
    this.rows = [];
    this.faults = [];
    this.note = "";
    this.source = "";
    this.checked = false;
    this.#keys.clear();
  }

  /** Keep the table in this tab. */
  keep(): void {
    keep(DRAFT, {
      header: this.header,
      rows: this.rows.map((row) => row.cells),
      done: this.rows.map((row) => (isDone(row) ? row.result : null)),
      source: this.source,
      atomic: this.atomic,
    });
  }

  /** What is wrong in a cell; column -1 is the row as a whole. */
  fault(row: BulkRow, column: number): string {
    const problem = row.result?.problem;
    if (!problem) return "";
    const errors = problem.errors ?? [];
    if (errors.length === 0) return column < 0 ? problem.detail : "";
    return errors
      .filter((each) => columnOf(this.header, each.field) === column)
      .map((each) => (column < 0 ? `${each.field}: ${each.message}` : each.message))
      .join("; ");
  }

  /** Ask what would become of every open row; nothing is made. */
  async check(): Promise<void> {
    const rows = this.open;
    this.phase = "checking";
    try {
      await this.#call(rows, { dry_run: "true" }, null);
      this.checked = true;
    } finally {
      this.phase = "idle";
      this.keep();
    }
  }

  /** Make a task of every open row. Raises the problem that ended it before its last row. */
  async create(): Promise<void> {
    const rows = this.atomic ? this.open : this.open.filter((row) => !isWrong(row));
    const size = this.atomic ? rows.length : ROWS_IN_CALL;
    this.phase = "creating";
    this.sent = 0;
    try {
      for (let at = 0; at < rows.length; at += size) {
        const part = rows.slice(at, at + size);
        const query: Record<string, string> = this.atomic ? { atomic: "true" } : {};
        await this.#call(part, query, this.#keyOf(part));
        this.sent = at + part.length;
        this.keep();
      }
    } finally {
      this.phase = "idle";
      this.checked = false;
      this.keep();
    }
  }

  /** Rows that could not be made; of all or none that is every one. */
  get failed(): readonly BulkRow[] {
    return this.atomic || this.wrong.length === 0 ? this.open : this.wrong;
  }

  /** The failed rows as a file that can be mended and loaded again. */
  failedCsv(): string {
    return this.#csv(this.failed);
  }

  #show(text: string, source: string): void {
    const isJson = /^\s*[[{]/.test(text.replace(/^\uFEFF/, ""));
    const separator = separatorOf(text);
    const [first = [], ...others] = isJson ? [] : readCsv(text, separator);
    const table = isJson
      ? tableOfJson(text)
      : { header: first.map((each) => each.trim()), rows: others };
    if (table.rows.length === 0) throw new Unreadable("There is no row below the header.");
    if (table.rows.length > ROWS_LIMIT) {
      throw new Unreadable(
        `There are ${table.rows.length} rows; at most ${ROWS_LIMIT} go at once. Split the file.`,
      );
    }
    this.header = table.header;
    this.rows = table.rows.map((cells, place) => ({
      number: place + 1,
      cells: fitted(cells, table.header.length),
      result: uneven(cells, table.header.length, place + 1),
    }));
    this.source = source;
    this.faults = headerProblems(this.header);
    this.note = noteOf(isJson, separator);
    this.checked = false;
  }

  #refuse(error: unknown, source: string): void {
    if (!(error instanceof Unreadable)) throw error;
    this.source = source;
    this.faults = [error.message];
    this.header = [];
    this.rows = [];
  }

  /** The same key for the same rows, as long as they are the same: sent again they are made once. */
  #keyOf(rows: readonly BulkRow[]): string {
    const text = `${this.atomic}\n${this.#csv(rows)}`;
    const known = this.#keys.get(text) ?? newKey();
    this.#keys.set(text, known);
    return known;
  }

  #csv(rows: readonly BulkRow[]): string {
    return writeCsv([this.header, ...rows.map((row) => row.cells)]);
  }

  async #call(
    rows: readonly BulkRow[],
    query: Record<string, string>,
    key: string | null,
  ): Promise<void> {
    if (rows.length === 0) return;
    const body = this.#csv(rows);
    const address = new URL("/api/v1/tasks/bulk", location.origin);
    address.search = new URLSearchParams(query).toString();
    const headers = {
      "Content-Type": "text/csv",
      ...(key === null ? {} : { "Idempotency-Key": key }),
    };
    const results = await this.sending.run(() => ask(address, headers, body));
    const found = new Map(results.map((result) => [result.row, result]));
    const said = new Map(rows.map((row, place) => [row.number, found.get(place + 1) ?? null]));
    this.rows = this.rows.map((row) =>
      said.has(row.number) ? { ...row, result: said.get(row.number) ?? null } : row,
    );
    if (key !== null && this.atomic && results.some((each) => each.status === "taken_back")) {
      this.#keys.clear(); // a call that was taken back needs a new key
    }
  }
}

/** Whether the row has its task. */
export function isDone(row: BulkRow): boolean {
  return DONE.has(row.result?.status ?? "");
}

/** Whether something was said against the row. */
export function isWrong(row: BulkRow): boolean {
  return row.result?.problem !== undefined && row.result.problem !== null;
}

/** One call; a problem document with rows in it is an answer, too. */
async function ask(
  address: URL,
  headers: Record<string, string>,
  body: string,
): Promise<readonly Result[]> {
  const answer = await exchange(new Request(address, { method: "POST", headers, body }));
  const document = (await answer.json().catch(() => ({}))) as Record<string, unknown>;
  if (Array.isArray(document["rows"])) return document["rows"] as Result[];
  throw new Problem(answer.status, document, answer.headers.get("Retry-After"));
}

function fitted(cells: readonly string[], width: number): string[] {
  return Array.from({ length: width }, (_, place) => cells[place] ?? "");
}

/** A row with more or fewer cells than the header has: its cells may be in the wrong columns. */
function uneven(cells: readonly string[], width: number, row: number): Result | null {
  if (cells.length === width) return null;
  const detail = `It has ${cells.length} cells where the header has ${width}: look at each.`;
  return { row, status: "invalid", problem: { code: "invalid-input", detail, errors: [] } };
}

function noteOf(isJson: boolean, separator: string): string {
  if (isJson) return "Read as JSON.";
  if (separator === ";") return "The columns were separated by semicolons.";
  return separator === "\t" ? "The columns were separated by tabs." : "";
}
