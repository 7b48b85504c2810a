// Rows for the tests of the table.

import type { TaskRow } from "./table";

/** A task that installs; a test names only the fields that matter to it. */
export function row(number: number, fields: Partial<TaskRow> = {}): TaskRow {
  const self = `/api/v1/tasks/t${number}`;
  return {
    task_id: `t${number}`,
    idc: "dc1",
    sn: `SN-${number}`,
    mac: "52:54:00:00:00:01",
    hostname: `web-${number}`,
    os_type: "debian",
    os_version: "12",
    status: "installing",
    percentage: 0,
    stage: "",
    message: "",
    bytes_done: null,
    bytes_total: null,
    bytes_per_second: null,
    remaining_s: null,
    error: null,
    plan_digest: null,
    tags: {},
    tenant: null,
    attempt: 1,
    retry_of: null,
    created_by: "admin",
    created_at: "2026-01-02T03:04:05Z",
    updated_at: "2026-01-02T03:04:05Z",
    revision: 10,
    links: { self, machine: "/api/v1/machines/dc1/SN", cancel: self },
    ...fields,
  };
}
