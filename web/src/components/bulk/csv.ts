// CSV (RFC 4180) read and written: quoted cells, CRLF, a byte order mark; and, because spreadsheets
// write and people paste them, semicolons or tabs in place of commas.

export type Separator = "," | ";" | "\t";

/** A file that cannot be read as a table; the text says why, and what to do. */
export class Unreadable extends Error {}

/** The text of a file. Raises `Unreadable` where it is not UTF-8. */
export function textOf(content: Uint8Array): string {
  const [first, second] = content;
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)) {
    throw new Unreadable("The file is UTF-16. Save it as “CSV UTF-8” and load it again.");
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch {
    throw new Unreadable("The file is not UTF-8. Save it as “CSV UTF-8” and load it again.");
  }
}

/** What stands between the cells: whatever the header has most of. */
export function separatorOf(text: string): Separator {
  const header = text.split(/\r\n|\r|\n/, 1)[0] ?? "";
  const count = (each: string): number => header.split(each).length - 1;
  const [best] = ([",", "\t", ";"] as const).toSorted((a, b) => count(b) - count(a));
  return best && count(best) > 0 ? best : ",";
}

/** The rows of a text, each with its cells; rows without any text are left out. */
export function readCsv(given: string, separator: Separator = separatorOf(given)): string[][] {
  const text = given.replace(/^\uFEFF/, "");
  if (text.includes("\0")) throw new Unreadable("The file has a zero byte: it is no CSV file.");
  const rows: string[][] = [];
  let row: string[] = [];
  let place = 0;
  while (place < text.length) {
    const cell = readCell(text, place, separator);
    row.push(cell.value);
    place = cell.end;
    if (text[place] === separator) {
      place += 1;
      if (place < text.length) continue;
      row.push("");
    }
    if (text[place] === "\r") place += 1;
    if (text[place] === "\n") place += 1;
    if (row.some((each) => each.trim())) rows.push(row);
    row = [];
  }
  return rows;
}

interface Cell {
  readonly value: string;
  readonly end: number;
}

function readCell(text: string, start: number, separator: Separator): Cell {
  if (text[start] !== '"') {
    let end = start;
    while (end < text.length && !isEnd(text[end], separator)) end += 1;
    return { value: text.slice(start, end), end };
  }
  let value = "";
  let from = start + 1;
  for (;;) {
    const quote = text.indexOf('"', from);
    if (quote < 0) throw new Unreadable(`${lineOf(text, start)} opens a quote that never ends.`);
    value += text.slice(from, quote);
    if (text[quote + 1] === '"') {
      value += '"';
      from = quote + 2;
      continue;
    }
    const end = quote + 1;
    if (end < text.length && !isEnd(text[end], separator)) {
      throw new Unreadable(`${lineOf(text, end)} has text after a closing quote.`);
    }
    return { value, end };
  }
}

function isEnd(character: string | undefined, separator: Separator): boolean {
  return character === separator || character === "\r" || character === "\n";
}

function lineOf(text: string, place: number): string {
  return `Line ${text.slice(0, place).split(/\r\n|\r|\n/).length}`;
}

/** Rows as CSV. */
export function writeCsv(rows: readonly (readonly string[])[]): string {
  return rows.map((row) => row.map(quoted).join(",") + "\r\n").join("");
}

function quoted(cell: string): string {
  return /[",\r\n]|^\s|\s$/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}
