// The time, for texts that grow old: it goes on every five seconds.

class Now {
  /** Milliseconds since 1970. */
  at = $state(Date.now());

  constructor() {
    setInterval(() => (this.at = Date.now()), 5_000);
  }
}

export const now = new Now();
