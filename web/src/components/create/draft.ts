// What was typed and not sent yet: kept in this tab until it is sent, for the one who typed it.
//
// A reload, a restart of the control plane or a closed session loses nothing. Nothing secret is in
// it: what looks like a private key is left out.

import { session } from "../../lib/session.svelte";

const PLACE = "lpmos.draft";
const SECRET = /PRIVATE KEY/i;

function place(name: string): string {
  return `${PLACE}.${name}.${session.reader?.name ?? ""}`;
}

/** Keep it; where the tab has no room, nothing is kept. */
export function keep(name: string, draft: object): void {
  const text = JSON.stringify(draft, (_, value: unknown) =>
    typeof value === "string" && SECRET.test(value) ? "" : value,
  );
  try {
    sessionStorage.setItem(place(name), text);
  } catch {
    sessionStorage.removeItem(place(name));
  }
}

/** What was kept, or nothing. */
export function kept<T extends object>(name: string): Partial<T> | null {
  try {
    const found: unknown = JSON.parse(sessionStorage.getItem(place(name)) ?? "null");
    return typeof found === "object" ? (found as Partial<T> | null) : null;
  } catch {
    return null;
  }
}

/** Forget it: it was sent. */
export function forget(name: string): void {
  sessionStorage.removeItem(place(name));
}
