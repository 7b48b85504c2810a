// An image on its way to the control plane: its digest, then its bytes in pieces, each told where it
// belongs. What came is there after a lost connection or a reload; it goes on from there.

import { api, exchange, got, Problem, type Schemas } from "../../lib/api";
import { Sending } from "../create/sending.svelte";
import { sha256Of } from "./sha256";

const PIECE_BYTES = 8 * 1024 * 1024;

export type Announced = Omit<Schemas["NewUpload"], "sha256" | "size_bytes">;

export class ImageUpload {
  phase = $state<"idle" | "reading" | "sending" | "verifying">("idle");
  done = $state(0);
  total = $state(0);
  bytesPerSecond = $state(0);
  sending = new Sending();
  #ended: AbortController | null = null;
  #id: string | null = null;

  /** Bring a file; the answer is the image in the catalog. `digest` is computed where it is not known. */
  async run(
    file: File,
    announced: Announced,
    digest: string | null,
  ): Promise<Schemas["ImageView"]> {
    const ended = new AbortController();
    this.#ended = ended;
    this.total = file.size;
    this.done = 0;
    try {
      this.phase = "reading";
      const tell = (bytes: number): void => void (this.done = bytes);
      const sha256 = digest ?? (await sha256Of(file, tell, ended.signal));
      this.phase = "sending";
      const body = { ...announced, sha256, size_bytes: file.size };
      const begun = await this.sending.run(() => got(api.POST("/api/v1/images/uploads", { body })));
      this.#id = begun.upload_id;
      return await this.#pieces(file, begun, sha256, ended.signal);
    } finally {
      this.phase = "idle";
      this.#ended = null;
    }
  }

  /** Stop; what came stays at the control plane for a day. */
  pause(): void {
    this.#ended?.abort(new Error("The upload was stopped. Begin it again to go on from there."));
    this.sending.stop();
  }

  /** Stop, and have what came removed. */
  async giveUp(): Promise<void> {
    this.pause();
    const upload_id = this.#id;
    if (upload_id === null) return;
    this.#id = null;
    const params = { path: { upload_id } };
    await got(api.DELETE("/api/v1/images/uploads/{upload_id}", { params }));
  }

  async #pieces(
    file: File,
    begun: Schemas["UploadView"],
    sha256: string,
    signal: AbortSignal,
  ): Promise<Schemas["ImageView"]> {
    let now = begun;
    const started = { at: performance.now(), offset: begun.offset };
    while (!now.image) {
      signal.throwIfAborted();
      this.done = now.offset;
      const last = now.offset + PIECE_BYTES >= file.size;
      if (last) this.phase = "verifying";
      now = await this.sending.run(() => this.#piece(file, now, sha256, signal));
      const seconds = (performance.now() - started.at) / 1000;
      this.bytesPerSecond = seconds > 0 ? (now.offset - started.offset) / seconds : 0;
    }
    this.done = file.size;
    return now.image;
  }

  /** Send the next bytes, wherever the upload is by now. */
  async #piece(
    file: File,
    upload: Schemas["UploadView"],
    sha256: string,
    signal: AbortSignal,
  ): Promise<Schemas["UploadView"]> {
    const now = await this.#now(upload, sha256, signal);
    if (now.image) return now;
    const { offset } = now;
    const path = `/api/v1/images/uploads/${encodeURIComponent(upload.upload_id)}`;
    const place = new URL(path, location.origin);
    const request = new Request(place, {
      method: "PATCH",
      headers: {
        "Content-Type": "application/octet-stream",
        "Upload-Offset": String(offset),
      },
      body: await file.slice(offset, offset + PIECE_BYTES).arrayBuffer(),
      signal,
    });
    const answer = await exchange(request);
    const document: unknown = await answer.json().catch(() => ({}));
    if (answer.ok) return document as Schemas["UploadView"];
    const said = document as Record<string, unknown>;
    throw new Problem(answer.status, said, answer.headers.get("Retry-After"));
  }

  /** Where the upload is; where its last answer was lost, with the image that it has become. */
  async #now(
    upload: Schemas["UploadView"],
    sha256: string,
    signal: AbortSignal,
  ): Promise<Schemas["UploadView"]> {
    const { upload_id, name } = upload;
    try {
      const params = { path: { upload_id } };
      return await got(api.GET("/api/v1/images/uploads/{upload_id}", { params, signal }));
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 404) throw error;
      const params = { path: { name } };
      const image = await got(api.GET("/api/v1/images/{name}", { params, signal }));
      if (image.sha256 !== sha256) throw error;
      return { ...upload, offset: upload.size_bytes, image };
    }
  }
}
