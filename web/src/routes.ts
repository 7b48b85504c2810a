// Every page: its address, its title, who may see it, and its place in the navigation.

import type { Component } from "svelte";

type Load = () => Promise<{ default: Component<Record<string, string>> }>;

export interface Route {
  readonly pattern: string;
  readonly title: string;
  readonly load: Load;
  /** What the reader must be allowed to do. */
  readonly permission: string;
  /** Its group in the navigation; none: it is reached from other pages. */
  readonly group?: "Fleet" | "Set-up" | "Administration";
}

const page = (load: () => Promise<unknown>): Load => load as Load;

export const ROUTES: readonly Route[] = [
  {
    pattern: "/",
    title: "Tasks",
    permission: "task:read",
    group: "Fleet",
    load: page(() => import("./pages/Tasks.svelte")),
  },
  {
    pattern: "/machines",
    title: "Machines",
    permission: "machine:read",
    group: "Fleet",
    load: page(() => import("./pages/Machines.svelte")),
  },
  {
    pattern: "/unmatched",
    title: "Unmatched",
    permission: "unmatched:read",
    group: "Fleet",
    load: page(() => import("./pages/Unmatched.svelte")),
  },
  {
    pattern: "/regions",
    title: "Regions",
    permission: "region:read",
    group: "Fleet",
    load: page(() => import("./pages/Regions.svelte")),
  },
  {
    pattern: "/images",
    title: "Images",
    permission: "image:read",
    group: "Set-up",
    load: page(() => import("./pages/Images.svelte")),
  },
  {
    pattern: "/templates",
    title: "Templates",
    permission: "template:read",
    group: "Set-up",
    load: page(() => import("./pages/Templates.svelte")),
  },
  {
    pattern: "/rules",
    title: "Rules",
    permission: "rule:read",
    group: "Set-up",
    load: page(() => import("./pages/Rules.svelte")),
  },
  {
    pattern: "/audit",
    title: "Audit",
    permission: "audit:read",
    group: "Administration",
    load: page(() => import("./pages/Audit.svelte")),
  },
  {
    pattern: "/users",
    title: "Users",
    permission: "user:read",
    group: "Administration",
    load: page(() => import("./pages/Users.svelte")),
  },
  {
    pattern: "/webhooks",
    title: "Webhooks",
    permission: "webhook:read",
    group: "Administration",
    load: page(() => import("./pages/Webhooks.svelte")),
  },
  {
    pattern: "/account",
    title: "Account",
    permission: "self:use",
    load: page(() => import("./pages/Account.svelte")),
  },
  {
    pattern: "/tasks/create",
    title: "New task",
    permission: "task:create",
    load: page(() => import("./pages/CreateTask.svelte")),
  },
  {
    pattern: "/tasks/bulk",
    title: "Many tasks",
    permission: "task:create",
    load: page(() => import("./pages/BulkTasks.svelte")),
  },
  {
    pattern: "/tasks/:taskId",
    title: "Task",
    permission: "task:read",
    load: page(() => import("./pages/Task.svelte")),
  },
  {
    pattern: "/machines/:idc/:sn",
    title: "Machine",
    permission: "machine:read",
    load: page(() => import("./pages/Machine.svelte")),
  },
  {
    pattern: "/unmatched/:reportId",
    title: "Unmatched report",
    permission: "unmatched:read",
    load: page(() => import("./pages/UnmatchedReport.svelte")),
  },
  {
    pattern: "/regions/:idc",
    title: "Region",
    permission: "region:read",
    load: page(() => import("./pages/Region.svelte")),
  },
  {
    pattern: "/templates/:name",
    title: "Template",
    permission: "template:read",
    load: page(() => import("./pages/Template.svelte")),
  },
  {
    pattern: "/rules/:name",
    title: "Rule",
    permission: "rule:read",
    load: page(() => import("./pages/Rule.svelte")),
  },
];
