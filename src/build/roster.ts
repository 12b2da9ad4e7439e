/**
 * Where the steps of one build run: the sites of its system, and how many places each has left.
 *
 *     working ──went away──► lost ──nobody else is left, it was seen before, and it answers──► working, for the last time
 *                              └──────────────────────────────────────────────────────────────► gone
 *
 * A step takes a place at the site that has most free ones, and waits in line when there are none. What is lost with a host costs
 * nothing but time: its steps take a place elsewhere. When no site is left, those that went away are asked again, some times
 * and then no more; everybody who waits is told why the last one went.
 */
import { Problem } from "../base/index.ts";
import type { Site } from "../sandbox/index.ts";
import { interrupted } from "./failure.ts";
import { pause } from "./pause.ts";

/** `--on here`: this machine and no other. No host has this name. */
export const HERE = "here";

/** How long a host that is the last one is waited for, between one question and the next: two minutes in all. */
export const ANSWER_WAITS_MS: readonly number[] = [1_000, 2_000, 4_000, 8_000, 15_000, 30_000, 30_000, 30_000];

/** After these a build may be tried elsewhere: nothing of it was registered, and none says anything about what is built. */
const LOSSES: ReadonlySet<string> = new Set([
  "E_HOST_LOST",
  "E_HOST_UNREACHABLE",
  "E_HOST_FULL",
  "E_HOST_DAMAGED",
  "E_HOST_KEY",
  "E_HOST_DENIED",
]);
/** Of these, those that pass by themselves. */
const PASSING: ReadonlySet<string> = new Set(["E_HOST_LOST", "E_HOST_UNREACHABLE"]);

/** A place at a site. */
export interface Berth {
  readonly site: Site;
  /** Gives it back; again it does nothing. */
  leave(): void;
}

export interface Roster {
  /** Sites that work, the one first that is taken when all are free alike. */
  readonly working: readonly Site[];
  /** Places of all that work, and never none: who starts without a site hears why. */
  readonly places: number;
  /** @throws Problem E_NO_SITE when there was never one */
  require(): void;
  /** Of the step with that key. @throws Problem of the site that went last, E_NO_SITE, E_INTERRUPTED */
  take(key: string): Promise<Berth>;
  /** For what is short and needs no place: it goes to the first that works. @throws as `take` */
  beside(key: string): Promise<Berth>;
  /** The berth's site went away: it gets no more steps. */
  lost(berth: Berth, problem: Problem): void;
  /** Told whenever `places` changed. */
  watch(onPlaces: (places: number) => void): void;
}

export interface RosterContext {
  /** Those of the build's system, this machine first. */
  readonly sites: readonly Site[];
  /** At one time on this machine. */
  readonly localJobs: number;
  /** What is thrown when there was never a site. */
  readonly noSite: () => Problem;
  /** Somebody waits for the host to answer again. */
  readonly onAwaited: (key: string, host: string, problem: Problem, upToMs: number) => void;
  readonly waitsMs: readonly number[];
  readonly signal: AbortSignal | undefined;
}

interface Entry {
  readonly site: Site;
  readonly places: number;
  busy: number;
  isWorking: boolean;
  /** Something ran there in this build. */
  wasSeen: boolean;
  cameBack: boolean;
  loss: Problem | undefined;
  /** How many times it was lost: what is said of an earlier time says nothing new. */
  life: number;
}

interface Waiting {
  readonly key: string;
  readonly needsPlace: boolean;
  readonly settle: PromiseWithResolvers<Berth>;
}

export function isLoss(site: Site, error: unknown): error is Problem {
  return site.host !== undefined && error instanceof Problem && LOSSES.has(error.code);
}

export function openRoster(context: RosterContext): Roster {
  const entries = context.sites.map((site): Entry => ({
    site,
    places: Math.max(1, Math.trunc(site.host === undefined ? context.localJobs : site.jobs)),
    busy: 0,
    isWorking: true,
    wasSeen: false,
    cameBack: false,
    loss: undefined,
    life: 0,
  }));
  const berths = new WeakMap<Berth, { readonly entry: Entry; readonly life: number }>();
  let line: Waiting[] = [];
  let lastLoss: Problem | undefined;
  let asking = false;
  let onPlaces: (places: number) => void = () => undefined;

  const working = (): readonly Entry[] => entries.filter(({ isWorking }) => isWorking);
  const places = (): number =>
    Math.max(
      1,
      working().reduce((sum, entry) => sum + entry.places, 0),
    );

  function berthAt(entry: Entry, takesPlace: boolean): Berth {
    if (takesPlace) entry.busy += 1;
    const { life } = entry;
    let isTaken = true;
    const berth: Berth = {
      site: entry.site,
      leave: () => {
        if (!isTaken) return;
        isTaken = false;
        if (entry.isWorking && entry.life === life) entry.wasSeen = true;
        if (!takesPlace) return;
        entry.busy -= 1;
        serve();
      },
    };
    berths.set(berth, { entry, life });
    return berth;
  }

  function roomiest(): Entry | undefined {
    let best: Entry | undefined;
    for (const entry of working()) {
      const free = entry.places - entry.busy;
      if (free > 0 && (best === undefined || free > best.places - best.busy)) best = entry;
    }
    return best;
  }

  /** Gives out what is free, in the order in which it was asked for. */
  function serve(): void {
    const left: Waiting[] = [];
    for (const waiting of line) {
      const entry = waiting.needsPlace ? roomiest() : working()[0];
      if (entry === undefined) left.push(waiting);
      else waiting.settle.resolve(berthAt(entry, waiting.needsPlace));
    }
    line = left;
    if (line.length > 0 && working().length === 0) askAgain();
  }

  function refuse(problem: Problem): void {
    const refused = line;
    line = [];
    for (const { settle } of refused) settle.reject(problem);
  }

  function mayReturn({ loss, cameBack, wasSeen }: Entry): boolean {
    return loss !== undefined && !cameBack && PASSING.has(loss.code) && (wasSeen || loss.code === "E_HOST_LOST");
  }

  /** Nobody is left: those that may come back are asked until one answers. */
  function askAgain(): void {
    if (asking) return;
    const candidates = entries.filter(mayReturn);
    const [first] = candidates;
    if (first?.site.host === undefined || first.loss === undefined) return refuse(lastLoss ?? context.noSite());
    const upToMs = context.waitsMs.reduce((sum, waitMs) => sum + waitMs, 0);
    context.onAwaited(line[0]?.key ?? "", first.site.host, first.loss, upToMs);
    asking = true;
    askUntilAnswered(candidates)
      .catch(() => undefined)
      .then((found) => {
        asking = false;
        if (found === undefined) return refuse(lastLoss ?? context.noSite());
        found.isWorking = true;
        found.cameBack = true;
        found.life += 1;
        onPlaces(places());
        serve();
      });
  }

  async function askUntilAnswered(candidates: readonly Entry[]): Promise<Entry | undefined> {
    for (const waitMs of context.waitsMs) {
      await pause(waitMs, context.signal);
      if (context.signal?.aborted === true) return undefined;
      for (const entry of candidates) if (await entry.site.answers().catch(() => false)) return entry;
    }
    return undefined;
  }

  function ask(key: string, needsPlace: boolean): Promise<Berth> {
    if (context.signal?.aborted === true) return Promise.reject(interrupted("building"));
    const settle = Promise.withResolvers<Berth>();
    line.push({ key, needsPlace, settle });
    serve();
    return settle.promise;
  }

  context.signal?.addEventListener("abort", () => refuse(interrupted("building")), { once: true });

  return {
    get working() {
      return working().map(({ site }) => site);
    },
    get places() {
      return places();
    },
    require() {
      if (entries.length === 0) throw context.noSite();
    },
    take: (key) => ask(key, true),
    beside: (key) => ask(key, false),
    lost(berth, problem) {
      const known = berths.get(berth);
      if (known === undefined) throw new Error("a berth of another build");
      const { entry, life } = known;
      if (life !== entry.life || !entry.isWorking) return;
      entry.isWorking = false;
      entry.loss = problem;
      lastLoss = problem;
      onPlaces(places());
    },
    watch(told) {
      onPlaces = told;
    },
  };
}
