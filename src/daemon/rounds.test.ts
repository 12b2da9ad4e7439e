/** When a round begins: the timers are the test's, and say how long they were asked to wait. */
import { expect, test } from "bun:test";
import { openRounds, REST_MS, type Rounds, WAIT_FIRST_MS, WAIT_MAX_MS } from "./rounds.ts";
import type { EntryState, PoolEntry, Pools } from "./types.ts";

type Listener = Parameters<Pools["onEvent"]>[0];

const ENTRY: Omit<PoolEntry, "state"> = {
  id: "micro-1",
  pool: "micro",
  template: "micro",
  generation: 1,
  sinceMs: 0,
  createdAtMs: 0,
  address: "10.77.0.50",
  mac: "02:00:00:00:00:01",
  ssh: undefined,
  pid: undefined,
  directory: "/none",
  holder: undefined,
  from: "boot",
  memoryBytes: 0,
  cpus: 1,
  policy: { allowInternetAccess: false, allowOut: [], denyOut: [] },
  failure: undefined,
};

interface Place {
  readonly rounds: Rounds;
  /** What is waited for now, in milliseconds. */
  readonly waits: () => readonly number[];
  /** The time has come. */
  ring(): void;
  event(state: EntryState): void;
  /** The round that runs; it ends as is said. */
  running(): { readonly end: (error?: Error) => Promise<void>; readonly signal: AbortSignal | undefined };
  readonly begun: () => number;
  readonly faults: readonly unknown[];
}

function open(): Place {
  const listeners = new Set<Listener>();
  const timers = new Map<object, { readonly waitMs: number; readonly work: () => void }>();
  const faults: unknown[] = [];
  let begun = 0;
  let current: { readonly over: PromiseWithResolvers<void>; readonly signal: AbortSignal | undefined } | undefined;
  const rounds = openRounds({
    pools: {
      reconcile: ({ signal } = {}) => {
        begun += 1;
        current = { over: Promise.withResolvers<void>(), signal };
        return current.over.promise;
      },
      onEvent: (listener) => {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
    },
    onFault: (error) => faults.push(error),
    after: (waitMs, work) => {
      const key = {};
      timers.set(key, { waitMs, work });
      return { cancel: () => void timers.delete(key) };
    },
  });
  return {
    rounds,
    waits: () => [...timers.values()].map(({ waitMs }) => waitMs),
    ring: () => {
      const [first] = timers;
      if (first === undefined) throw new Error("nothing is waited for");
      timers.delete(first[0]);
      first[1].work();
    },
    event: (state) => {
      for (const listener of listeners) listener({ kind: "entry", entry: { ...ENTRY, state } });
    },
    running: () => {
      if (current === undefined) throw new Error("no round runs");
      const { over, signal } = current;
      return {
        signal,
        end: async (error) => {
          if (error === undefined) over.resolve();
          else over.reject(error);
          // Past the handlers of what has just settled.
          await new Promise<void>((resolve) => setImmediate(resolve));
        },
      };
    },
    begun: () => begun,
    faults,
  };
}

test("a round at the call, the next one after a rest, one at a time", async () => {
  const place = open();
  expect(place.begun()).toBe(0);
  place.rounds.call();
  place.rounds.call();
  expect([place.begun(), place.waits()]).toEqual([1, []]);
  await place.running().end();
  // The second call came while the first round ran.
  expect(place.begun()).toBe(2);
  await place.running().end();
  expect([place.begun(), place.waits()]).toEqual([2, [REST_MS]]);
  place.ring();
  expect([place.begun(), place.waits()]).toEqual([3, []]);
});

test("an event that leaves a place calls; one that fills it does not", async () => {
  const place = open();
  for (const state of ["preparing", "booting", "warming", "available", "paused"] as const) place.event(state);
  expect(place.begun()).toBe(0);
  place.event("in-use");
  expect(place.begun()).toBe(1);
  place.event("retiring");
  await place.running().end();
  expect(place.begun()).toBe(2);
  await place.running().end();
  expect(place.waits()).toEqual([REST_MS]);
});

test("failures in a row double the wait, whoever calls; one that went well ends that", async () => {
  const place = open();
  place.rounds.call();
  const waited: number[] = [];
  for (let round = 0; round < 9; round += 1) {
    // By what it throws, or by a machine that did not come up in it.
    if (round % 2 === 0) await place.running().end(new Error(`round ${round}`));
    else {
      place.event("failed");
      await place.running().end();
    }
    place.event("retiring");
    expect(place.begun()).toBe(round + 1);
    waited.push(...place.waits());
    place.ring();
  }
  expect(waited).toEqual(
    [1, 2, 4, 8, 16, 32].map((times) => times * WAIT_FIRST_MS).concat([WAIT_MAX_MS, WAIT_MAX_MS, WAIT_MAX_MS]),
  );
  expect(place.faults).toHaveLength(5);
  await place.running().end();
  expect(place.waits()).toEqual([REST_MS]);
});

test("closing cuts the round that runs and waits for its end; nothing begins after", async () => {
  const place = open();
  place.rounds.call();
  const { signal, end } = place.running();
  let closed = false;
  const closing = place.rounds.close().then(() => (closed = true));
  expect(signal?.aborted).toBe(true);
  expect(closed).toBe(false);
  await end(new Error("cut short"));
  await closing;
  place.event("in-use");
  place.rounds.call();
  expect([place.begun(), place.waits(), place.faults]).toEqual([1, [], []]);
});
