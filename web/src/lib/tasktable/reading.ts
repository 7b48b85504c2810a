// How the rows of the table are read from the control plane.

import { api, gotWith, type Schemas } from "../api";
import type { paths } from "../schema";
import { type Filters, PAGE_ROWS, queryOf, type TaskRow } from "./table";
import type { Answer } from "./rows.svelte";

type Query = NonNullable<paths["/api/v1/tasks"]["get"]["parameters"]["query"]>;
const MOST_ROWS = 500;

/** The page of the table that begins at `offset`. */
export async function readPage(
  filters: Filters,
  offset: number,
  signal: AbortSignal,
): Promise<Answer> {
  const { data, revision } = await list(filters, offset, PAGE_ROWS, signal);
  return { rows: data.tasks, total: data.total, counts: data.counts, revision };
}

/** All rows from `first` up to, not with, `end`, in as few calls as there can be. */
export async function gathered(
  filters: Filters,
  first: number,
  end: number,
  told: (count: number) => void,
  signal: AbortSignal,
): Promise<TaskRow[]> {
  const found: TaskRow[] = [];
  for (let offset = first; offset < end; offset += MOST_ROWS) {
    const { data } = await list(filters, offset, Math.min(MOST_ROWS, end - offset), signal);
    found.push(...data.tasks);
    told(found.length);
    if (data.tasks.length === 0) break;
  }
  return found;
}

function list(
  filters: Filters,
  offset: number,
  limit: number,
  signal: AbortSignal,
): Promise<{ data: Schemas["TaskList"]; revision: number }> {
  const query = { ...queryOf(filters), offset, limit } as Query;
  return gotWith(api.GET("/api/v1/tasks", { params: { query }, signal }));
}
