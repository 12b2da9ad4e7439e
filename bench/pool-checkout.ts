/**
 * What the pool and the gateway cost beside the same done by hand to the same machine: a signal to its process, and a connection or a command.
 *
 * A machine that comes back is destroyed. Here it is frozen again and put back, where nothing is measured that differs the second time: both
 * sides have the same one, in turns.
 */
import type { PoolEntry, Pools } from "../src/pool/index.ts";
import { openDaemon } from "../src/daemon/open.ts";
import { messageEnvelope } from "../src/gateway/envd/envelope.ts";
import { banner, milliseconds, type PoolPlace, signalTo, sshByHand, untilIdle } from "./pool-place.ts";
import { type BenchRow, type Pair, ratioRow, shownMs } from "./row.ts";

/** As the SDK's `commands.run("true")` says it. */
const COMMAND = ["/bin/bash", "-l", "-c", "true"] as const;
const ENVD_PORT = "49983";

export interface CheckoutSizes {
  readonly machines: number;
  /** Of each machine. */
  readonly pairs: number;
}

/** Frozen, and nobody's again. */
function putBack({ garth }: PoolPlace, entry: PoolEntry): void {
  signalTo(entry, "SIGSTOP");
  garth.ledger.statement("UPDATE pool_entry SET state = 'available', holder = NULL WHERE id = ?").run(entry.id);
}

export async function bannerRows(place: PoolPlace, sizes: CheckoutSizes): Promise<readonly BenchRow[]> {
  const { pools, accelerator } = place;
  const name = await place.pool("banner", { template: "micro", size: sizes.machines });
  await pools.warm(name);
  const ours = async (holder: string): Promise<readonly [PoolEntry, number]> => {
    const begun = performance.now();
    const { entry, how } = await pools.checkout(name, { holder });
    await banner(entry);
    if (how !== "hot") throw new Error(`${entry.id} was made for its holder`);
    return [entry, performance.now() - begun];
  };
  const theirs = (entry: PoolEntry): Promise<number> =>
    milliseconds(async () => {
      signalTo(entry, "SIGCONT");
      await banner(entry);
    });
  const pairs: Pair[] = [];
  for (let round = 0; round <= sizes.pairs; round += 1) {
    const held: PoolEntry[] = [];
    for (let machine = 0; machine < sizes.machines; machine += 1) {
      // A claim takes the oldest that is available: known beforehand, so that either side can have it first.
      const next = pools.list(name).find(({ state }) => state === "available");
      if (next === undefined) throw new Error("no machine is available");
      const isOursFirst = (round + machine) % 2 === 0;
      const before = isOursFirst ? undefined : await theirs(next);
      if (!isOursFirst) await restFrozen(next);
      const [entry, oursMs] = await ours(`bench ${round} ${machine}`);
      if (entry.id !== next.id) throw new Error(`${entry.id} was handed out before ${next.id}`);
      await untilIdle(entry);
      if (isOursFirst) signalTo(entry, "SIGSTOP");
      const theirsMs = before ?? (await theirs(entry));
      await untilIdle(entry);
      held.push(entry);
      // The first time its hypervisor translates what it runs.
      if (round > 0) pairs.push({ oursMs, theirsMs });
    }
    for (const entry of held) putBack(place, entry);
  }
  return [
    ratioRow(
      `checkout of a hot machine until its SSH server has greeted (${accelerator})`,
      "SIGCONT and a TCP connection to it by hand, until the same",
      1.5,
      pairs,
    ),
  ];
}

async function restFrozen(entry: PoolEntry): Promise<void> {
  await untilIdle(entry);
  signalTo(entry, "SIGSTOP");
}

/** A client of the gateway, over HTTP: a sandbox, and a command in it to its end. */
async function throughGateway(url: string, pool: string): Promise<{ readonly sandbox: string; readonly createdMs: number }> {
  const begun = performance.now();
  const created = await fetch(`${url}/sandboxes`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ templateID: pool, timeout: 3600 }),
  });
  const answer: unknown = await created.json();
  const field = (name: string): string => {
    const value: unknown = typeof answer === "object" && answer !== null ? Reflect.get(answer, name) : undefined;
    if (typeof value !== "string") throw new Error(`no ${name} in ${created.status} ${JSON.stringify(answer)}`);
    return value;
  };
  const sandbox = field("sandboxID");
  const createdMs = performance.now() - begun;
  const [cmd, ...args] = COMMAND;
  const started = await fetch(`${url}/process.Process/Start`, {
    method: "POST",
    headers: {
      "Content-Type": "application/connect+json",
      "Connect-Protocol-Version": "1",
      "E2b-Sandbox-Id": sandbox,
      "E2b-Sandbox-Port": ENVD_PORT,
      "X-Access-Token": field("envdAccessToken"),
    },
    body: messageEnvelope({ process: { cmd, args }, stdin: false }),
  });
  const text = await started.text();
  if (!text.includes('"exit status 0"')) throw new Error(`the command ended otherwise: ${text}`);
  return { sandbox, createdMs };
}

/**
 * Of each two machines one is used by the gateway first, the other by hand first: the first command in a machine is dearer than the second,
 * and each side pays for one. Every machine is used once by each, since the gateway remembers what it has learned of one.
 */
export async function gatewayRows(place: PoolPlace, machines: number): Promise<readonly BenchRow[]> {
  const { garth, pools, accelerator } = place;
  const name = await place.pool("gateway", { template: "micro", size: machines });
  await pools.warm(name);
  // What is made in the place of what was handed out would take a processor from both sides.
  const still: Pools = { ...pools, reconcile: () => pools.reconcile({ refill: false }), close: () => Promise.resolve() };
  const { host, ledger, places, settings } = garth;
  const faults: string[] = [];
  const daemon = await openDaemon({
    garth: { host, ledger, places, settings, pools: () => Promise.resolve(still) },
    listen: "127.0.0.1:0",
    open: true,
    requests: false,
    log: (level, event, facts) => {
      if (level === "error") faults.push(`${event} ${JSON.stringify(facts)}`);
    },
    now: Date.now,
  });
  const url = daemon.url.replace(/\/$/, "");
  try {
    const line = COMMAND.join(" ");
    const theirs = (entry: PoolEntry): Promise<number> =>
      milliseconds(async () => {
        signalTo(entry, "SIGCONT");
        await sshByHand(place, entry, line);
      });
    const taken: Pair[] = [];
    for (let machine = 0; machine < machines; machine += 1) {
      const next = pools.list(name).find(({ state }) => state === "available");
      if (next === undefined) throw new Error("no machine is available");
      const isOursFirst = machine % 2 === 0;
      const before = isOursFirst ? undefined : await theirs(next);
      if (!isOursFirst) await restFrozen(next);
      const begun = performance.now();
      const { sandbox, createdMs } = await throughGateway(url, name);
      const oursMs = performance.now() - begun;
      if (pools.held(sandbox)?.id !== next.id) throw new Error(`another machine than ${next.id} was handed out`);
      await untilIdle(next);
      if (isOursFirst) signalTo(next, "SIGSTOP");
      const theirsMs = before ?? (await theirs(next));
      const shown = `gateway ${shownMs(oursMs)}, of which ${shownMs(createdMs)} until the sandbox was there; ssh ${shownMs(theirsMs)}`;
      place.say(`${isOursFirst ? "gateway" : "ssh"} first: ${shown}`);
      taken.push({ oursMs, theirsMs });
      await fetch(`${url}/sandboxes/${sandbox}`, { method: "DELETE" });
    }
    if (faults.length > 0) throw new Error(faults.join("\n"));
    const pairs = taken.flatMap((one, index): Pair[] => {
      const other = taken[index + 1];
      if (index % 2 === 1 || other === undefined) return [];
      return [{ oursMs: (one.oursMs + other.oursMs) / 2, theirsMs: (one.theirsMs + other.theirsMs) / 2 }];
    });
    return [
      ratioRow(
        `checkout of a hot machine until a command has run through the gateway, over HTTP (${accelerator})`,
        "SIGCONT and `ssh -S` with the same command to it by hand",
        1.5,
        pairs,
      ),
    ];
  } finally {
    await daemon.close();
  }
}
