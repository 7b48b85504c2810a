// The roles, and what each is for.

export const ROLES = {
  viewer: "sees everything, changes nothing",
  operator: "creates, cancels and retries tasks, looks after machines",
  approver: "approves and rejects: a disk will be written",
  admin: "all of it, and users, rules, templates, webhooks",
} as const;

export type Role = keyof typeof ROLES;
export const ROLE_NAMES = Object.keys(ROLES) as Role[];
