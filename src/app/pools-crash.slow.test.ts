/**
 * A Garth that is killed at any step of warming, checkout and return leaves nothing that the next one does not adopt or undo: no
 * process, no interface, no directory, no row. Real machines of the example's template, on networks of their own and on a bridge.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import type { Pools } from "../pool/index.ts";
import type { Garth } from "./index.ts";
import { garthWithTemplates, KEPT_ROOT } from "./templates.testing.ts";

const LIMIT_MS = 900_000;
const KILLS = 20;
const CHILD = `${import.meta.dir}/pools-crash.child.ts`;
let garth: Garth;
let pools: Pools;

beforeAll(async () => {
  garth = await garthWithTemplates("micro");
  pools = await garth.pools();
}, LIMIT_MS);
afterAll(async () => {
  await garth.close();
});

/** The same numbers in every run: linear congruential, Numerical Recipes. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state % below;
  };
}

/** Command lines of all processes that name the text. */
function processesWith(text: string): readonly string[] {
  return fs.readdirSync("/proc").flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      const line = fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      return line.includes(text) && !line.includes("pools-crash.child") ? [line.slice(0, 160)] : [];
    } catch {
      return [];
    }
  });
}

/** Lets a child work until it has said `steps` lines, waits a little longer, and kills it. Returns what it said last. */
async function killAfter(pool: string, network: string, steps: number, thenMs: number): Promise<string> {
  let said = "";
  let lines = 0;
  const reached = Promise.withResolvers<void>();
  const child = garth.host.spawn(
    { argv: [process.execPath, CHILD, KEPT_ROOT, pool, network] },
    {
      onOutput: (chunk, stream) => {
        const text = Buffer.from(chunk).toString();
        said += text;
        if (stream === "stdout") lines += text.split("\n").length - 1;
        if (lines >= steps) reached.resolve();
      },
    },
  );
  const ended = child.exited.then((exit) => {
    throw new Error(`the child ended by itself (${exit.status}): ${said.slice(-2000)}`);
  });
  ended.catch(() => undefined);
  await Promise.race([reached.promise, ended]);
  if (thenMs > 0) await Promise.race([Bun.sleep(thenMs), ended]);
  child.kill("SIGKILL");
  await child.exited;
  return said.trim().split("\n").at(-1) ?? "";
}

async function links(): Promise<readonly string[]> {
  const done = await garth.host.run({ argv: ["ip", "-o", "link"] });
  const namespaces = await garth.host.run({ argv: ["ip", "netns", "list"] });
  return [...done.text().split("\n"), ...namespaces.text().split("\n")].filter(
    (line) => line.includes("gth") || line.includes("garth"),
  );
}

describe.each(["user", "bridge"])("network %s", (network) => {
  test(
    `killed ${KILLS / 2} times at steps chosen by chance, nothing is left after the next start and a drain`,
    async () => {
      const pool = `crash-${network}`;
      const chance = numbers(network === "user" ? 1 : 2);
      const before = await links();
      const notes: string[] = [];
      const stop = pools.onEvent((event) => {
        if (event.kind === "note" && event.pool === pool) notes.push(event.text);
      });
      for (let kill = 0; kill < KILLS / 2; kill += 1) {
        const last = await killAfter(pool, network, 1 + chance(24), chance(3) * 40);
        // The next start adopts what lives and undoes the rest.
        await pools.reconcile({ refill: false });
        for (const entry of pools.list(pool)) {
          expect({ last, kill, state: entry.state }).toMatchObject({ state: expect.stringMatching(/^(available|in-use)$/) });
          expect(entry.pid === undefined ? "none" : fs.existsSync(`/proc/${entry.pid}`)).toBe(true);
        }
        // Nobody comes back for what the dead one held; whoever notices gives it back.
        for (const entry of pools.list(pool)) if (entry.holder !== undefined) await pools.return(entry.id);
        for (const entry of pools.list(pool)) {
          const { entry: mine, how } = await pools.checkout(pool, { holder: `adopted ${entry.id}` });
          expect({ how, last, kill, notes }).toMatchObject({ how: "hot" });
          const { stdout } = await (await pools.guest(mine.id)).run({ argv: ["hostname"] });
          expect(Buffer.from(stdout).toString().trim()).toBe(mine.id);
          if (chance(2) === 0) await pools.return(mine.id);
        }
        for (const entry of pools.list(pool)) if (entry.holder !== undefined) await pools.return(entry.id);
      }
      stop();
      await pools.drain(pool, { forget: true });
      expect(processesWith(`guest=${pool}`)).toEqual([]);
      expect(processesWith(garth.places.runtime)).toEqual([]);
      expect(fs.existsSync(`${garth.places.pools}/${pool}`)).toBe(false);
      expect(fs.existsSync(garth.places.runtime) ? fs.readdirSync(garth.places.runtime) : []).toEqual([]);
      const rows = (sql: string) => garth.ledger.statement(sql).all();
      expect(rows("SELECT id FROM pool_entry")).toEqual([]);
      expect(rows("SELECT id FROM pool_snapshot")).toEqual([]);
      const leases = rows("SELECT owner FROM ledger_lease WHERE name LIKE 'pool-%'");
      expect(leases.filter(({ owner }) => garth.host.isAlive(String(owner)))).toEqual([]);
      expect((await links()).filter((line) => !before.includes(line))).toEqual([]);
    },
    LIMIT_MS,
  );
});
