/**
 * A machine started anew, and watched from outside until it is known what runs there.
 *
 *     asked ──► gone ──► back ──┬─ what was chosen runs, and was good before ────────► started
 *                               ├─ it runs on trial ──ready──────────────────────────► confirmed
 *                               │         └─ starts anew by itself ──► back ──┐  └─ not ready in its time ──► unconfirmed
 *                               └─ another one runs ◄─────────────────────────┘ ────► fell-back
 *
 * A start has ten minutes to let us in; whoever is on trial has its own time besides. Asked is every two seconds: a machine tells nobody that it
 * is there.
 */
import { formatDuration, Problem } from "../base/index.ts";
import type { Connection } from "../remote/index.ts";
import { rebootScript } from "./scripts.ts";
import type { MachineStatus, RebootReport } from "./types.ts";

export interface Rebooting {
  readonly machine: string;
  readonly connection: Connection;
  readonly look: () => Promise<MachineStatus>;
  /** The generation that is to run. */
  readonly wanted: number;
  /** It has to be ready within this time. undefined: it was good before. */
  readonly trialSeconds: number | undefined;
  readonly before: MachineStatus;
  readonly now: () => number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((text: string) => void) | undefined;
  /** Default ten minutes. */
  readonly startLimitMs?: number;
  /** Default two seconds. */
  readonly askEachMs?: number;
}

const START_LIMIT_MS = 10 * 60_000;
const ASK_EACH_MS = 2_000;
/** After it fell back: until it is ready, and has written down what failed. */
const SETTLE_LIMIT_MS = 3 * 60_000;
/** Nobody is there, or goes away while he answers: it may be on its way. */
const NOT_THERE = new Set(["E_HOST_UNREACHABLE", "E_HOST_LOST"]);

/** @throws Problem E_NOT_BACK, those of Connection; the signal's reason */
export async function reboot(rebooting: Rebooting): Promise<RebootReport> {
  const { machine, wanted, trialSeconds, before, now, onProgress, startLimitMs = START_LIMIT_MS } = rebooting;
  const beganAtMs = now();
  await ask(rebooting);
  onProgress?.(`${machine} starts anew`);
  let status = await until(rebooting, startLimitMs, ({ bootId }) => bootId !== before.bootId);
  if (status === undefined) throw notBack(machine, startLimitMs);
  const report = (result: RebootReport["result"], last: MachineStatus): RebootReport => ({
    result,
    running: last.running,
    runningSystem: last.runningSystem,
    durationMs: now() - beganAtMs,
  });
  const stateOf = ({ generations }: MachineStatus) => generations.find(({ number }) => number === wanted)?.state;
  if (trialSeconds === undefined) return report(status.running === wanted ? "started" : "fell-back", status);
  if (status.running === wanted) {
    onProgress?.(`${machine} runs generation ${wanted}, on trial`);
    // It may start anew at the end of its time, and has to come back then.
    const limitMs = trialSeconds * 1000 + startLimitMs;
    const settled = await until(rebooting, limitMs, (seen) => seen.running !== wanted || stateOf(seen) === "good");
    if (settled === undefined) {
      const last = await rebooting.look().catch(() => undefined);
      return report("unconfirmed", last ?? status);
    }
    status = settled;
    if (status.running === wanted) return report("confirmed", status);
  }
  onProgress?.(`${machine} runs generation ${status.running ?? "?"} again`);
  const settled = await until(rebooting, SETTLE_LIMIT_MS, (seen) => stateOf(seen) !== "trial");
  return report("fell-back", settled ?? status);
}

/** The connection may go before the script's end. */
async function ask({ machine, connection, signal }: Rebooting): Promise<void> {
  try {
    await connection.run({ doing: `starting ${machine} anew`, body: rebootScript() }, signal === undefined ? {} : { signal });
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== "E_HOST_LOST") throw error;
  }
}

/** undefined: not in time. */
async function until(
  { look, now, signal, askEachMs = ASK_EACH_MS }: Rebooting,
  limitMs: number,
  holds: (status: MachineStatus) => boolean,
): Promise<MachineStatus | undefined> {
  const endMs = now() + limitMs;
  for (;;) {
    signal?.throwIfAborted();
    try {
      const status = await look();
      if (holds(status)) return status;
    } catch (error) {
      if (!(error instanceof Problem) || !NOT_THERE.has(error.code)) throw error;
    }
    if (now() >= endMs) return undefined;
    await pause(askEachMs, signal);
  }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end, { once: true });
  });
}

function notBack(machine: string, limitMs: number): Problem {
  return new Problem({
    code: "E_NOT_BACK",
    message: `${machine} was told to start anew, and did not let us in again within ${formatDuration(limitMs)}`,
    hint: "its console says how far it got; a generation on trial that hangs is given up at the next start",
  });
}
