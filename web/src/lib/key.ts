// Keys by which the control plane knows a call that is sent again (Idempotency-Key).

/** A key that no other call has. */
export function newKey(): string {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
