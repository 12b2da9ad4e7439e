/**
 * What to do next: the decisions of a build, without doing any of it.
 *
 * A graph has three sorts of nodes: steps (a sandbox runs), sources (something is fetched) and worlds (a build root is made). Each
 * is wanted in one of two ways. To be *known*: its paths are needed to write down the derivation of its user. To be *had*: its
 * paths must be valid, because its user is really going to be built. So an output that was collected is not rebuilt as long as
 * everything above it is there.
 *
 *    idle ──asked for──► asked ──needs known──► looking ──┬─ valid ──────────────────────────────► had
 *                          ▲                              ├─ remembered, but not there ──► known     ▲
 *                          │                              │                       wanted had │       │
 *                          │                              └─ never made ──► needed ◄─────────┘       │
 *                          │                                                  │ needs had            │
 *                          │◄── a need came out differently ── known, needed, ready ──► running ─────┤
 *                          └◄────────── woken ── parked ◄── somebody else makes it ────────┘         │
 *                                                                                    └──► failed     │
 *    A node that needs a failed one is skipped.
 *
 * Among the ready ones, the one with the longest path of expected time up to a goal goes first. Each pool has its own number of places.
 */
export type Pool = "build" | "fetch";

export interface PlanNode {
  readonly key: string;
  readonly pool: Pool;
  /** Keys of the nodes whose paths are part of this one's derivation. */
  readonly needs: readonly string[];
  /** From earlier runs. */
  readonly expectedMs: number | undefined;
}

export interface PlanOptions {
  /** Places in each pool, at first. */
  readonly places: Readonly<Record<Pool, number>>;
  /** Keys that are made although they are valid. */
  readonly forced: ReadonlySet<string>;
  /** After a failure, go on with what does not need the failed node. */
  readonly keepGoing: boolean;
}

export type Phase =
  | "idle"
  | "asked"
  | "looking"
  | "known"
  | "needed"
  | "ready"
  | "running"
  | "parked"
  | "had"
  | "failed"
  | "skipped";

/** What a look-up found. `changed`: the paths are not those that were reported for this node before. */
export interface Found {
  readonly state: "valid" | "remembered" | "unknown";
  readonly changed: boolean;
}

export interface BuildPlan {
  /** Nodes whose needs are all known: look them up, and report each with `found`. */
  lookups(): readonly string[];
  found(key: string, found: Found): void;
  /** Nodes to start now, at most as many as there are free places; report each with `finished`, `failed` or `park`. */
  starts(): readonly string[];
  /** `changed`: the paths are not those that were known before. */
  finished(key: string, changed: boolean): void;
  failed(key: string): void;
  /** Its work is over but for putting it away: another may start in its place. Of each place, so many at most: AHEAD. */
  vacate(key: string): void;
  /** Somebody else is making it: its place is free until `wake`, which looks it up again. */
  park(key: string): void;
  wake(key: string): void;
  /** From now on; what runs goes on. */
  resize(pool: Pool, places: number): void;
  /** Start nothing more. */
  stop(): void;
  isStopped(): boolean;
  phase(key: string): Phase;
  /** How many hold a place of the pool. */
  busy(pool: Pool): number;
  /** Nothing is running or being looked up, and nothing is left to start. */
  isDone(): boolean;
  /** Longest expected time from the start of this node to the end of a goal. */
  rankMs(key: string): number;
}

interface Node {
  readonly key: string;
  readonly pool: Pool;
  readonly order: number;
  readonly needs: Node[];
  readonly users: Node[];
  readonly ownMs: number;
  rankMs: number;
  phase: Phase;
  wantHad: boolean;
  isKnown: boolean;
  /** A need changed while this one was being looked up: what was found does not count. */
  isStale: boolean;
  unknownNeeds: number;
  missingNeeds: number;
}

/** How many that vacated a place may still be put away while the next ones run there. */
const AHEAD = 4;
/** Expected time of a node that never ran, when no other ran either. */
const UNKNOWN_MS = 1000;

/**
 * `nodes` has dependencies first and holds no cycle.
 * @throws Error when a key is unknown: a bug in the caller
 */
export function openPlan(nodes: readonly PlanNode[], goals: readonly string[], options: PlanOptions): BuildPlan {
  const byKey = link(nodes);
  const places: Record<Pool, number> = { ...options.places };
  const ready: Record<Pool, Node[]> = { build: [], fetch: [] };
  const busy: Record<Pool, number> = { build: 0, fetch: 0 };
  const vacated: Record<Pool, Set<Node>> = { build: new Set(), fetch: new Set() };
  let toLookUp: Node[] = [];
  let looking = 0;
  let parked = 0;
  let stopped = false;

  function node(key: string): Node {
    const found = byKey.get(key);
    if (found === undefined) throw new Error(`the plan has no node ${key}`);
    return found;
  }

  function expect(key: string, phase: Phase): Node {
    const found = node(key);
    if (found.phase !== phase) throw new Error(`node ${key} is ${found.phase}, not ${phase}`);
    return found;
  }

  function setKnown(target: Node, known: boolean): void {
    if (target.isKnown === known) return;
    target.isKnown = known;
    for (const user of target.users) {
      user.unknownNeeds += known ? -1 : 1;
      if (user.phase === "asked" && user.unknownNeeds === 0) toLookUp.push(user);
    }
  }

  function setHad(target: Node): void {
    target.phase = "had";
    for (const user of target.users) {
      user.missingNeeds -= 1;
      if (user.phase === "needed" && user.missingNeeds === 0) setReady(user);
    }
    setKnown(target, true);
  }

  function setReady(target: Node): void {
    target.phase = "ready";
    insertByRank(ready[target.pool], target);
  }

  /** Depth-first with a stack of its own: a chain may be longer than the call stack. */
  function ask(first: Node, had: boolean): void {
    const pending: { readonly target: Node; readonly had: boolean }[] = [{ target: first, had }];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const { target } = next;
      if (next.had) target.wantHad = true;
      if (target.phase === "idle") {
        target.phase = "asked";
        for (const need of target.needs) pending.push({ target: need, had: false });
        if (target.unknownNeeds === 0) toLookUp.push(target);
        else if (target.needs.some(isLost)) skip(target);
      } else if (target.phase === "known" && next.had) {
        need(target, pending);
      }
    }
  }

  function need(target: Node, pending: { readonly target: Node; readonly had: boolean }[]): void {
    if (target.needs.some(isLost)) return skip(target);
    target.phase = "needed";
    if (target.missingNeeds === 0) return setReady(target);
    for (const input of target.needs) pending.push({ target: input, had: true });
  }

  /** A need came out differently than its users were told: what they decided no longer holds. */
  function reconsiderUsers(changed: Node): void {
    for (const user of changed.users) {
      if (user.phase === "looking") user.isStale = true;
      if (user.phase !== "known" && user.phase !== "needed" && user.phase !== "ready") continue;
      setKnown(user, false);
      askAgain(user);
    }
  }

  function askAgain(target: Node): void {
    target.phase = "asked";
    if (target.unknownNeeds === 0) toLookUp.push(target);
  }

  function skip(first: Node): void {
    const pending = [first];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      next.phase = "skipped";
      pending.push(...next.users.filter((user) => user.phase === "asked" || user.phase === "needed" || user.phase === "ready"));
    }
  }

  function leave(target: Node): void {
    if (!vacated[target.pool].delete(target)) busy[target.pool] -= 1;
  }

  for (const goal of goals) ask(node(goal), true);

  return {
    lookups() {
      const batch: string[] = [];
      for (const target of toLookUp) {
        if (target.phase !== "asked" || target.unknownNeeds > 0 || stopped) continue;
        target.phase = "looking";
        batch.push(target.key);
      }
      toLookUp = [];
      looking += batch.length;
      return batch;
    },
    found(key, found) {
      const target = expect(key, "looking");
      looking -= 1;
      if (target.isStale) {
        target.isStale = false;
        return askAgain(target);
      }
      if (found.changed) reconsiderUsers(target);
      if (found.state === "valid" && !options.forced.has(key)) return setHad(target);
      if (found.state !== "unknown") {
        target.phase = "known";
        setKnown(target, true);
        if (target.wantHad) ask(target, true);
        return;
      }
      target.wantHad = true;
      target.phase = "known";
      ask(target, true);
    },
    starts() {
      const batch: string[] = [];
      if (stopped) return batch;
      for (const pool of ["fetch", "build"] as const) {
        while (busy[pool] < places[pool] && vacated[pool].size < AHEAD * places[pool]) {
          const target = ready[pool].pop();
          if (target === undefined) break;
          if (target.phase !== "ready") continue;
          target.phase = "running";
          busy[pool] += 1;
          batch.push(target.key);
        }
      }
      return batch;
    },
    finished(key, changed) {
      const target = expect(key, "running");
      leave(target);
      if (changed) reconsiderUsers(target);
      setHad(target);
    },
    failed(key) {
      const target = node(key);
      if (target.phase === "running") leave(target);
      else if (target.phase === "looking") looking -= 1;
      else throw new Error(`node ${key} is ${target.phase} and cannot fail`);
      skip(target);
      target.phase = "failed";
      if (!options.keepGoing) stopped = true;
    },
    vacate(key) {
      const target = expect(key, "running");
      if (vacated[target.pool].has(target)) return;
      vacated[target.pool].add(target);
      busy[target.pool] -= 1;
    },
    park(key) {
      const target = expect(key, "running");
      leave(target);
      target.phase = "parked";
      parked += 1;
    },
    wake(key) {
      const target = expect(key, "parked");
      parked -= 1;
      askAgain(target);
    },
    resize(pool, now) {
      places[pool] = now;
    },
    stop() {
      stopped = true;
    },
    isStopped: () => stopped,
    phase: (key) => node(key).phase,
    busy: (pool) => busy[pool],
    isDone() {
      if (busy.build + busy.fetch + vacated.build.size + vacated.fetch.size + looking > 0) return false;
      if (stopped) return true;
      if (parked > 0) return false;
      return toLookUp.every((target) => target.phase !== "asked") && !hasReady(ready.build) && !hasReady(ready.fetch);
    },
    rankMs: (key) => node(key).rankMs,
  };
}

function isLost(node: Node): boolean {
  return node.phase === "failed" || node.phase === "skipped";
}

function hasReady(queue: readonly Node[]): boolean {
  return queue.some((node) => node.phase === "ready");
}

function link(nodes: readonly PlanNode[]): ReadonlyMap<string, Node> {
  const byKey = new Map<string, Node>();
  const unknownMs = typicalMs(nodes);
  for (const [order, { key, pool, needs, expectedMs }] of nodes.entries()) {
    const linked: Node = {
      key,
      pool,
      order,
      needs: [],
      users: [],
      ownMs: expectedMs ?? unknownMs,
      rankMs: 0,
      phase: "idle",
      wantHad: false,
      isKnown: false,
      isStale: false,
      unknownNeeds: 0,
      missingNeeds: 0,
    };
    for (const name of new Set(needs)) {
      const need = byKey.get(name);
      if (need === undefined) throw new Error(`node ${key} needs ${name}, which does not come before it`);
      linked.needs.push(need);
      need.users.push(linked);
    }
    linked.unknownNeeds = linked.needs.length;
    linked.missingNeeds = linked.needs.length;
    byKey.set(key, linked);
  }
  for (const node of [...byKey.values()].toReversed()) {
    let above = 0;
    for (const user of node.users) above = Math.max(above, user.rankMs);
    node.rankMs = node.ownMs + above;
  }
  return byKey;
}

/** The median of what is known stands in for what is not. */
function typicalMs(nodes: readonly PlanNode[]): number {
  const known = nodes.flatMap((node) => node.expectedMs ?? []).toSorted((a, b) => a - b);
  return known[known.length >> 1] ?? UNKNOWN_MS;
}

/** Ascending, so that the next one to start is at the end; of equals the one that comes first in the graph starts first. */
function insertByRank(queue: Node[], node: Node): void {
  let low = 0;
  let high = queue.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const other = queue[middle];
    if (other === undefined) break;
    if (other.rankMs < node.rankMs || (other.rankMs === node.rankMs && other.order > node.order)) low = middle + 1;
    else high = middle;
  }
  queue.splice(low, 0, node);
}
