/** A pool on a FreeBSD host: what is refused, the scripts and steps as text, by shellcheck, and as each shell reads them. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { golden, thrownProblem } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { openLedger } from "../ledger/index.ts";
import { parseSlot } from "../machine/index.ts";
import type { ExtraSlot } from "../template/index.ts";
import { bhyveEntry, bhyveFacts, bhyvePool, bhyveTemplate, DIGEST, IDENTITY } from "./freebsd.testing.ts";
import {
  type BhyveEntryPlan,
  type BhyveStep,
  lintBhyvePool,
  openPools,
  planBhyveEntry,
  planBhyvePool,
  readBhyvePoolEvent,
} from "./index.ts";
import { POOL_MIGRATION } from "./schema.ts";
import { SEED_PRIVATE_KEY } from "./seed.testing.ts";

const at = (name: string): string => join(import.meta.dir, "golden/freebsd", name);
const zfs = bhyveFacts();
const plain = bhyveFacts({ pools: "/var/lib/my garth's/pools", storage: { kind: "copy" } });
const slots = (...texts: readonly string[]): readonly ExtraSlot[] => texts.flatMap((text) => parseSlot(text) ?? []);
const passthrough = bhyveTemplate({ extraSlots: slots("20:0,passthru,ppt0", "21:0,passthru,1/0/0"), wiredMemory: true });
const one = bhyvePool({ size: 1 });
const entryOf = (facts = zfs, template = bhyveTemplate(), pool = bhyvePool()): BhyveEntryPlan =>
  planBhyveEntry(pool, template, bhyveEntry(facts), IDENTITY, facts);

const entries: readonly (readonly [string, BhyveEntryPlan])[] = [
  ["entry-zfs", entryOf()],
  ["entry-copy", entryOf(plain)],
  ["entry-passthrough", entryOf(zfs, passthrough, one)],
  ["entry-instance", entryOf(zfs, bhyveTemplate({ patchMode: "instance-file" }))],
];
const scripts: readonly (readonly [string, string])[] = [
  ...entries.map(([name, { script }]) => [name, script] as const),
  ["pool-zfs", planBhyvePool(bhyvePool(), bhyveTemplate(), zfs).script],
  ["pool-copy", planBhyvePool(bhyvePool(), bhyveTemplate(), plain).script],
  ["pool-passthrough", planBhyvePool(one, passthrough, zfs).script],
];

test.each(scripts)("the script %s", (name, script) => {
  expect(script).toBe(golden(at(`${name}.sh`), script));
  const checked = Bun.spawnSync(["shellcheck", "-s", "sh", "-"], { stdin: Buffer.from(script) });
  expect(checked.stdout.toString()).toBe("");
  for (const shell of [["dash"], ["busybox", "sh"], ["sh"]])
    expect(Bun.spawnSync([...shell, "-n"], { stdin: Buffer.from(script) }).exitCode).toBe(0);
});

test("the steps", () => {
  const plan = planBhyvePool(bhyvePool(), bhyveTemplate(), zfs);
  const { steps, orders, files } = entryOf();
  const nameOf = (step: BhyveStep): string | undefined => Object.entries(steps).find(([, one]) => one === step)?.[0];
  const text = JSON.stringify(
    {
      pool: { steps: plan.steps, files: plan.files.map(({ path, mode }) => [path, mode.toString(8)]) },
      entry: { steps, files: files.map(({ path, mode }) => [path, mode.toString(8)]) },
      orders: Object.fromEntries(Object.entries(orders).map(([order, all]) => [order, all.map(nameOf)])),
    },
    undefined,
    2,
  );
  expect(`${text}\n`).toBe(golden(at("steps.json"), `${text}\n`));
  const cold = entryOf(zfs, bhyveTemplate(), bhyvePool({ tier: "cold" }));
  expect([cold.orders.warm, cold.orders.checkout]).toEqual([[], [cold.steps.prepare, cold.steps.boot]]);
});

test("bhyve's own words: a clone's disk, its seed, a tap that is not called tap, and what a device of the host needs", () => {
  const words = entryOf(zfs, passthrough, one).argv.join(" ");
  expect(words).toStartWith("bhyve -A -H -P -w -u -S -c 1 -m 256M -s 0,hostbridge ");
  expect(words).toMatch(/ -s 2,virtio-net,gth[a-z0-9]{12},type=tap,mac=52:54:0a:4d:00:32 /);
  expect(words).toContain(" -s 3,virtio-blk,/frx/var/garth/pools/debian-12/debian-12-17/disk/disk.img -s 4,virtio-blk,");
  expect(words).toContain("/seed.img,ro -s 20:0,passthru,ppt0 -s 21:0,passthru,1/0/0 -s 31,lpc ");
  expect(entryOf().argv).not.toContain("-S");
});

test("a machine's private key is in one file, for root alone, and in no script and no argument", () => {
  const secret = SEED_PRIVATE_KEY.split("\n")[2] ?? "-";
  for (const [, { files, script, steps, argv }] of entries) {
    const holding = files.filter(({ content }) => {
      const text = Buffer.from(content).toString("latin1");
      return text.includes(secret) || text.includes(Buffer.from(SEED_PRIVATE_KEY).toString("base64").slice(0, 200));
    });
    expect(holding.map(({ mode }) => mode & 0o077)).toEqual([0]);
    expect(JSON.stringify([script, steps, argv])).not.toContain(secret);
  }
});

test("two roots have pools of one name, and no machine, tap or directory in common", () => {
  const [here, there] = [entryOf(), entryOf(bhyveFacts({ pools: "/home/a/garth/pools" }))];
  expect(here.machine).not.toBe(there.machine);
  expect(here.interface).not.toBe(there.interface);
  const name = "x".repeat(50);
  const facts = bhyveFacts();
  const entry = bhyveEntry(facts, { id: `${name}-1234567`, directory: `${facts.pools}/${name}/${name}-1234567` });
  const long = planBhyveEntry(bhyvePool({ name }), bhyveTemplate(), entry, IDENTITY, facts);
  expect(long.machine).toMatch(/^garth-x{40}-gth[a-z0-9]{12}$/);
});

describe("is refused, with every reason:", () => {
  const said = (change: Parameters<typeof bhyvePool>[0], facts = zfs, template = bhyveTemplate()): readonly string[] =>
    lintBhyvePool(bhyvePool(change), template, facts);

  test("the snapshot tier, a user network, another host", () => {
    expect(said({})).toEqual([]);
    const problem = thrownProblem(() => planBhyvePool(bhyvePool({ tier: "snapshot" }), bhyveTemplate(), zfs));
    expect([problem.code, problem.exit]).toEqual(["E_BAD_POOL", 2]);
    expect(problem.details).toEqual([
      "tier: bhyve takes no snapshot of a machine (BHYVE_SNAPSHOT is not in FreeBSD's GENERIC kernel); hot or cold will do",
    ]);
    const all = said({ network: "user", templateDigest: "0".repeat(64) }, bhyveFacts({ system: "aarch64-freebsd" }));
    expect(all.map((line) => line.split(":")[0])).toEqual(["host", "network", "template"]);
  });

  test.each<readonly [string, readonly string[]]>([
    ["bootMode", lintBhyvePool(bhyvePool(), bhyveTemplate({ bootMode: "bhyveload" }), zfs)],
    ["gatewayMode", lintBhyvePool(bhyvePool(), bhyveTemplate({ gatewayMode: "host-vnc" }), zfs)],
    ["patchMode", lintBhyvePool(bhyvePool(), bhyveTemplate({ patchMode: "none" }), zfs)],
    ["size", lintBhyvePool(bhyvePool({ size: 2 }), passthrough, zfs)],
    ["digest", lintBhyvePool(bhyvePool({ templateDigest: "x" }), bhyveTemplate({}, { digest: "x" }), zfs)],
    ["dataset's length", said({}, bhyveFacts({ storage: { kind: "zfs", dataset: "z".repeat(200) } }))],
  ])("a template or a place by its %s", (_what, found) => {
    expect(found.length).toBe(1);
  });

  const ODD = ["a b", "a'b", 'a"b', "a\nb", "a$b", "a`b", "$(reboot)", "a;b", "a,b", "-a", "../a", "a*", ""];

  test.each(ODD)("%j as the name of a pool, a template, a dataset, a machine", (name) => {
    expect(said({ name }).length).toBe(1);
    expect(said({}, zfs, bhyveTemplate({}, { name })).length).toBe(1);
    expect(said({}, bhyveFacts({ storage: { kind: "zfs", dataset: `zroot/${name}` } })).length).toBe(1);
    const entry = bhyveEntry(zfs, { id: name, directory: `${zfs.pools}/debian-12/${name}` });
    expect(
      thrownProblem(() => planBhyveEntry(bhyvePool(), bhyveTemplate(), entry, IDENTITY, zfs)).details.length,
    ).toBeGreaterThan(0);
  });

  test.each(["relative", "/a\nb", "/a,b", '/a"b', "/a/", ""])("%j as a place", (pools) => {
    expect(said({}, bhyveFacts({ pools })).length).toBe(1);
    expect(said({}, bhyveFacts({ lockFile: pools })).length).toBe(1);
    expect(said({}, zfs, bhyveTemplate({}, { imageFile: pools })).length).toBe(1);
  });

  test("a machine in another place than its pool, with another's address, with slots that clash", () => {
    const details = (change: Partial<ReturnType<typeof bhyveEntry>>, template = bhyveTemplate()) =>
      thrownProblem(() => planBhyveEntry(bhyvePool(), template, bhyveEntry(zfs, change), IDENTITY, zfs));
    expect(details({ directory: "/frx/debian-12-17" }).details).toEqual([
      "machine debian-12-17: its directory is /frx/debian-12-17",
    ]);
    expect(details({ address: "10.78.0.50" }).code).toMatch(/E_BAD_PORT|E_SEED_FIELD/);
    expect(details({ mac: "x" }).code).toBe("E_BAD_POOL");
    const clash = details({}, bhyveTemplate({ extraSlots: slots("3:0,virtio-rnd") }));
    expect(clash.details).toEqual(["machine debian-12-17: extraSlots[0]: slot 3 is taken by disk 0"]);
  });
});

test("an event is read as it is told", () => {
  expect(readBhyvePoolEvent("garth-pool: debian-12-17 ended 1 powered-off")).toEqual({
    subject: "debian-12-17",
    step: "ended",
    facts: ["1", "powered-off"],
  });
  for (const line of ["", "garth-pool: ", "garth-pool: a", "garth-pool: a dances", "ended 1"])
    expect(readBhyvePoolEvent(line)).toBeUndefined();
  const told = scripts.flatMap(([, script]) => [...script.matchAll(/^ *(?:.*then )?tell ([a-z-]+)/gm)].map(([, step]) => step));
  expect(told.length).toBeGreaterThan(50);
  for (const step of told) expect(readBhyvePoolEvent(`garth-pool: x ${step}`)?.step as string).toBe(step ?? "-");
});

describe("pools", () => {
  const directory = mkdtempSync(join(tmpdir(), "garth-bhyve-pool-"));
  afterAll(() => rmSync(directory, { recursive: true }));

  test("on a FreeBSD host are planned, which is said before anything is made", () => {
    const ledger = openLedger(join(directory, "db"), [POOL_MIGRATION]);
    const open = (system: "x86_64-freebsd" | "x86_64-linux") =>
      openPools({
        host: { ...localHost(), system },
        ledger,
        templates: {
          list: () => [],
          find: () => bhyveTemplate(),
          verify: async () => bhyveTemplate(),
          remove: () => undefined,
        },
        places: { pools: `${directory}/pools`, runtime: `${directory}/run`, acceleratorFile: `${directory}/accelerator.json` },
        now: () => 0,
      });
    const problem = thrownProblem(() => open("x86_64-freebsd"));
    expect([problem.code, problem.exit]).toEqual(["E_POOL_PLANNED", 3]);
    expect(problem.details.join()).toContain("can be printed");
    expect(open("x86_64-linux").pools()).toEqual([]);
    ledger.close();
  });
});

test("the digest that is cloned is the template's", () => {
  expect(entryOf().script).toContain(`snapshot=zroot/garth/templates/debian-12@${DIGEST}\n`);
});
