/** Timing two ways of doing the same thing side by side: the machine drifts, so only ratios of neighbours are compared. */

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right);
  const middle = Math.floor(sorted.length / 2);
  const [low, high] = [sorted[sorted.length % 2 === 0 ? middle - 1 : middle], sorted[middle]];
  if (low === undefined || high === undefined) throw new Error("the median of nothing");
  return (low + high) / 2;
}

export interface Pair {
  readonly ours: number;
  readonly theirs: number;
  readonly ratio: number;
  readonly rounds: number;
}

/** Milliseconds that `work` took, by the monotonic clock. `prepare` is not counted. */
export async function time(work: () => unknown, prepare?: () => unknown): Promise<number> {
  await prepare?.();
  const began = performance.now();
  await work();
  return performance.now() - began;
}

/** One warm-up of each, then `rounds` pairs, the order changing from round to round. */
export async function compare(rounds: number, ours: () => Promise<number>, theirs: () => Promise<number>): Promise<Pair> {
  await ours();
  await theirs();
  const pairs: { readonly ours: number; readonly theirs: number }[] = [];
  for (let round = 0; round < rounds; round += 1) {
    if (round % 2 === 0) {
      const first = await ours();
      pairs.push({ ours: first, theirs: await theirs() });
    } else {
      const first = await theirs();
      pairs.push({ ours: await ours(), theirs: first });
    }
  }
  return {
    ours: median(pairs.map((pair) => pair.ours)),
    theirs: median(pairs.map((pair) => pair.theirs)),
    ratio: median(pairs.map((pair) => pair.ours / pair.theirs)),
    rounds,
  };
}

export function milliseconds(value: number): string {
  return value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}
