/** A small difference of two texts, line by line. */

const CONTEXT = 1;

/**
 * Lines that start with "-", "+" or " ", one line of context around each change, "..." between the pieces. By the longest common
 * subsequence between the common head and tail, which for builders' scripts is a small table.
 */
export function diffLines(before: string, after: string): readonly string[] {
  const a = before.split("\n");
  const b = after.split("\n");
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const middle = changes(a.slice(head, a.length - tail), b.slice(head, b.length - tail));
  const lines = [...a.slice(0, head).map((line) => ` ${line}`), ...middle, ...a.slice(a.length - tail).map((line) => ` ${line}`)];
  return withContext(lines);
}

function changes(a: readonly string[], b: readonly string[]): string[] {
  const width = b.length + 1;
  const common = new Uint32Array((a.length + 1) * width);
  const at = (row: number, column: number) => common[row * width + column] ?? 0;
  for (let row = a.length - 1; row >= 0; row--) {
    for (let column = b.length - 1; column >= 0; column--) {
      const same = a[row] === b[column];
      common[row * width + column] = same ? at(row + 1, column + 1) + 1 : Math.max(at(row + 1, column), at(row, column + 1));
    }
  }
  const lines: string[] = [];
  let row = 0;
  let column = 0;
  while (row < a.length || column < b.length) {
    if (row < a.length && column < b.length && a[row] === b[column]) {
      lines.push(` ${a[row++]}`);
      column++;
    } else if (row < a.length && (column === b.length || at(row + 1, column) >= at(row, column + 1))) lines.push(`-${a[row++]}`);
    else lines.push(`+${b[column++]}`);
  }
  return lines;
}

function withContext(lines: readonly string[]): readonly string[] {
  const shown: string[] = [];
  let skipped = false;
  for (const [index, line] of lines.entries()) {
    const near = lines.slice(Math.max(0, index - CONTEXT), index + CONTEXT + 1).some((other) => !other.startsWith(" "));
    if (near) {
      if (skipped && shown.length > 0) shown.push("...");
      shown.push(line);
    }
    skipped = !near;
  }
  return shown;
}
