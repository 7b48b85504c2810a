// Short words at the foot of the page: what was done, or why it was not.

export interface Notice {
  readonly id: number;
  readonly kind: "done" | "failed";
  readonly text: string;
}

const SHOWN_MS = { done: 5_000, failed: 15_000 };

class Notices {
  all = $state.raw<readonly Notice[]>([]);
  #next = 1;

  done(text: string): void {
    this.#add("done", text);
  }

  failed(text: string): void {
    this.#add("failed", text);
  }

  dismiss(id: number): void {
    this.all = this.all.filter((each) => each.id !== id);
  }

  #add(kind: Notice["kind"], text: string): void {
    const id = this.#next++;
    this.all = [...this.all.slice(-3), { id, kind, text }];
    setTimeout(() => this.dismiss(id), SHOWN_MS[kind]);
  }
}

export const notices = new Notices();
