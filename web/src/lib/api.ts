// Calls to the API, typed from its own description.
//
// A call that finds the session over waits until somebody has signed in again and is then made
// anew: what was typed is not lost. Every answer says how new it is; the live connection is told,
// so that it can fill in what came meanwhile.

import createClient from "openapi-fetch";

import type { components, paths } from "./schema";
import { session } from "./session.svelte";

export type Schemas = components["schemas"];

/** What is wrong with one field of what was sent. */
export interface FieldError {
  readonly field: string;
  readonly message: string;
}

/** An error answer of the API: the problem document of RFC 9457; status 0 is no answer at all. */
export class Problem extends Error {
  readonly status: number;
  readonly code: string;
  readonly errors: readonly FieldError[];
  readonly retryAfterS: number | null;

  constructor(status: number, document: Record<string, unknown>, retryAfter: string | null = null) {
    const said = document["detail"] ?? document["title"];
    super(typeof said === "string" ? said : `the control plane answered ${status}`);
    this.status = status;
    this.code = typeof document["code"] === "string" ? document["code"] : "";
    this.errors = Array.isArray(document["errors"]) ? (document["errors"] as FieldError[]) : [];
    this.retryAfterS = retryAfter === null ? null : Number(retryAfter) || null;
  }

  /** What is wrong with one field, or nothing. */
  of(field: string): string {
    return this.errors.find((each) => each.field === field)?.message ?? "";
  }
}

const UNREACHABLE = { detail: "The control plane does not answer. Nothing was changed." };

const BUSY_TRIES = 3;
const LONGEST_WAIT_S = 10;

/**
 * One request. Where the session is over it is made again by who has signed in, and where the control
 * plane has too much to do (429: nothing was done) after the time that it names.
 */
export async function exchange(request: Request, busyTries = BUSY_TRIES): Promise<Response> {
  const again = request.clone();
  let answer: Response;
  try {
    answer = await fetch(request);
  } catch (error) {
    if (request.signal.aborted) throw error;
    throw new Problem(0, UNREACHABLE);
  }
  if (answer.status === 429 && busyTries > 0) {
    const wait = Number(answer.headers.get("Retry-After")) || 1;
    if (wait > LONGEST_WAIT_S) return answer;
    await new Promise((resolve) => setTimeout(resolve, wait * 1000));
    return exchange(again, busyTries - 1);
  }
  if (answer.status !== 401 || new URL(request.url).pathname === "/api/v1/session") return answer;
  await session.signedInAgain();
  return exchange(again);
}

export const api = createClient<paths>({
  baseUrl: location.origin,
  fetch: (request) => exchange(request),
});

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** What a call answers. */
export async function got<T>(call: Promise<Answer<T>>): Promise<T> {
  return (await gotWith(call)).data;
}

/** What a call answers, with its entity tag and the store's revision that it shows at least. */
export async function gotWith<T>(
  call: Promise<Answer<T>>,
): Promise<{ data: T; etag: string | null; revision: number }> {
  const { data, error, response } = await call;
  if (!response.ok) {
    const document = typeof error === "object" && error !== null ? error : {};
    throw new Problem(
      response.status,
      document as Record<string, unknown>,
      response.headers.get("Retry-After"),
    );
  }
  return {
    data: data as T,
    etag: response.headers.get("ETag"),
    revision: Number(response.headers.get("Lpmos-Revision")),
  };
}

/** An error as a sentence for people. */
export function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
