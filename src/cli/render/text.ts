/** Text that fits: widths in columns, cutting, and making what others print harmless. */

/** A line of somebody else's output without sequences that move the cursor, colour or ring; tabs become one blank. */
export function harmless(line: string): string {
  return Bun.stripANSI(line)
    .replaceAll("\t", " ")
    .replaceAll(/\p{Cc}/gu, "");
}

const PLAIN = /^[\u0020-\u007e]*$/;

export function widthOf(text: string): number {
  return PLAIN.test(text) ? text.length : Bun.stringWidth(text);
}

/** Cut to so many columns, with an ellipsis where something is lost. */
export function fit(text: string, columns: number, ellipsis: string): string {
  if (widthOf(text) <= columns) return text;
  const room = columns - widthOf(ellipsis);
  if (room < 0) return "";
  let kept = "";
  let used = 0;
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    used += widthOf(segment);
    if (used > room) break;
    kept += segment;
  }
  return kept + ellipsis;
}

/** Columns as wide as their widest cell, two blanks apart; the last is not padded. `right` names columns that hold numbers. */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const widths: number[] = [];
  for (const row of rows) for (const [index, cell] of row.entries()) widths[index] = Math.max(widths[index] ?? 0, widthOf(cell));
  return rows
    .map((row) =>
      row
        .map((cell, index) => {
          const gap = " ".repeat((widths[index] ?? 0) - widthOf(cell));
          if (right.includes(index)) return gap + cell;
          return index === row.length - 1 ? cell : cell + gap;
        })
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
