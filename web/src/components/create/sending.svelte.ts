// A call that is made until it is answered. It carries a key of its own, by which the control plane
// knows it again: that it came twice changes nothing.

import { Problem, words } from "../../lib/api";

const WAIT_MS = 3_000;
const AGAIN = new Set([0, 429, 502, 503, 504]);

export class Sending {
  busy = $state(false);
  /** Why there is no answer yet; the call is made again. Empty while there is nothing to say. */
  trouble = $state("");
  #stop: (() => void) | null = null;
  #stopped = false;

  /** What `call` answers at last; throws what it is refused with, or the trouble once stopped. */
  async run<T>(call: () => Promise<T>): Promise<T> {
    this.busy = true;
    this.#stopped = false;
    try {
      for (;;) {
        try {
          return await call();
        } catch (error) {
          if (!(error instanceof Problem) || !AGAIN.has(error.status) || this.#stopped) throw error;
          this.trouble = error.status === 0 ? "The control plane does not answer." : words(error);
          await this.#wait(error.retryAfterS === null ? WAIT_MS : error.retryAfterS * 1000);
          if (this.#stopped) throw error;
        }
      }
    } finally {
      this.busy = false;
      this.trouble = "";
    }
  }

  /** Give up waiting for an answer. */
  stop(): void {
    this.#stopped = true;
    this.#stop?.();
  }

  #wait(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#stop = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
