// What approving many tasks will overwrite: their disk plans, read one by one and put together.

import { api, got, type Schemas } from "../api";
import type { Decidable } from "../decisions";
import { bytes } from "../format";

export type Plan = NonNullable<Schemas["TaskView"]["plan"]>;
export type JobPlan = Schemas["JobPlan"];

/** What is decided on, with the disks that will be written; null where none is chosen yet. */
export interface Planned extends Decidable {
  readonly plan: Plan | null;
  /** Of a job in place of `plan`: it may write to none. */
  readonly job_plan?: JobPlan | null;
}

/** Disks that are alike, and on how many machines. */
export interface Disks {
  readonly what: string;
  readonly count: number;
  /** On so many of them there is something now. */
  readonly full: number;
}

/** A task with its plan, as it stands now; no more of it is kept, as there may be thousands. */
export async function planned(taskId: string, signal: AbortSignal): Promise<Planned> {
  const params = { path: { task_id: taskId } };
  const task = await got(api.GET("/api/v1/tasks/{task_id}", { params, signal }));
  const { task_id, hostname, status, revision, plan_digest, hardware_fingerprint } = task;
  const seen = { task_id, hostname, status, revision, plan_digest, hardware_fingerprint };
  return { ...seen, plan: task.plan, job_plan: task.job_plan };
}

/** The disks that a job writes to. */
export function writtenBy(plan: JobPlan): NonNullable<JobPlan["disks"]> {
  const devices = plan.steps.flatMap((step) => (step.writes ? (step.devices ?? []) : []));
  return (plan.disks ?? []).filter((disk) => devices.includes(disk.device));
}

/** The disks of these tasks' plans by device, size and model, the most frequent first. */
export function disksOf(tasks: readonly Planned[]): Disks[] {
  const found = new Map<string, Disks>();
  for (const { plan, job_plan: job } of tasks) {
    const disks = plan ? [plan, ...(plan.members ?? [])] : job ? writtenBy(job) : [];
    for (const disk of disks) {
      const what = [disk.device, bytes(disk.size_bytes), disk.model].filter(Boolean).join(" · ");
      const before = found.get(what) ?? { what, count: 0, full: 0 };
      const full = before.full + (disk.overwrites?.length ? 1 : 0);
      found.set(what, { what, count: before.count + 1, full });
    }
  }
  return [...found.values()].sort((a, b) => b.count - a.count || a.what.localeCompare(b.what));
}
