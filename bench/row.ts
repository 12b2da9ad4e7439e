/** One line of the table that `npm run bench` prints, and how ratios are taken. */

export interface BenchRow {
  readonly work: string;
  /** The tool that did the same work beside ours, or "-". */
  readonly against: string;
  /** What is to be reached, as it is said in the table: "<= 0.5". */
  readonly reach: string;
  readonly ours: string;
  readonly theirs: string;
  /** The median over the runs of ours / theirs; of what was measured alone, measure / limit is not given. */
  readonly ratio: number | undefined;
  readonly met: boolean;
}

/** One run of both, one right after the other. */
export interface Pair {
  readonly oursMs: number;
  readonly theirsMs: number;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >>> 1;
  const high = sorted[middle];
  if (high === undefined) throw new Error("the median of nothing");
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? high) + high) / 2;
}

export function shownMs(ms: number): string {
  return ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
}

/** The median of ratios, not the ratio of medians: the machine's speed drifts between runs and hardly within one. */
export function ratioRow(work: string, against: string, most: number, pairs: readonly Pair[]): BenchRow {
  const ratio = median(pairs.map(({ oursMs, theirsMs }) => oursMs / theirsMs));
  return {
    work,
    against,
    reach: `<= ${most.toFixed(2).replace(/0$/, "")}`,
    ours: shownMs(median(pairs.map(({ oursMs }) => oursMs))),
    theirs: shownMs(median(pairs.map(({ theirsMs }) => theirsMs))),
    ratio,
    met: ratio <= most,
  };
}
