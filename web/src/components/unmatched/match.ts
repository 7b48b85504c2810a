// Which task a machine that reported may be for, and giving it to it.

import { api, got, type Schemas } from "../../lib/api";

type Task = Schemas["TaskSummary"];

export interface Reported {
  readonly id: string;
  readonly idc: string;
  readonly mac: string;
  readonly sn: string | null;
}

/** A task that waits for a machine, and why it may be for this one. */
export interface Candidate {
  readonly task: Task;
  readonly same: readonly ("MAC" | "serial number")[];
}

const WAITING = ["pending", "ready", "booting"];
const LIMIT = 200;

/** Tasks of the region that wait for a machine: those with the same serial number or MAC first. */
export async function candidates(
  report: Reported,
  text: string,
  signal: AbortSignal,
): Promise<{ found: readonly Candidate[]; total: number }> {
  const query = {
    idc: report.idc,
    status: WAITING.join(","),
    limit: LIMIT,
    ...(text ? { text } : {}),
  };
  const others = got(api.GET("/api/v1/tasks", { params: { query }, signal }));
  const same = [report.sn, report.mac].filter((each): each is string => !!each && !text);
  const [page, ...named] = await Promise.all([
    others,
    ...same.map((each) => {
      const asked = { ...query, text: each, limit: 20 };
      return got(api.GET("/api/v1/tasks", { params: { query: asked }, signal }));
    }),
  ]);
  const all = new Map(
    [...named.flatMap(({ tasks }) => tasks), ...page.tasks].map((t) => [t.task_id, t]),
  );
  return { found: sorted(report, [...all.values()]), total: Math.max(page.total, all.size) };
}

/** Those that name the machine first, then the oldest: it waits longest. */
export function sorted(report: Reported, tasks: readonly Task[]): Candidate[] {
  return tasks
    .map((task): Candidate => {
      const same: ("MAC" | "serial number")[] = [];
      if (report.sn && task.sn === report.sn) same.push("serial number");
      if (task.mac === report.mac) same.push("MAC");
      return { task, same };
    })
    .toSorted(
      (a, b) => b.same.length - a.same.length || a.task.created_at.localeCompare(b.task.created_at),
    );
}

/** Give the machine to the task; `force`: although something contradicts. */
export function match(
  report: string,
  task_id: string,
  force: boolean,
): Promise<Schemas["MatchedTask"]> {
  const place = "/api/v1/unmatched-reports/{report}/match";
  return got(api.POST(place, { params: { path: { report } }, body: { task_id, force } }));
}

/** Where the form of a new task begins with what the machine reported. */
export function createAddress(report: Reported): string {
  const query = new URLSearchParams({ report: report.id, idc: report.idc, mac: report.mac });
  if (report.sn) query.set("sn", report.sn);
  return `/tasks/create?${query.toString()}`;
}
