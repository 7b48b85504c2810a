import { afterEach, describe, expect, it, vi } from "vitest";

import { Problem } from "../../lib/api";
import { changeMachine, concernsSame, ifMatch, type Machine } from "./changes";

const SEEN = {
  idc: "dc1",
  sn: "SN-1",
  tags: { rack: "a3" },
  tenant: null,
  address: null,
  revision: 4,
};
const seen = SEEN as unknown as Machine;
const other = (fields: object): Machine => ({ ...SEEN, ...fields }) as unknown as Machine;

function answering(...answers: [number, unknown][]): (string | null)[] {
  const matches: (string | null)[] = [];
  vi.stubGlobal("fetch", (request: Request) => {
    if (request.method === "PATCH") matches.push(request.headers.get("If-Match"));
    const [status, document] = answers.shift() ?? [500, {}];
    const headers = { "Content-Type": "application/json" };
    return Promise.resolve(new Response(JSON.stringify(document), { status, headers }));
  });
  return matches;
}

afterEach(() => vi.unstubAllGlobals());

describe("a change of a machine", () => {
  it("is sent again where only its report was renewed", async () => {
    const matches = answering([412, {}], [200, other({ revision: 6 })], [200, other({})]);
    await changeMachine(seen, { tags: { role: "web" } });
    expect(matches).toEqual(['"4"', '"6"']);
  });

  it("is refused where somebody changed the same", async () => {
    const matches = answering([412, {}], [200, other({ revision: 6, tags: { rack: "b1" } })]);
    await expect(changeMachine(seen, { tags: { rack: null } })).rejects.toBeInstanceOf(Problem);
    expect(matches).toHaveLength(1);
  });

  it("concerns the tags that it names, and tenant and address where it names them", () => {
    const now = other({ tags: { rack: "b1" }, tenant: "team-a", address: "192.0.2.7" });
    expect(concernsSame({ tags: { role: "web" } }, seen, now)).toBe(true);
    expect(concernsSame({ tags: { rack: "c" } }, seen, now)).toBe(false);
    expect(concernsSame({ tenant: "team-b" }, seen, now)).toBe(false);
    expect(concernsSame({ address: null }, seen, now)).toBe(false);
  });

  it("holds for any machine that has not reported yet", () => {
    expect(ifMatch(0)).toEqual({});
    expect(ifMatch(3)).toEqual({ "If-Match": '"3"' });
  });
});
