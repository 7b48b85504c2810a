// A size as people write it (`500 GB`, `1.5 TiB`), in bytes.

import { type Checked, NOTHING } from "./mac";

const POWERS = ["", "K", "M", "G", "T", "P"];
const SIZE = /^(\d+(?:[.,]\d+)?)\s*([KMGTP]?)(I?)(B?)$/;

/** The bytes that a text names, as digits. A bare number is bytes. */
export function readSize(text: string): Checked {
  const given = text.trim().toUpperCase();
  if (!given) return NOTHING;
  const found = SIZE.exec(given);
  if (!found || (found[3] && !found[2])) {
    return { value: "", wrong: "This is no size: write 500 GB or 1.5 TiB." };
  }
  const factor = (found[3] ? 1024 : 1000) ** POWERS.indexOf(found[2] ?? "");
  const count = Math.round(Number((found[1] ?? "").replace(",", ".")) * factor);
  if (!Number.isSafeInteger(count)) return { value: "", wrong: "No disk is as large as this." };
  return { value: String(count), wrong: "" };
}
