/** garth pool: pools as a whole. What is done with one machine is in pool-use.ts. */
import { formatDuration, formatSize, parseDuration, parseSize } from "../../base/index.ts";
import type { PoolEntry, Pools, PoolSpec, Tier } from "../../pool/index.ts";
import type { Answer, Context, Given, Handler } from "../command.ts";
import { usageProblem } from "../parse.ts";
import { table } from "../render/text.ts";

const DEFAULT_SIZE = "2";
const DEFAULT_SUBNET = "10.77.0.0/24";
const DEFAULT_BOOT_TIMEOUT = "5m";

/** The pools, with what happens in them told on stderr. */
export async function openedPools(context: Context, given: Given): Promise<Pools> {
  const garth = await context.garth();
  const pools = await garth.pools();
  if (!given.flag("quiet"))
    pools.onEvent((event) => {
      if (event.kind === "note") context.note(`pool       ${event.pool}: ${event.text}`);
      else if (given.flag("verbose")) context.note(`pool       ${event.entry.id} is ${event.entry.state}`);
    });
  return pools;
}

function oneOf<Word extends string>(given: Given, name: string, words: readonly [Word, ...Word[]]): Word {
  const text = given.text(name) ?? words[0];
  const found = words.find((word) => word === text);
  if (found !== undefined) return found;
  throw usageProblem(`--${name} ${text}: there is no such ${name}`, words.join(", "));
}

function count(text: string, option: string): number {
  if (!/^\d{1,6}$/.test(text)) throw usageProblem(`${option} ${text}: expected a whole number`, "0, 1, 20");
  return Number(text);
}

function blocks(text: string | undefined): readonly string[] {
  return (text ?? "").split(",").flatMap((each) => (each.trim() === "" ? [] : [each.trim()]));
}

/** `before` is the pool as it is: what is not said stays. @throws Problem E_USAGE */
export function poolSpecOf(given: Given, name: string, before?: PoolSpec): PoolSpec {
  const said = (option: string): boolean => given.text(option) !== undefined;
  const memory = given.text("memory");
  const cpus = given.text("cpus");
  const tier: Tier = said("tier") || before === undefined ? oneOf(given, "tier", ["hot", "snapshot", "cold"]) : before.tier;
  const network = said("network") || before === undefined ? oneOf(given, "network", ["user", "bridge"]) : before.network;
  const allowOut = said("allow-out") ? blocks(given.text("allow-out")) : (before?.policy.allowOut ?? []);
  const denyOut = said("deny-out") ? blocks(given.text("deny-out")) : (before?.policy.denyOut ?? []);
  return {
    name,
    template: given.text("template") ?? before?.template ?? name,
    tier,
    size: said("size") || before === undefined ? count(given.text("size") ?? DEFAULT_SIZE, "--size") : before.size,
    memoryBytes: memory === undefined ? before?.memoryBytes : parseSize(memory),
    cpus: cpus === undefined ? before?.cpus : count(cpus, "--cpus"),
    network,
    subnet: given.text("subnet") ?? before?.subnet ?? DEFAULT_SUBNET,
    policy: {
      allowInternetAccess: given.flag("allow-internet") || (before?.policy.allowInternetAccess ?? false),
      allowOut,
      denyOut,
    },
    density: given.flag("dense") ? "dense" : (before?.density ?? "roomy"),
    bootTimeoutMs:
      said("boot-timeout") || before === undefined
        ? parseDuration(given.text("boot-timeout") ?? DEFAULT_BOOT_TIMEOUT)
        : before.bootTimeoutMs,
  };
}

export const init: Handler = async (context, given) => {
  const pools = await openedPools(context, given);
  const [name = ""] = given.arguments;
  const before = pools.pools().find((each) => each.name === name);
  const pool = await pools.init(poolSpecOf(given, name, before));
  const text = () =>
    table([
      ["pool", pool.name],
      ["template", `${pool.template} ${pool.templateDigest}`],
      ["tier", `${pool.tier}, ${pool.size} kept available`],
      ["network", `${pool.network}, ${pool.subnet}${pool.policy.allowInternetAccess ? ", reaching the internet" : ""}`],
      ["generation", String(pool.generation)],
    ]);
  return { data: pool, text };
};

export const warm: Handler = async (context, given) => {
  const pools = await openedPools(context, given);
  const [name = ""] = given.arguments;
  const said = given.text("count");
  const wanted = said === undefined ? undefined : count(said, "--count");
  if (!pools.pools().some((each) => each.name === name)) await pools.init(poolSpecOf(given, name));
  if (given.flag("dry-run")) return await planned(context, name, wanted);
  const report = await pools.warm(name, { signal: context.signal, ...(wanted === undefined ? {} : { count: wanted }) });
  const text = () => `pool ${name}: ${report.available} available, ${report.made} made in ${formatDuration(report.durationMs)}`;
  return { data: report, text };
};

async function planned(context: Context, name: string, wanted: number | undefined): Promise<Answer> {
  const garth = await context.garth();
  const plan = await garth.planWarming(name, wanted === undefined ? {} : { count: wanted });
  const steps = plan.steps.map((step) =>
    step.kind === "retire"
      ? `retire   ${step.id}: ${step.reason}`
      : step.kind === "make"
        ? `make     ${step.count}`
        : `give up  after ${step.failures} failures`,
  );
  const lines = (argv: readonly string[]): string => argv.join(" ").replaceAll(/ -(?=[a-z])/g, " \\\n    -");
  const text = () =>
    [
      ...(steps.length === 0 ? ["nothing to do"] : steps),
      `\nthe guest of which the snapshot is taken, and every machine that is booted:\n${lines(plan.boot)}`,
      `\na clone, its disk over ${plan.base}:\n${lines(plan.clone)}`,
    ].join("\n");
  return { data: plan, text };
}

export const drain: Handler = async (context, given) => {
  const pools = await openedPools(context, given);
  const [name = ""] = given.arguments;
  const { destroyed } = await pools.drain(name, { forget: given.flag("forget") });
  return { data: { pool: name, destroyed }, text: () => `pool ${name}: ${destroyed} destroyed, nothing is left` };
};

function stateOf(entry: PoolEntry): string {
  return entry.failure === undefined ? entry.state : `${entry.state}: ${entry.failure.split("\n")[0] ?? ""}`;
}

export const list: Handler = async (context, given): Promise<Answer> => {
  const pools = await openedPools(context, given);
  const [name] = given.arguments;
  if (given.flag("reconcile")) await pools.reconcile({ refill: false, signal: context.signal });
  const entries = pools.list(name);
  const records = name === undefined ? pools.pools() : [pools.pool(name)];
  const text = (): string => {
    const head = ["machine", "state", "since", "address", "ssh", "from", "memory", "holder"];
    const rows = entries.map((entry) => [
      entry.id,
      stateOf(entry),
      formatDuration(Math.max(0, context.now() - entry.sinceMs)),
      entry.address,
      entry.ssh === undefined ? "-" : `${entry.ssh.address}:${entry.ssh.port}`,
      entry.from,
      formatSize(entry.memoryBytes),
      entry.holder ?? "-",
    ]);
    const about = records.map(({ name: pool, template, tier, size, generation }) => {
      const of = entries.filter((entry) => entry.pool === pool);
      const available = of.filter(({ state }) => state === "available").length;
      return `pool ${pool}: ${tier}, of ${template}, ${available} of ${size} available, ${of.length - available} others, generation ${generation}`;
    });
    return [...about, ...(rows.length === 0 ? [] : [table([head, ...rows])])].join("\n");
  };
  return { data: { pools: records, entries, snapshots: pools.snapshots() }, text };
};
