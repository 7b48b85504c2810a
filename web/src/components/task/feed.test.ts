import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { feed } from "./feed";

/** A connection that opens, tells and closes as it is told to. */
class Wire extends EventTarget {
  static made: Wire[] = [];
  readonly sent: string[] = [];

  constructor(readonly url: string) {
    super();
    Wire.made.push(this);
  }
  send(text: string): void {
    this.sent.push(text);
  }
  close(): void {
    this.closed(1000);
  }
  closed(code: number): void {
    this.dispatchEvent(Object.assign(new Event("close"), { code }));
  }
  says(content: unknown): void {
    this.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(content) }));
  }
}

beforeEach(() => {
  Wire.made = [];
  vi.useFakeTimers();
  vi.stubGlobal("WebSocket", Wire);
  vi.stubGlobal("location", { protocol: "http:", host: "here" });
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

/** The newest connection. */
function wire(): Wire {
  return Wire.made[Wire.made.length - 1]!;
}

test("what is asked for and what may have been missed is heard, a revision alone is not", () => {
  const heard = vi.fn();
  const end = feed("t1", ["boot"], { heard });
  wire().says([{ type: "subscribed", revision: 1 }]);
  expect(heard).toHaveBeenCalledTimes(1);
  wire().says([{ type: "revision", revision: 2 }]);
  wire().says({ type: "revision", revision: 3 });
  expect(heard).toHaveBeenCalledTimes(1);
  wire().says([
    { type: "boot", task_id: "t1", revision: 4 },
    { type: "revision", revision: 4 },
  ]);
  wire().says({ type: "resync", revision: 9 });
  expect(heard).toHaveBeenCalledTimes(3);
  end();
});

test("a connection that is lost comes back, one that is not understood does not", () => {
  const lost = vi.fn();
  const end = feed("t1", ["boot"], { heard: vi.fn(), lost });
  wire().closed(1006);
  vi.runAllTimers();
  expect(Wire.made).toHaveLength(2);
  wire().closed(4400);
  vi.runAllTimers();
  expect(Wire.made).toHaveLength(2);
  expect(lost).toHaveBeenCalledTimes(2);
  end();
});
