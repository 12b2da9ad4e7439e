/**
 * Where the rows of pools are taken: the examples' templates in a root of the bench's own, kept between runs as the stock disk is, and
 * pools in it that are gone in the end, whatever happened.
 *
 *     templates found or made ──► what a killed run left drained ──► a row ──► its pools drained ──► the next row ...
 *
 * Nobody else's pools are in this root, so that a daemon may look after all of them. What the templates are made of is said by the examples;
 * making both takes five minutes.
 */
import * as fs from "node:fs";
import { type Garth, openGarth } from "../src/app/index.ts";
import { type GuestAddress, sshOptions } from "../src/guest/index.ts";
import type { PoolEntry, Pools, PoolSpec } from "../src/pool/index.ts";
import { controlSocket } from "../src/pool/destroy.ts";
import { poolKey } from "../src/pool/key.ts";
import { KNOWN_HOSTS_FILE } from "../src/pool/prepare.ts";
import { poolSpec } from "../src/pool/testing.ts";
import { type BenchRow, shownMs } from "./row.ts";
import { KEPT } from "./stock.ts";

const CHECKOUT = new URL("..", import.meta.url).pathname.replace(/\/$/, "");
const PREFIX = "bench-";
const BOOT_LIMIT_MS = 600_000;
/** Of a process whose guest does nothing: of the hundred ticks of a second. */
const IDLE_TICKS = 1;
const IDLE_LOOK_MS = 150;
const IDLE_LOOKS = 3;
const IDLE_LIMIT_MS = 60_000;

/** Names of the examples' templates, and of what exports their systems. */
const EXPORTS = { micro: "micro", "debian-12": "debian12" } as const;
export type BenchTemplate = keyof typeof EXPORTS;

export interface PoolPlace {
  readonly garth: Garth;
  readonly pools: Pools;
  /** "tcg", "kvm": what the machines run on. */
  readonly accelerator: string;
  /** A pool that is gone when the row is taken. Its name: directories of machines hold sockets, and have to be short. */
  pool(name: string, fields: Partial<PoolSpec> & { readonly template: BenchTemplate }): Promise<string>;
  say(text: string): void;
}

async function ship(garth: Garth, examples: string, template: BenchTemplate): Promise<void> {
  await garth
    .ship(() => undefined)
    .run({
      file: `${examples}/templates/garth.ts`,
      only: EXPORTS[template],
      until: "template",
      jobs: 2,
      keepGoing: false,
      keepFailed: false,
      keyFile: `${garth.places.keys}/repository.pem`,
      onStage: ({ stage, how, durationMs }) => {
        if (how !== "unchanged") console.error(`bench: ${template}: ${stage} ${how}, ${shownMs(durationMs)}`);
      },
    });
}

/** Each row has its pools for itself: those of the one before take no memory and no processor from it. */
export async function takePoolRows(
  templates: readonly BenchTemplate[],
  rows: readonly ((place: PoolPlace) => Promise<readonly BenchRow[]>)[],
): Promise<readonly BenchRow[]> {
  const examples = `${KEPT}/examples`;
  fs.cpSync(`${CHECKOUT}/examples`, examples, {
    recursive: true,
    // A lock that a run brought up to date still fits what the mirrors have.
    filter: (_from, to) => !(to.endsWith(".lock") && fs.existsSync(to)),
  });
  const garth = openGarth({ root: `${KEPT}/garth`, env: process.env, workingDirectory: examples, home: CHECKOUT });
  try {
    for (const template of templates) await ship(garth, examples, template);
    const pools = await garth.pools();
    const drain = async (): Promise<void> => {
      for (const { name } of pools.pools()) if (name.startsWith(PREFIX)) await pools.drain(name, { forget: true });
    };
    await drain();
    const machines = await garth.machines();
    const { accelerator } = await machines.accelerator({ system: garth.system, accelerator: "auto" });
    const place: PoolPlace = {
      garth,
      pools,
      accelerator,
      pool: async (name, fields) => {
        const spec = poolSpec({ bootTimeoutMs: BOOT_LIMIT_MS, ...fields, name: `${PREFIX}${name}` });
        await pools.init(spec);
        return spec.name;
      },
      say: (text) => console.error(`bench: pool: ${text}`),
    };
    const taken: BenchRow[] = [];
    for (const row of rows) {
      try {
        taken.push(...(await row(place)));
      } finally {
        await drain();
      }
    }
    return taken;
  } finally {
    await garth.close();
  }
}

/** As the pool reaches it, for programs that are started by hand. */
export function addressOf({ garth }: PoolPlace, entry: PoolEntry): GuestAddress {
  if (entry.ssh === undefined) throw new Error(`${entry.id} has no SSH port`);
  return {
    name: entry.id,
    ...entry.ssh,
    user: "root",
    keyFile: poolKey(garth.host, garth.places.pools).file,
    knownHostsFile: `${entry.directory}/${KNOWN_HOSTS_FILE}`,
    controlSocket: controlSocket({ places: { ...garth.places, acceleratorFile: "" } }, entry),
    through: [],
  };
}

/** One command over the machine's multiplexed connection, which is open. */
export async function sshByHand(place: PoolPlace, entry: PoolEntry, line: string): Promise<void> {
  const address = addressOf(place, entry);
  const words = ["ssh", "-S", address.controlSocket, ...sshOptions(address), "-p", String(address.port)];
  const ssh = Bun.spawn([...words, `${address.user}@${address.address}`, line], { stdin: "ignore", stdout: "ignore" });
  const status = await ssh.exited;
  if (status !== 0) throw new Error(`ssh to ${entry.id} ended with ${status}`);
}

/** By a hand that knows nothing of the pool. */
export function signalTo({ id, pid }: PoolEntry, signal: "SIGSTOP" | "SIGCONT"): void {
  if (pid === undefined) throw new Error(`${id} has no process`);
  process.kill(pid, signal);
}

/** The first line of the guest's SSH server over a connection of its own. slirp takes connections for a guest that stands still. */
export async function banner({ id, ssh }: PoolEntry): Promise<void> {
  if (ssh === undefined) throw new Error(`${id} has no SSH port`);
  const heard = Promise.withResolvers<void>();
  let text = "";
  const socket = await Bun.connect({
    hostname: ssh.address,
    port: ssh.port,
    socket: {
      data: (_socket, chunk) => {
        text += chunk.toString("latin1");
        if (/^SSH-[^\n]*\n/m.test(text)) heard.resolve();
      },
      close: () => heard.reject(new Error(`${id} closed the connection before it greeted`)),
    },
  });
  await heard.promise;
  socket.end();
}

function ticks(pid: number): number {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

/** What a guest still does for the measurement before is no part of the next: until it does nothing. */
export async function untilIdle({ id, pid }: PoolEntry): Promise<void> {
  if (pid === undefined) throw new Error(`${id} has no process`);
  const deadline = performance.now() + IDLE_LIMIT_MS;
  for (let quiet = 0, before = ticks(pid); quiet < IDLE_LOOKS;) {
    if (performance.now() > deadline) throw new Error(`${id} does not come to rest`);
    await Bun.sleep(IDLE_LOOK_MS);
    const now = ticks(pid);
    quiet = now - before <= IDLE_TICKS ? quiet + 1 : 0;
    before = now;
  }
}

export async function milliseconds(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}
