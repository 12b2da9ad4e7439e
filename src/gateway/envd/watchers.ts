/**
 * Watches of one sandbox's directories: streamed to a client, or kept for one that asks for what has happened (watchers). A watcher that
 * nobody asks for some time is let go of; one whose events nobody takes loses the oldest.
 */
import type { GuestEntry, WatchEvent } from "../../guest/index.ts";
import { RpcError, unavailable } from "./codes.ts";
import { messageEnvelope } from "./envelope.ts";
import { watchEvent } from "./filesystem-messages.ts";
import type { Outlet } from "./outlet.ts";
import type { Part, SessionState } from "./state.ts";

/** Events that wait until their file was looked at; further ones go without. */
const LOOKS_MAX = 1024;

export interface WatchPlan {
  readonly path: string;
  readonly recursive: boolean;
  readonly includeEntry: boolean;
}

interface Watcher {
  readonly events: object[];
  failed: boolean;
  close(): void;
  touch(): void;
}

export interface Watchers extends Part {
  /** Settles when every change from now on is sent. @throws Problem as Guest.watch */
  stream(plan: WatchPlan, outlet: Outlet): Promise<void>;
  /** Its id. @throws Problem as Guest.watch; RpcError resource_exhausted */
  create(plan: WatchPlan): Promise<string>;
  /** What has happened since the last time. @throws RpcError not_found, unavailable */
  take(id: string): readonly object[];
  /** @throws RpcError not_found */
  remove(id: string): void;
}

export function openWatchers(state: SessionState): Watchers {
  const { guest } = state.session;
  const { limits } = state;
  const watchers = new Map<string, Watcher>();
  const streams = new Set<() => void>();
  let creating = 0;
  let closed = false;

  /** Each event in its order, with the entry it is about where that is asked for and still there. */
  const watch = async (plan: WatchPlan, onEvent: (event: object) => void) => {
    let chain = Promise.resolve();
    let looking = 0;
    const look = async (event: WatchEvent): Promise<GuestEntry | undefined> => {
      if (!plan.includeEntry || event.kind === "remove" || event.kind === "rename") return undefined;
      if (looking > LOOKS_MAX) return undefined;
      looking += 1;
      try {
        return await guest.files.stat(`${plan.path === "/" ? "" : plan.path}/${event.name}`);
      } catch {
        // Gone again, as files that are written and renamed are.
        return undefined;
      } finally {
        looking -= 1;
      }
    };
    return await guest.watch(plan.path, { recursive: plan.recursive }, (event) => {
      if (!plan.includeEntry) {
        onEvent(watchEvent(event, undefined));
        return;
      }
      const entry = look(event);
      chain = chain.then(async () => onEvent(watchEvent(event, await entry)));
    });
  };

  const find = (id: string): Watcher => {
    const watcher = watchers.get(id);
    if (watcher === undefined) throw new RpcError("not_found", `watcher with id ${id} not found`);
    return watcher;
  };

  return {
    async stream(plan, outlet) {
      const early: object[] = [];
      let started = false;
      const send = (event: object) => outlet.send(messageEnvelope({ filesystem: event }));
      const watching = await watch(plan, (event) => (started ? send(event) : early.push(event)));
      outlet.send(messageEnvelope({ start: {} }));
      started = true;
      for (const event of early) send(event);
      const close = () => watching.close();
      streams.add(close);
      if (closed) close();
      void outlet.closed.then(() => {
        streams.delete(close);
        close();
      });
      void watching.closed.then(() => outlet.end(unavailable(undefined)));
    },
    async create(plan) {
      if (watchers.size + creating >= limits.watchersMax) {
        throw new RpcError("resource_exhausted", `there are ${limits.watchersMax} watchers in this sandbox already`);
      }
      creating += 1;
      try {
        const events: object[] = [];
        const watching = await watch(plan, (event) => {
          if (events.length >= limits.watcherEventsMax) events.shift();
          events.push(event);
        });
        const id = crypto.randomUUID();
        const idle = setTimeout(() => watcher.close(), limits.watcherIdleMs);
        const watcher: Watcher = {
          events,
          failed: false,
          touch: () => idle.refresh(),
          close: () => {
            clearTimeout(idle);
            watchers.delete(id);
            watching.close();
          },
        };
        watchers.set(id, watcher);
        void watching.closed.then(() => {
          watcher.failed = true;
        });
        if (closed) watcher.close();
        return id;
      } finally {
        creating -= 1;
      }
    },
    take(id) {
      const watcher = find(id);
      if (watcher.failed && watcher.events.length === 0) {
        watcher.close();
        throw unavailable(undefined);
      }
      watcher.touch();
      return watcher.events.splice(0);
    },
    remove: (id) => find(id).close(),
    close() {
      closed = true;
      for (const close of streams) close();
      for (const watcher of watchers.values()) watcher.close();
    },
  };
}
