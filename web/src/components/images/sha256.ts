// SHA-256 (FIPS 180-4) of a file that is read piece by piece. The browser's own wants it whole in
// memory, and is not there on a page without TLS.

const PIECE_BYTES = 2 * 1024 * 1024;
const BLOCK_BYTES = 64;

const K = Int32Array.from(
  primes(64).map((prime) => Math.floor((Math.cbrt(prime) % 1) * 2 ** 32) | 0),
);
const FIRST = primes(8).map((prime) => Math.floor((Math.sqrt(prime) % 1) * 2 ** 32) | 0);

function primes(count: number): number[] {
  const found: number[] = [];
  for (let n = 2; found.length < count; n += 1) {
    if (found.every((each) => n % each !== 0)) found.push(n);
  }
  return found;
}

export class Sha256 {
  #state = Int32Array.from(FIRST);
  #words = new Int32Array(64);
  #rest = new Uint8Array(BLOCK_BYTES);
  #kept = 0;
  #length = 0;

  /** Take the next bytes. */
  update(bytes: Uint8Array): void {
    this.#length += bytes.length;
    let place = 0;
    if (this.#kept > 0) {
      place = Math.min(BLOCK_BYTES - this.#kept, bytes.length);
      this.#rest.set(bytes.subarray(0, place), this.#kept);
      this.#kept += place;
      if (this.#kept < BLOCK_BYTES) return;
      this.#blocks(this.#rest, 0, BLOCK_BYTES);
      this.#kept = 0;
    }
    const whole = place + Math.floor((bytes.length - place) / BLOCK_BYTES) * BLOCK_BYTES;
    this.#blocks(bytes, place, whole);
    this.#rest.set(bytes.subarray(whole));
    this.#kept = bytes.length - whole;
  }

  /** The digest in hex of all that was taken; nothing more can be taken after it. */
  digest(): string {
    const length = this.#length;
    const padded = new Uint8Array(this.#kept < 56 ? BLOCK_BYTES : 2 * BLOCK_BYTES);
    padded.set(this.#rest.subarray(0, this.#kept));
    padded[this.#kept] = 0x80;
    new DataView(padded.buffer).setBigUint64(padded.length - 8, BigInt(length) * 8n);
    this.#blocks(padded, 0, padded.length);
    return [...this.#state].map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
  }

  #blocks(bytes: Uint8Array, from: number, to: number): void {
    const words = this.#words;
    const state = this.#state;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    for (let at = from; at < to; at += BLOCK_BYTES) {
      for (let t = 0; t < 16; t += 1) words[t] = view.getInt32(at + 4 * t);
      for (let t = 16; t < 64; t += 1) {
        const w15 = words[t - 15]!;
        const w2 = words[t - 2]!;
        const s0 = turn(w15, 7) ^ turn(w15, 18) ^ (w15 >>> 3);
        const s1 = turn(w2, 17) ^ turn(w2, 19) ^ (w2 >>> 10);
        words[t] = (words[t - 16]! + s0 + words[t - 7]! + s1) | 0;
      }
      compress(state, words);
    }
  }
}

function compress(state: Int32Array, words: Int32Array): void {
  let [a, b, c, d] = [state[0]!, state[1]!, state[2]!, state[3]!];
  let [e, f, g, h] = [state[4]!, state[5]!, state[6]!, state[7]!];
  for (let t = 0; t < 64; t += 1) {
    const s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25);
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + K[t]! + words[t]!) | 0;
    const s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22);
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + t2) | 0;
  }
  const after = [a, b, c, d, e, f, g, h];
  for (let place = 0; place < 8; place += 1) state[place] = state[place]! + after[place]!;
}

function turn(word: number, by: number): number {
  return (word >>> by) | (word << (32 - by));
}

/** The digest of a file; `tell` hears how many bytes are read. Ends with the signal's reason. */
export async function sha256Of(
  file: Blob,
  tell: (bytes: number) => void,
  signal: AbortSignal,
): Promise<string> {
  const hash = new Sha256();
  for (let at = 0; at < file.size; at += PIECE_BYTES) {
    signal.throwIfAborted();
    hash.update(new Uint8Array(await file.slice(at, at + PIECE_BYTES).arrayBuffer()));
    tell(Math.min(at + PIECE_BYTES, file.size));
    await new Promise((resolve) => setTimeout(resolve)); // others have their turn
  }
  return hash.digest();
}
