/** The table of figures, in Markdown. */
import type { BenchRow } from "./row.ts";

export function markdown(rows: readonly BenchRow[]): string {
  const head = ["work", "against", "Garth", "theirs", "ratio", "reach", ""];
  const cells = rows.map((row) => [
    row.work,
    row.against,
    row.ours,
    row.theirs,
    row.ratio === undefined ? "-" : row.ratio.toFixed(2),
    row.reach,
    row.reach === "-" ? "" : row.met ? "reached" : "MISSED",
  ]);
  const line = (words: readonly string[]) => `| ${words.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...cells.map(line)].join("\n");
}
