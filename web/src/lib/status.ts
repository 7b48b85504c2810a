// How the states of a task are called, in the order of its life, and what may be done in each.

export const STATUS = {
  pending: "Pending",
  ready: "Ready",
  booting: "Booting",
  pending_approval: "Needs approval",
  approved: "Approved",
  installing: "Installing",
  completed: "Completed",
  rejected: "Rejected",
  cancelled: "Cancelled",
  failed: "Failed",
} as const;

export type Status = keyof typeof STATUS;

export const STATUSES = Object.keys(STATUS) as Status[];

const FINAL: ReadonlySet<string> = new Set(["completed", "rejected", "cancelled", "failed"]);

/** Whether nothing more happens to a task in this state by itself. */
export function isFinal(status: string): boolean {
  return FINAL.has(status);
}

/** A state as people call it. */
export function statusName(status: string): string {
  return STATUS[status as Status] ?? status;
}
