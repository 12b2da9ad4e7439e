import { expect, test } from "bun:test";
import fc from "fast-check";
import { Problem } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { type Berth, isLoss, openRoster, type Roster, type RosterContext } from "./roster.ts";
import { type FakeOptions, fakeSite, lossOf } from "./sites.testing.ts";

const SYSTEM = "x86_64-linux";
const site = (host: string, jobs: number, options: Partial<FakeOptions> = {}) =>
  fakeSite(host, { system: SYSTEM, jobs, ...options });

function rosterOf(sites: RosterContext["sites"], changes: Partial<RosterContext> = {}) {
  const awaited: string[] = [];
  const roster = openRoster({
    sites,
    localJobs: 1,
    noSite: () => new Problem({ code: "E_NO_SITE", message: "no site" }),
    onAwaited: (_key, host) => awaited.push(host),
    waitsMs: [0, 0, 0],
    signal: undefined,
    ...changes,
  });
  return { roster, awaited };
}

const nameOf = ({ site: { host } }: Berth): string | undefined => host;
const take = (roster: Roster): Promise<Berth> => roster.take("step");

/** Whether a promise has settled once everything that is due was done. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const note = (): void => {
    settled = true;
  };
  promise.then(note, note);
  await new Promise((resolve) => setImmediate(resolve));
  return settled;
}

test("the site with most free places is taken, the first of equals; who finds none waits in line", async () => {
  const { roster } = rosterOf([site("a", 1), site("b", 2)]);
  expect(roster.places).toBe(3);
  const berths = [await take(roster), await take(roster), await take(roster)];
  expect(berths.map(nameOf)).toEqual(["b", "a", "b"]);
  const [fourth, fifth] = [take(roster), take(roster)];
  expect(await isSettled(fourth)).toBe(false);
  berths[1]?.leave();
  berths[1]?.leave();
  expect(nameOf(await fourth)).toBe("a");
  expect(await isSettled(fifth)).toBe(false);
  // What is short waits for nobody.
  expect(nameOf(await roster.beside("step"))).toBe("a");
});

test("--jobs counts for this machine alone", () => {
  const local = { ...site("x", 8), host: undefined };
  expect(rosterOf([local, site("a", 3)], { localJobs: 2 }).roster.places).toBe(5);
});

test("a host that is lost gets nothing more, and its places are gone", async () => {
  const { roster } = rosterOf([site("a", 1), site("b", 2)]);
  const told: number[] = [];
  roster.watch((places) => told.push(places));
  const berth = await take(roster);
  roster.lost(berth, lossOf("b", "E_HOST_LOST"));
  berth.leave();
  expect(told).toEqual([1]);
  const next = await take(roster);
  expect(nameOf(next)).toBe("a");
  expect(await isSettled(take(roster))).toBe(false);
});

test("the only host is asked until it answers, and comes back once", async () => {
  const only = site("a", 2, { answers: (nth) => nth === 1 });
  const { roster, awaited } = rosterOf([only]);
  const [first, second] = [await take(roster), await take(roster)];
  roster.lost(first, lossOf("a", "E_HOST_LOST"));
  // The same loss, seen by another step.
  roster.lost(second, lossOf("a", "E_HOST_LOST"));
  first.leave();
  second.leave();
  const again = await take(roster);
  expect([nameOf(again), only.asked, awaited]).toEqual(["a", 2, ["a"]]);
  // What a step of its earlier life says is old.
  roster.lost(second, lossOf("a", "E_HOST_LOST"));
  expect(roster.working).toHaveLength(1);
  roster.lost(again, lossOf("a", "E_HOST_FULL"));
  expect((await problemOf(take(roster))).code).toBe("E_HOST_FULL");
  expect(only.asked).toBe(2);
});

test("a host that never answers is not waited for longer than was said; all who wait are told why it went", async () => {
  const only = site("a", 1, { answers: () => false });
  const { roster } = rosterOf([only]);
  const berth = await take(roster);
  const waiting = take(roster);
  roster.lost(berth, lossOf("a", "E_HOST_LOST"));
  berth.leave();
  expect(await Promise.all([problemOf(waiting), problemOf(take(roster))])).toMatchObject([
    { code: "E_HOST_LOST" },
    { code: "E_HOST_LOST" },
  ]);
  expect(only.asked).toBe(3);
});

test("a host that could not be reached from the first, or that does not let us in, is not waited for", async () => {
  for (const code of ["E_HOST_UNREACHABLE", "E_HOST_DENIED", "E_HOST_KEY"] as const) {
    const only = site("a", 1);
    const { roster } = rosterOf([only]);
    roster.lost(await take(roster), lossOf("a", code));
    expect((await problemOf(take(roster))).code).toBe(code);
    expect(only.asked).toBe(0);
  }
});

test("nothing is waited for when the build is cancelled", async () => {
  const controller = new AbortController();
  const { roster } = rosterOf([site("a", 1)], { signal: controller.signal });
  await take(roster);
  const waiting = take(roster);
  controller.abort();
  expect((await problemOf(waiting)).exit).toBe(130);
  expect((await problemOf(take(roster))).exit).toBe(130);
});

test("without a site it says so", async () => {
  const { roster } = rosterOf([]);
  expect(() => roster.require()).toThrow("no site");
  expect((await problemOf(take(roster))).code).toBe("E_NO_SITE");
});

test("only what a host may say costs a retry: a builder's own failure does not, and this machine is never lost", () => {
  const host = site("a", 1);
  const failed = new Problem({ code: "E_BUILD_FAILED", message: "status 1" });
  expect([isLoss(host, lossOf("a", "E_HOST_LOST")), isLoss(host, failed), isLoss(host, new Error("a bug"))]).toEqual([
    true,
    false,
    false,
  ]);
  expect(isLoss({ ...host, host: undefined }, lossOf("a", "E_HOST_LOST"))).toBe(false);
});

test("whatever fails: each step is done once or hears of a loss, and no site runs more than it has places for", async () => {
  const codes = ["E_HOST_LOST", "E_HOST_UNREACHABLE", "E_HOST_FULL", "E_HOST_KEY"] as const;
  const host = fc.record({
    jobs: fc.integer({ min: 1, max: 3 }),
    fates: fc.array(fc.constantFrom(0, 0, ...codes), { maxLength: 8 }),
    answers: fc.array(fc.boolean(), { maxLength: 3 }),
    delays: fc.array(fc.nat(3), { minLength: 1, maxLength: 4 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(host, { minLength: 1, maxLength: 3 }), fc.integer({ min: 1, max: 12 }), async (hosts, steps) => {
      const sites = hosts.map(({ jobs, fates, answers, delays }, index) => {
        let turns = 0;
        return site(`h${index}`, jobs, {
          fate: (nth) => fates[nth] ?? 0,
          answers: (nth) => answers[nth] ?? false,
          before: async () => {
            for (let left = delays[turns++ % delays.length] ?? 0; left > 0; left -= 1) {
              await new Promise((resolve) => setImmediate(resolve));
            }
          },
        });
      });
      const { roster } = rosterOf(sites);
      const done = new Map<number, number>();
      const work = async (step: number): Promise<void> => {
        for (;;) {
          const berth = await roster.take(String(step));
          try {
            await berth.site.run(REQUEST, { onOutput: () => undefined });
            done.set(step, (done.get(step) ?? 0) + 1);
            return;
          } catch (error) {
            if (!isLoss(berth.site, error)) throw error;
            roster.lost(berth, error);
          } finally {
            berth.leave();
          }
        }
      };
      const ends = await Promise.allSettled(Array.from({ length: steps }, (_, step) => work(step)));
      for (const [step, end] of ends.entries()) {
        expect(done.get(step) ?? 0).toBe(end.status === "fulfilled" ? 1 : 0);
        if (end.status === "rejected") expect(codes).toContain(end.reason.code);
      }
      // Somebody who works leaves nobody behind.
      if (roster.working.length > 0) expect(done.size).toBe(steps);
      for (const [index, { most, jobs }] of sites.entries()) {
        expect(most).toBeLessThanOrEqual(jobs);
        // Lost at most twice: what runs there when it is lost, and once more after it came back.
        const losses = hosts[index]?.fates.slice(0, sites[index]?.begun.length).filter((fate) => fate !== 0).length ?? 0;
        expect(losses).toBeLessThanOrEqual(2 * jobs);
      }
    }),
    { numRuns: 300 },
  );
});

const REQUEST = {
  hash: "0".repeat(64),
  name: "step",
  system: SYSTEM,
  root: { kind: "host", paths: ["/bin"] },
  inputs: [],
  outputs: {},
  scratch: "/tmp/none",
  identity: { kind: "drop", uid: 35_001, gid: 35_001 },
  network: false,
  argv: ["/bin/sh"],
  env: {},
  limits: {
    wallClockMs: 1,
    silenceMs: 1,
    memoryBytes: 1,
    processes: 1,
    openFiles: 1,
    outputBytes: 1,
    logBytes: 1,
  },
} as const;
