/** One line of the table that `npm run bench` prints. */
export interface BenchRow {
  /** What was done: "200 trivial derivations, 2 jobs". */
  readonly work: string;
  /** What it is measured against, or "-" where the reach is an absolute figure. */
  readonly against: string;
  /** How much of it: "median of 15 pairs". */
  readonly samples: string;
  /** Ours, as text with its unit: "38 ms". */
  readonly ours: string;
  /** Theirs, in the same run. */
  readonly theirs: string;
  /** Median of the ratios ours / theirs; where there is no peer, ours in the unit of `reach`. */
  readonly value: number;
  /** The value may be at most this. */
  readonly reach: number;
  /** Of `value` and `reach`: "" for a ratio, else "s", "MiB". */
  readonly unit: string;
  readonly note?: string;
}
