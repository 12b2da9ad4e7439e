/**
 * One build on a host, from its script's first line to its last.
 *
 *     started ──► printing ──► hold ──┬─ exited 0: fetch ──► line ──► ended
 *        │            │               └─ failed: "keep" or a line ──► ended
 *        │            └─ silence, too much, cancelled: leash let go ──► ended
 *        └─ ended without hold: why, by its events
 *
 * Time and what is written are watched there; silence and what is printed here, where they are seen.
 */
import { operatingSystemOf, Problem } from "../base/index.ts";
import type { ScriptEvent } from "../host/index.ts";
import {
  endOf,
  type JobReport,
  limitReached,
  readJobReport,
  type RunOptions,
  type SandboxPlan,
  type SandboxResult,
  type SiteRun,
} from "../sandbox/index.ts";
import type { Connection, HostFacts, HostStore, RunningScript } from "./types.ts";

/** In how many parts of the silence limit it is looked at. */
const LOOKS = 20;
const LOOK_MIN_MS = 10;
const LOOK_MAX_MS = 1_000;

export interface Job {
  readonly host: string;
  readonly facts: Pick<HostFacts, "release" | "osVersion">;
  readonly plan: SandboxPlan;
  readonly body: string;
  /** There -> here. */
  readonly trees: readonly { readonly from: string; readonly to: string }[];
  /** What a person types to enter what was kept. */
  readonly enter: string;
}

export type ServedJob =
  | { readonly kind: "ran"; readonly run: SiteRun }
  /** Nothing ran: these inputs are not there. */
  | { readonly kind: "missing"; readonly missing: readonly string[] };

/** @throws Problem of the connection, of the fetch, E_SANDBOX_SETUP, E_SANDBOX_STUCK */
export async function serveJob(
  { connection, store }: { readonly connection: Connection; readonly store: HostStore },
  job: Job,
  options: RunOptions & { readonly keep?: boolean },
): Promise<ServedJob> {
  const { plan } = job;
  const { signal } = options;
  const events: ScriptEvent[] = [];
  const held = Promise.withResolvers<void>();
  const started = performance.now();
  let endedAtMs: number | undefined;
  const watch = watchPrinting(plan, () => running.letGo());
  const running: RunningScript = connection.start(
    { doing: `building ${plan.hostname}`, body: job.body },
    {
      onEvent: (event) => {
        events.push(event);
        if (event.name === "started") watch.start();
        if (event.name === "absent") options.onNote?.(absentNote(job, Number(event.fields[0])));
        if (event.name === "exited") endedAtMs = performance.now();
        if (event.name === "hold") held.resolve();
      },
      onOutput: (chunk) => {
        const within = watch.printed(chunk.byteLength);
        if (within > 0) options.onOutput(chunk.subarray(0, within));
      },
      ...(signal === undefined ? {} : { signal }),
    },
  );
  const ended = running.ended.then(
    ({ status, words }) => ({ status, words, error: undefined }),
    (error: unknown) => ({ status: undefined, words: [], error }),
  );
  await Promise.race([held.promise, ended]);
  watch.stop();
  const report = readJobReport(events);
  const durationMs = (endedAtMs ?? performance.now()) - started;
  const isHeld = events.some(({ name }) => name === "hold");
  const verdict = verdictOf(plan, report, watch.breach, signal?.aborted === true);
  let isFetched = false;
  let isKept = false;
  if (isHeld) {
    if (verdict?.kind === "exited" && verdict.status === 0) {
      try {
        await store.fetch(job.trees, signal === undefined ? {} : { signal });
        isFetched = true;
      } catch (error) {
        running.letGo();
        await ended;
        if (signal?.aborted === true) return ran(job, report, { kind: "cancelled" }, durationMs);
        throw error;
      }
    }
    isKept = options.keep === true && !isFetched && verdict !== undefined && verdict.kind !== "cancelled";
    running.send(isKept ? "keep" : "done");
  }
  const end = await ended;
  if (report.stuck || readJobReport(events).stuck) throw stuck(job, end.words);
  if (verdict?.kind === "cancelled" || verdict?.kind === "limit") return ran(job, report, verdict, durationMs, isKept);
  // What was fetched is whole, whatever became of the connection since.
  if (end.error !== undefined && !isFetched) throw end.error;
  if (report.missing.length > 0) {
    return { kind: "missing", missing: report.missing.map((index) => plan.mounts[index]?.target ?? `mount ${index}`) };
  }
  if (verdict === undefined) throw notMade(job, report, end.words);
  return ran(job, report, verdict, durationMs, isKept);
}

/** A build that was cancelled before anything of it ran. */
export function cancelledRun(of: Pick<Job, "host" | "facts" | "plan" | "enter">): SiteRun {
  return runOf(of, readJobReport([]), { kind: "cancelled" }, 0, false);
}

/** undefined: the builder never ended, because it never began. */
function verdictOf(
  plan: SandboxPlan,
  { limit, status }: JobReport,
  breach: SandboxResult | undefined,
  cancelled: boolean,
): SandboxResult | undefined {
  if (breach !== undefined) return breach;
  if (limit !== undefined) return limitReached(limit.name, limit.value);
  if (cancelled) return { kind: "cancelled" };
  return status === undefined ? undefined : endOf(status, plan.system);
}

function ran(job: Job, report: JobReport, result: SandboxResult, durationMs: number, isKept = false): ServedJob {
  return { kind: "ran", run: runOf(job, report, result, durationMs, isKept) };
}

function runOf(
  { host, facts: { release, osVersion }, plan, enter }: Pick<Job, "host" | "facts" | "plan" | "enter">,
  { user, limits }: JobReport,
  result: SandboxResult,
  durationMs: number,
  isKept: boolean,
): SiteRun {
  return {
    result,
    use: {
      uid: user?.uid ?? plan.identity.uid,
      gid: user?.gid ?? plan.identity.gid,
      hostname: plan.hostname,
      mode: operatingSystemOf(plan.system) === "freebsd" ? "freebsd-jail" : "linux-bubblewrap",
      durationMs,
      peakMemoryBytes: undefined,
      ...(limits === undefined ? {} : { limits }),
      on: { host, release, ...(osVersion === undefined ? {} : { osVersion }) },
    },
    ...(isKept ? { kept: { directory: `${host}:${plan.scratch}`, enter } } : {}),
  };
}

function absentNote({ host, plan }: Job, index: number): string {
  const path = plan.root.kind === "host" ? plan.root.paths[index] : undefined;
  return `the host view's ${path ?? `path ${index}`} is not there on ${host}`;
}

interface Printing {
  /** The first output is waited for from now on. */
  start(): void;
  /** How much of it is within the limit. */
  printed(bytes: number): number;
  readonly breach: (SandboxResult & { readonly kind: "limit" }) | undefined;
  stop(): void;
}

function watchPrinting({ limits }: SandboxPlan, onBreach: () => void): Printing {
  let breach: Printing["breach"];
  let lastMs = 0;
  let printedBytes = 0;
  let timer: ReturnType<typeof setInterval> | undefined;
  const found = (limit: "silenceMs" | "logBytes"): void => {
    if (breach !== undefined) return;
    breach = limitReached(limit, limits[limit]);
    clearInterval(timer);
    onBreach();
  };
  return {
    start: () => {
      lastMs = performance.now();
      const everyMs = Math.min(LOOK_MAX_MS, Math.max(LOOK_MIN_MS, limits.silenceMs / LOOKS));
      timer ??= setInterval(() => {
        if (performance.now() - lastMs >= limits.silenceMs) found("silenceMs");
      }, everyMs);
    },
    printed: (bytes) => {
      lastMs = performance.now();
      const room = Math.max(0, limits.logBytes - printedBytes);
      printedBytes += bytes;
      if (printedBytes > limits.logBytes) found("logBytes");
      return Math.min(bytes, room);
    },
    get breach() {
      return breach;
    },
    stop: () => clearInterval(timer),
  };
}

function stuck({ host, plan, enter }: Job, words: readonly string[]): Problem {
  return new Problem({
    code: "E_SANDBOX_STUCK",
    message: `building ${plan.hostname} on ${host}: the sandbox or a mount of it could not be removed`,
    details: words,
    where: `${host}:${plan.scratch}`,
    hint: `to try again: ${enter.replace(/ enter('?)$/, " teardown$1")}`,
  });
}

function notMade({ host, plan }: Job, report: JobReport, words: readonly string[]): Problem {
  const refused = report.refused.map((index) => {
    const mount = plan.mounts[index];
    return `the place of ${mount?.target ?? `mount ${index}`} would be reached through a symlink: nothing was mounted`;
  });
  const taken = report.taken === undefined ? [] : [`a jail ${report.taken} is there, and is somebody else's`];
  return new Problem({
    code: "E_SANDBOX_SETUP",
    message: report.created
      ? `building ${plan.hostname} on ${host}: the sandbox was made, and its script ended before the builder did`
      : `building ${plan.hostname} on ${host}: the sandbox could not be set up; the builder was not started`,
    details: [...refused, ...taken, ...words],
    hint: `garth host check ${host} says what it lacks`,
    exit: 3,
  });
}
