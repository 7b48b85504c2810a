// How statuses are called on the pages, and what may be done in each.

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
};

export const FINAL = new Set(["completed", "rejected", "cancelled", "failed"]);
export const DECIDABLE = "pending_approval";
