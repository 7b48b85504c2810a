import { render, screen, within } from "@testing-library/svelte";
import { describe, expect, it } from "vitest";

import type { Schemas } from "../../lib/api";
import { parts } from "./parts";
import Parts from "./Parts.svelte";
import type { Task } from "./view";

const BOOT = { boot: 30, "boot.address": 3, "boot.kernel": 2, "boot.start": 15 };
const INSTALL = { installing: 70, partitioning: 10, downloading: 40, "install.installing": 20 };
const RESTART = { "restart.seen": 20, "restart.script": 4, "restart.system": 30 };

const names = (durations: Record<string, number>): string[] =>
  parts(durations, []).map((part) => part.name);

describe("parts", () => {
  it("are each once in the order of the way, without waits and without what they add up to", () => {
    const waits = { pending: 1, ready: 60, booting: 31, pending_approval: 500, approved: 2 };
    expect(
      names({ ...BOOT, ...waits, ...INSTALL, first_boot: 54, whole: 155, ...RESTART }),
    ).toEqual([
      ...["address", "kernel", "agent starts", "partitioning", "downloading", "installing"],
      ...["restart", "netboot again", "system starts"],
    ]);
  });

  it("are the wholes where nothing finer is known", () => {
    const seen = { "restart.seen": 20, "boot.address": 3 };
    expect(names({ ...seen, booting: 31, installing: 70, first_boot: 54 })).toEqual([
      ...["address", "netboot", "installing", "first boot"],
    ]);
    expect(parts({}, [])).toEqual([]);
  });

  it("reach along the picture as far as the longest of all times", () => {
    const usual = [{ part: "downloading", count: 9, p50_s: 20, p95_s: 80 }];
    const [first, second] = parts({ partitioning: 10, downloading: 40 }, usual);
    expect([first?.percent, first?.usual, first?.slow]).toEqual([12.5, null, false]);
    expect([second?.percent, second?.p50, second?.p95]).toEqual([50, 25, 100]);
  });

  it("are slow beyond 19 of 20, of enough tasks", () => {
    const slow = (count: number, seconds: number): boolean | undefined =>
      parts({ downloading: seconds }, [{ part: "downloading", count, p50_s: 20, p95_s: 30 }])[0]
        ?.slow;
    expect([slow(5, 31), slow(5, 30), slow(4, 31)]).toEqual([true, false, false]);
  });
});

describe("the picture", () => {
  const shown = (durations: Task["durations"] | undefined, usual: Schemas["Took"][]): void => {
    const task = { durations } as Task;
    const explained = { model: "R650", parts: usual } as unknown as Schemas["Explanation"];
    render(Parts, { task, explained });
  };

  it("has a row for each part with its own time and the usual ones", () => {
    const usual = [{ part: "boot.kernel", count: 40, p50_s: 2, p95_s: 4 }];
    shown({ boot: 30, "boot.kernel": 8, partitioning: 10, whole: 155 }, usual);
    const cells = (name: string): (string | null)[] => {
      const row = screen.getByRole("row", { name: new RegExp(`^${name}`) });
      return within(row)
        .getAllByRole("cell")
        .map((cell) => cell.textContent);
    };
    expect(cells("kernel").slice(-3)).toEqual(["8.0 s", "2.0 s", "4.0 s"]);
    expect(cells("partitioning").slice(-3)).toEqual(["10 s", "–", "–"]);
    const bars = [...document.querySelectorAll<HTMLElement>(".took")];
    expect(bars.map((bar) => bar.style.width)).toEqual(["80%", "100%"]);
    expect(document.querySelectorAll("tr.slow")).toHaveLength(1);
    const said = screen.getByRole("region", { name: "How long it took" }).textContent;
    expect(said).toContain("From the first packet to the agent it was 30 s.");
    expect(said).toMatch(/newest 40\s+tasks of R650/);
  });

  it("is not there before anything has taken its time", () => {
    shown({ pending: 1 }, []);
    expect(screen.queryByRole("region")).toBeNull();
  });

  it("is not there where the control plane is of the version before", () => {
    shown(undefined, [{ part: "boot.kernel", count: 40, p50_s: 2, p95_s: 4 }]);
    expect(screen.queryByRole("region")).toBeNull();
  });
});
