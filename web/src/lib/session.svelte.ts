// Who is signed in, and what they may do.
//
// The session itself is a cookie that no script can read. When it ends in the middle of something,
// `over` is true until somebody has signed in again, and calls wait for that.

export interface Reader {
  readonly name: string;
  readonly display_name: string | null;
  readonly roles: readonly string[];
  readonly tenant: string | null;
  readonly permissions: readonly string[];
  /** Nobody approves what they asked for themselves. */
  readonly second_person?: boolean;
}

const PLACE = "/api/v1/session";

class Session {
  reader = $state.raw<Reader | null>(null);
  over = $state(false);
  #waiting: (() => void)[] = [];

  /** Whether the reader may do this; what they may not is not offered. */
  may(permission: string): boolean {
    return this.reader?.permissions.includes(permission) ?? false;
  }

  /** Find out who is signed in; without anybody the login page comes. */
  async open(): Promise<void> {
    const answer = await fetch(PLACE);
    if (answer.status === 401) {
      location.assign("/login");
      return;
    }
    if (!answer.ok) throw new Error(`the control plane answered ${answer.status}`);
    this.reader = (await answer.json()) as Reader;
  }

  /** Resolves when somebody has signed in again. */
  signedInAgain(): Promise<void> {
    this.over = true;
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Sign in again without leaving the page. Returns what is wrong, or nothing. */
  async signIn(username: string, password: string): Promise<string> {
    const answer = await fetch(PLACE, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ username, password }),
    }).catch(() => null);
    if (!answer) return "The control plane does not answer.";
    const document = (await answer.json().catch(() => ({}))) as Record<string, unknown>;
    if (!answer.ok) return String(document["detail"] ?? "This did not work.");
    this.resume(document as unknown as Reader);
    return "";
  }

  /** Go on after a sign-in in another window. Returns what is wrong, or nothing. */
  async signedInElsewhere(): Promise<string> {
    const answer = await fetch(PLACE).catch(() => null);
    if (!answer?.ok) return "There is no session yet: finish signing in in the other window.";
    this.resume((await answer.json()) as Reader);
    return "";
  }

  /** Sign out, here and at the control plane. */
  async signOut(): Promise<void> {
    await fetch(PLACE, { method: "DELETE" }).catch(() => null);
    location.assign("/login");
  }

  private resume(reader: Reader): void {
    this.reader = reader;
    this.over = false;
    for (const go of this.#waiting.splice(0)) go();
  }
}

export const session = new Session();
