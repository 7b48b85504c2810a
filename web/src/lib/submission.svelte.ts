// One form or button that sends something: whether it is under way, and what was wrong with it.

import { Problem, words } from "./api";

export class Submission {
  busy = $state(false);
  #error = $state.raw<unknown>(null);

  /** What was wrong as a whole; nothing where every complaint stands at a field of `fields`. */
  complaint(fields: readonly string[] = []): string {
    const error = this.#error;
    if (error === null) return "";
    if (error instanceof Problem && error.errors.length > 0) {
      const others = error.errors.filter((each) => !fields.includes(each.field));
      return others.map((each) => `${each.field}: ${each.message}`).join("; ");
    }
    return words(error);
  }

  /** What was wrong with one field. */
  of(field: string): string {
    return this.#error instanceof Problem ? this.#error.of(field) : "";
  }

  /** Whether somebody else changed it meanwhile (412, 409). */
  get overtaken(): boolean {
    return this.#error instanceof Problem && [409, 412].includes(this.#error.status);
  }

  /** Send; true where it was done. While one is under way, no second begins. */
  async send(work: () => Promise<unknown>): Promise<boolean> {
    if (this.busy) return false;
    this.busy = true;
    try {
      await work();
      this.#error = null;
      return true;
    } catch (error) {
      this.#error = error;
      return false;
    } finally {
      this.busy = false;
    }
  }

  /** Forget what was wrong. */
  clear(): void {
    this.#error = null;
  }
}
