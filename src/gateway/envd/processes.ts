/**
 * The processes of one sandbox, by their ids in the guest.
 *
 *     starting ──► running ──► ended (kept: its exit and the last of its output, for whoever connects late) ──► forgotten
 *
 * A process belongs to nobody's connection: who started it may go, others may connect. It ends by itself, by a signal, or at the deadline
 * that its start was given, which takes everything it started along.
 */
import type { Channel, GuestCommand, GuestExit, GuestProcess } from "../../guest/index.ts";
import { RpcError, unavailable } from "./codes.ts";
import { messageEnvelope } from "./envelope.ts";
import type { Outlet } from "./outlet.ts";
import { dataEvent, endEvent, type Selector, startEvent } from "./process-messages.ts";
import type { Part, SessionState } from "./state.ts";
import { openTail, type Tail } from "./tail.ts";

/** Between two tries to kill what is past its time. */
const KILL_AGAIN_MS = 1000;
const KILL_AGAIN_MAX_MS = 60_000;

export interface ProcessConfig {
  readonly cmd: string;
  readonly args: readonly string[];
  readonly envs: Readonly<Record<string, string>>;
  readonly cwd: string | undefined;
}

export interface Start {
  readonly config: ProcessConfig;
  readonly tag: string | undefined;
  readonly command: GuestCommand;
  readonly timeoutMs: number | undefined;
}

export interface Entry {
  readonly pid: number;
  readonly start: Start;
  readonly process: GuestProcess;
}

interface Kept extends Entry {
  readonly outlets: Set<Outlet>;
  readonly tail: Tail;
  exit: GuestExit | undefined;
  /** Its time is over, and it is being killed. */
  expired: boolean;
}

export interface Processes extends Part {
  /** Settles when it runs and `outlet` has its start event. @throws Problem as Guest.spawn; RpcError resource_exhausted */
  start(start: Start, outlet: Outlet): Promise<void>;
  /** What comes from now on; of one that has ended, what is kept. @throws RpcError not_found */
  connect(selector: Selector, outlet: Outlet): void;
  /** One that runs. @throws RpcError not_found, invalid_argument */
  find(selector: Selector): Entry;
  list(): readonly Entry[];
}

function deliver(kept: Kept, chunk: Uint8Array, channel: Channel): Promise<unknown> | undefined {
  kept.tail.push(chunk, channel);
  if (kept.outlets.size === 0) return undefined;
  const frame = messageEnvelope(dataEvent(chunk, channel));
  const waits: Promise<void>[] = [];
  for (const outlet of kept.outlets) {
    outlet.send(frame);
    const drained = outlet.drained();
    if (drained !== undefined) waits.push(drained);
  }
  return waits.length === 0 ? undefined : Promise.all(waits);
}

function sendEnd(outlet: Outlet, exit: GuestExit): void {
  if (exit.lost) {
    outlet.end(unavailable(undefined));
    return;
  }
  outlet.send(messageEnvelope(endEvent(exit)));
  outlet.end();
}

function attach(kept: Kept, outlet: Outlet): void {
  kept.outlets.add(outlet);
  void outlet.closed.then(() => kept.outlets.delete(outlet));
}

function describe(selector: Selector): string {
  if (typeof selector?.pid === "number") return `process with pid ${selector.pid} not found`;
  if (typeof selector?.tag === "string") return `process with tag ${selector.tag} not found`;
  throw new RpcError("invalid_argument", "no process is selected: pid or tag");
}

export function openProcesses(state: SessionState): Processes {
  const { guest } = state.session;
  const { limits } = state;
  const running = new Map<number, Kept>();
  const ended = new Map<number, { readonly kept: Kept; readonly cancel: () => void }>();
  const timers = new Set<ReturnType<typeof setTimeout>>();
  let starting = 0;
  let closed = false;

  const after = (ms: number, work: () => void): (() => void) => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      work();
    }, ms);
    timers.add(timer);
    return () => {
      clearTimeout(timer);
      timers.delete(timer);
    };
  };

  const select = (selector: Selector, among: Iterable<Kept>): Kept => {
    const missing = describe(selector);
    const found = [...among].findLast(({ pid, start }) =>
      typeof selector?.pid === "number" ? pid === selector.pid : start.tag === selector?.tag,
    );
    if (found === undefined) throw new RpcError("not_found", missing);
    return found;
  };

  const forget = (pid: number) => {
    ended.get(pid)?.cancel();
    ended.delete(pid);
  };

  const keep = (kept: Kept) => {
    if (closed) return;
    forget(kept.pid);
    ended.set(kept.pid, { kept, cancel: after(limits.endedKeptMs, () => ended.delete(kept.pid)) });
    for (const pid of ended.keys()) {
      if (ended.size <= limits.endedKeptMax) break;
      forget(pid);
    }
  };

  /** A guest that is paused takes no signal, and gets it when it goes on. Ends with the process or the sandbox. */
  const kill = async (kept: Kept) => {
    const over = () => closed || kept.exit !== undefined;
    for (let waitMs = KILL_AGAIN_MS; !over(); waitMs = Math.min(2 * waitMs, KILL_AGAIN_MAX_MS)) {
      const sent = await kept.process.signal("SIGKILL").then(
        () => true,
        () => false,
      );
      if (sent) return;
      const waited = Promise.withResolvers<void>();
      after(waitMs, waited.resolve);
      await Promise.race([waited.promise, kept.process.exited]);
    }
  };

  /** At the deadline: the whole tree goes, then whoever started it is told; not much later than was promised, whatever the guest does. */
  const expire = async (kept: Kept, outlet: Outlet) => {
    kept.expired = true;
    kept.outlets.delete(outlet);
    const late = Promise.withResolvers<void>();
    const cancel = after(limits.killGraceMs, late.resolve);
    void kill(kept);
    await Promise.race([kept.process.exited, late.promise]);
    cancel();
    outlet.end(new RpcError("deadline_exceeded", `the process was killed after its ${kept.start.timeoutMs} ms`));
  };

  return {
    async start(start, outlet) {
      if (running.size + starting >= limits.processesMax) {
        throw new RpcError("resource_exhausted", `${limits.processesMax} processes are running in this sandbox already`);
      }
      starting += 1;
      const begun = Promise.withResolvers<Kept>();
      let kept: Kept | undefined;
      try {
        const process = await guest.spawn(start.command, (chunk, channel) =>
          // Output may come before the process's id: it waits for the start event, which is the first of all.
          kept === undefined ? begun.promise.then((one) => deliver(one, chunk, channel)) : deliver(kept, chunk, channel),
        );
        const fresh: Kept = {
          pid: process.pid,
          start,
          process,
          outlets: new Set(),
          tail: openTail(limits.tailMaxBytes),
          exit: undefined,
          expired: false,
        };
        // An id that the guest uses again is the new process's.
        forget(fresh.pid);
        running.set(fresh.pid, fresh);
        outlet.send(messageEnvelope(startEvent(fresh.pid)));
        attach(fresh, outlet);
        const cancel = start.timeoutMs === undefined ? undefined : after(start.timeoutMs, () => void expire(fresh, outlet));
        begun.resolve(fresh);
        kept = fresh;
        void process.exited.then((exit) => {
          cancel?.();
          fresh.exit = exit;
          if (running.get(fresh.pid) === fresh) running.delete(fresh.pid);
          for (const one of fresh.outlets) sendEnd(one, exit);
          if (!exit.lost) keep(fresh);
        });
      } finally {
        starting -= 1;
      }
    },
    connect(selector, outlet) {
      const kept = select(selector, [...[...ended.values()].map((one) => one.kept), ...running.values()]);
      outlet.send(messageEnvelope(startEvent(kept.pid)));
      const replay = (exit: GuestExit) => {
        for (const { chunk, channel } of kept.tail.pieces) outlet.send(messageEnvelope(dataEvent(chunk, channel)));
        sendEnd(outlet, exit);
      };
      if (kept.exit !== undefined) replay(kept.exit);
      // Its client, who counts as well, comes back before it is quite gone.
      else if (kept.expired) void kept.process.exited.then(replay);
      else attach(kept, outlet);
    },
    find: (selector) => select(selector, running.values()),
    list: () => [...running.values()],
    close() {
      closed = true;
      for (const timer of timers) clearTimeout(timer);
      timers.clear();
      running.clear();
      ended.clear();
    },
  };
}
