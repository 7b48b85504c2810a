// Changes of a machine: sent for what its reader saw, and again where only its report was renewed.

import { api, got, Problem, type Schemas } from "../../lib/api";

export type Machine = Schemas["MachineView"];
export type Change = Schemas["ChangeMachine"];

const TRIES = 4;

/** The header that makes a change hold only for what was seen; before the first report there is none. */
export function ifMatch(revision: number | null): { "If-Match"?: string } {
  return revision ? { "If-Match": `"${revision}"` } : {};
}

/** Whether what the change is about still is as it was seen. */
export function concernsSame(change: Change, seen: Machine, now: Machine): boolean {
  const tags = Object.keys(change.tags ?? {});
  const sameTags = tags.every((tag) => seen.tags[tag] === now.tags[tag]);
  const sameTenant = change.tenant === undefined || seen.tenant === now.tenant;
  return sameTags && sameTenant && (change.address === undefined || seen.address === now.address);
}

/**
 * Change a machine, and say how it is then.
 *
 * @throws Problem Where it is refused; 412 where somebody else changed the same meanwhile.
 */
export async function changeMachine(seen: Machine, change: Change): Promise<Machine> {
  const path = { idc: seen.idc, sn: seen.sn };
  let revision = seen.revision;
  for (let left = TRIES; ; left -= 1) {
    try {
      const params = { path, header: ifMatch(revision) };
      return await got(api.PATCH("/api/v1/machines/{idc}/{sn}", { params, body: change }));
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 412 || left === 1) throw error;
      const now = await got(api.GET("/api/v1/machines/{idc}/{sn}", { params: { path } }));
      if (!concernsSame(change, seen, now)) throw error;
      revision = now.revision;
    }
  }
}
