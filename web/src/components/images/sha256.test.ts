import { createHash } from "node:crypto";

import { expect, test } from "vitest";

import { Sha256 } from "./sha256";

const of = (...pieces: Uint8Array[]): string => {
  const hash = new Sha256();
  for (const piece of pieces) hash.update(piece);
  return hash.digest();
};

test("the examples of the standard", () => {
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
  expect(of()).toBe("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  expect(of(bytes("abc"))).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  expect(of(bytes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"))).toBe(
    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
  );
});

test("whatever the length and however it comes it is the digest that others compute", () => {
  const all = Uint8Array.from({ length: 700 }, (_, place) => (place * 131 + 7) & 255);
  for (let length = 0; length < all.length; length += 1) {
    const bytes = all.subarray(0, length);
    const expected = createHash("sha256").update(bytes).digest("hex");
    const cut = (length * 37) % (length + 1);
    expect(of(bytes.subarray(0, cut), bytes.subarray(cut))).toBe(expected);
  }
});
