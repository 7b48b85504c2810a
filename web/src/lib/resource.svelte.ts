// Something that is read from the control plane and shown: loading, there, or why it is not.

import { Problem, words } from "./api";
import { live, type Message } from "./live.svelte";

const GATHERED_MS = 500;
const RETRY_MS = 3_000;

/**
 * What `read` answers, read anew when `concerns` says that a message is about it.
 *
 * Made while a component is set up; it ends with the component. A newer reading ends an older one,
 * and what was shown stays until the new is there.
 */
export class Resource<T> {
  value = $state.raw<T | null>(null);
  error = $state<string | null>(null);
  missing = $state(false);
  loading = $state(true);
  #read: (signal: AbortSignal) => Promise<T>;
  #running: AbortController | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    read: (signal: AbortSignal) => Promise<T>,
    concerns: (message: Message) => boolean = () => false,
  ) {
    this.#read = read;
    $effect(() => {
      void this.load();
      const end = live.listen({
        take: (messages) => {
          if (messages.some(concerns)) this.#soon(GATHERED_MS);
        },
        stale: () => this.#soon(0),
      });
      return () => {
        end();
        clearTimeout(this.#timer);
        this.#running?.abort();
      };
    });
  }

  /** Read it now. What `read` uses of the page's state is looked at again when it changes. */
  async load(): Promise<void> {
    this.#running?.abort();
    const running = new AbortController();
    this.#running = running;
    this.loading = true;
    try {
      const value = await this.#read(running.signal);
      if (running.signal.aborted) return;
      this.value = value;
      this.error = null;
      this.missing = false;
    } catch (error) {
      if (running.signal.aborted) return;
      this.error = words(error);
      this.missing = error instanceof Problem && error.status === 404;
      if (!(error instanceof Problem) || error.status === 0 || error.status >= 500) {
        this.#soon(RETRY_MS);
      }
    } finally {
      if (this.#running === running) this.loading = false;
    }
  }

  /** Read in a while; what is asked for meanwhile is the same reading. */
  #soon(wait: number): void {
    if (this.#timer !== undefined && wait > 0) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.load();
    }, wait);
  }
}
