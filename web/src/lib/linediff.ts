// The difference of two texts, line by line (longest common subsequence).

export interface DiffLine {
  readonly kind: "same" | "added" | "removed";
  readonly text: string;
}

/** The lines of both texts in order, each the same, added, or removed. */
export function lineDiff(before: string, after: string): DiffLine[] {
  const old = before.split("\n");
  const now = after.split("\n");
  const longest = common(old, now);
  const lines: DiffLine[] = [];
  let a = 0;
  let b = 0;
  while (a < old.length || b < now.length) {
    if (a < old.length && b < now.length && old[a] === now[b]) {
      lines.push({ kind: "same", text: old[a++]! });
      b++;
    } else if (b >= now.length || (a < old.length && longest[a + 1]![b]! >= longest[a]![b + 1]!)) {
      lines.push({ kind: "removed", text: old[a++]! });
    } else {
      lines.push({ kind: "added", text: now[b++]! });
    }
  }
  return lines;
}

/** `[a][b]`: how many lines the texts from line a and line b on have in common. */
function common(old: readonly string[], now: readonly string[]): Uint32Array[] {
  const table = Array.from({ length: old.length + 1 }, () => new Uint32Array(now.length + 1));
  for (let a = old.length - 1; a >= 0; a--) {
    for (let b = now.length - 1; b >= 0; b--) {
      table[a]![b] =
        old[a] === now[b]
          ? table[a + 1]![b + 1]! + 1
          : Math.max(table[a + 1]![b]!, table[a]![b + 1]!);
    }
  }
  return table;
}

/** The lines with those that stay the same left out, but for `around` of them beside each change. */
export function folded(lines: readonly DiffLine[], around = 3): (DiffLine | { hidden: number })[] {
  const near = lines.map((_, place) =>
    lines
      .slice(Math.max(0, place - around), place + around + 1)
      .some((line) => line.kind !== "same"),
  );
  const shown: (DiffLine | { hidden: number })[] = [];
  for (const [place, line] of lines.entries()) {
    const last = shown.at(-1);
    if (near[place]) shown.push(line);
    else if (last && "hidden" in last) last.hidden += 1;
    else shown.push({ hidden: 1 });
  }
  return shown;
}
