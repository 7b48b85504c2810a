// A rule between the API and a form's texts.

import type { Schemas } from "./api";

export interface RuleForm {
  name: string;
  kind: "approve" | "create";
  condition: string;
  description: string;
  enabled: boolean;
  priority: number;
  idc: string;
  tenant: string;
  allowOverwrite: boolean;
  jobs: "none" | "reading" | "writing";
  /** The task that a `create` rule makes, as JSON. */
  task: string;
}

const TASK = { os_type: "debian", os_version: "12" };

/** The form of a rule; of a new one where there is none. */
export function formOf(rule: Schemas["RuleView"] | null): RuleForm {
  return {
    name: rule?.name ?? "",
    kind: rule?.kind ?? "approve",
    condition: rule?.condition ?? "size(plan.overwrites) == 0",
    description: rule?.description ?? "",
    enabled: rule?.enabled ?? true,
    priority: rule?.priority ?? 100,
    idc: rule?.idc.join(", ") ?? "",
    tenant: rule?.tenant ?? "",
    allowOverwrite: rule?.allow_overwrite ?? false,
    jobs: rule?.jobs ?? "none",
    task: JSON.stringify(rule?.task ?? TASK, null, 2),
  };
}

/**
 * What a form says, as the API takes it.
 *
 * Throws an Error in words where the task is not JSON.
 */
export function fieldsOf(form: RuleForm): Schemas["RuleFields"] {
  const idc = form.idc.split(/[\s,]+/).filter(Boolean);
  const common = {
    kind: form.kind,
    condition: form.condition,
    description: form.description,
    enabled: form.enabled,
    priority: form.priority,
    idc,
  };
  if (form.kind === "approve") {
    const { allowOverwrite: allow_overwrite, jobs } = form;
    return { ...common, tenant: form.tenant.trim() || null, allow_overwrite, jobs };
  }
  return { ...common, task: parsed(form.task) };
}

function parsed(text: string): Schemas["RuleTask"] {
  try {
    return JSON.parse(text) as Schemas["RuleTask"];
  } catch (error) {
    throw new Error(`The task is not JSON: ${(error as Error).message}`);
  }
}
