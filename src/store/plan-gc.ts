/** What gc would remove, and in which order. Pure. */
import type { StorePath } from "../base/index.ts";

export interface GcNode {
  readonly path: StorePath;
  readonly sizeBytes: number;
  readonly usedAtMs: number;
  readonly references: readonly StorePath[];
}

export interface GcGoal {
  readonly roots: readonly StorePath[];
  /** Items used at or after this time are roots too. */
  readonly keepUsedSinceMs: number | undefined;
  /** Remove no more than needed for so many bytes; 0 removes nothing. */
  readonly enoughBytes: number | undefined;
  /** Stop once so many bytes are freed. */
  readonly mostBytes: number | undefined;
}

export interface GcPlan {
  /** Referrers before what they refer to; among those that may go, the longest unused first. */
  readonly remove: readonly GcNode[];
  readonly kept: number;
}

/** Everything reachable from the starting paths. */
function reachable(nodes: ReadonlyMap<StorePath, GcNode>, from: readonly StorePath[]): ReadonlySet<StorePath> {
  const live = new Set<StorePath>();
  const stack = [...from];
  for (let path = stack.pop(); path !== undefined; path = stack.pop()) {
    const node = nodes.get(path);
    if (node === undefined || live.has(path)) continue;
    live.add(path);
    stack.push(...node.references);
  }
  return live;
}

export function planGc(all: readonly GcNode[], goal: GcGoal): GcPlan {
  const nodes = new Map(all.map((node) => [node.path, node]));
  const { keepUsedSinceMs } = goal;
  const recent =
    keepUsedSinceMs === undefined ? [] : all.filter((node) => node.usedAtMs >= keepUsedSinceMs).map(({ path }) => path);
  const live = reachable(nodes, [...goal.roots, ...recent]);
  const dead = all.filter((node) => !live.has(node.path));

  // An item may go when nothing that stays refers to it: count what still does.
  const referrers = new Map<StorePath, number>();
  for (const node of dead) {
    for (const target of node.references) {
      if (target !== node.path) referrers.set(target, (referrers.get(target) ?? 0) + 1);
    }
  }
  const byAge = (a: GcNode, b: GcNode): number => a.usedAtMs - b.usedAtMs || (a.path < b.path ? -1 : 1);
  let ready = dead.filter((node) => (referrers.get(node.path) ?? 0) === 0).toSorted(byAge);
  const limit = Math.min(goal.enoughBytes ?? Infinity, goal.mostBytes ?? Infinity);
  const remove: GcNode[] = [];
  let freed = 0;
  while (ready.length > 0 && freed < limit) {
    const next: GcNode[] = [];
    for (const node of ready) {
      if (freed >= limit) break;
      remove.push(node);
      freed += node.sizeBytes;
      for (const target of node.references) {
        if (target === node.path) continue;
        const left = (referrers.get(target) ?? 0) - 1;
        referrers.set(target, left);
        const freedNode = nodes.get(target);
        if (left === 0 && freedNode !== undefined && !live.has(target)) next.push(freedNode);
      }
    }
    ready = next.toSorted(byAge);
  }
  return { remove, kept: all.length - remove.length };
}
