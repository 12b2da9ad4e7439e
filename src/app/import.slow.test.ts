/**
 * A cloud image that somebody else made becomes a template, and that becomes machines: a stock Debian of its own packages, in which nothing
 * is of Garth. With cloud-init, which is told who it is by its own means; and with cloud-init switched off, where garth-seed tells it.
 *
 *     stock disk, kept ──copy, as its makers publish it──► qcow2, SHA-256 ──import──► template ──► pool ──► machine ──► a clone of it
 *
 * A boot of such a system takes a minute under emulation, with cloud-init nearly two: there are three of them here, one after another.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { problemOf } from "../base/testing.ts";
import { readGpt } from "../formats/index.ts";
import { readAtFile } from "../formats/testing.ts";
import type { PoolEntry, Pools, PoolSpec } from "../pool/index.ts";
import { poolSpec } from "../pool/testing.ts";
import type { TemplateStore } from "../template/index.ts";
import { stockDebian } from "../template/testing.ts";
import { type Garth, openGarth } from "./index.ts";

const MAKING_LIMIT_MS = 1_200_000;
const LIMIT_MS = 900_000;
/** Of an emulated machine among others. */
const BOOT_LIMIT_MS = 600_000;
const MEMORY_BYTES = 512 * 1024 ** 2;
/** What the stock disk has for benchmarks, and no image for a cloud. */
const WITHOUT_SEED = [
  "rm /var/lib/cloud/seed/nocloud/meta-data",
  "rm /var/lib/cloud/seed/nocloud/user-data",
  "rmdir /var/lib/cloud/seed/nocloud",
];
/** ds-identify(8) and cloud-init's generator leave it out then. */
const WITHOUT_CLOUD_INIT = ["cd /etc/cloud", "write /dev/null cloud-init.disabled"];

const root = fs.mkdtempSync("/var/tmp/garth-import-");
let garth: Garth;
let templates: TemplateStore;
let pools: Pools;
let stock = "";

beforeAll(async () => {
  garth = openGarth({ root, env: {}, workingDirectory: "/" });
  templates = await garth.templates();
  pools = await garth.pools();
  stock = (await stockDebian((text) => console.error(text))).disk;
}, MAKING_LIMIT_MS);
afterAll(async () => {
  for (const { name } of pools.pools()) await pools.drain(name, { forget: true });
  for (const { name } of templates.list()) templates.remove(name);
  const left = [
    ...pools.list().map(({ id }) => id),
    ...pools.snapshots().map(({ id }) => id),
    ...fs.readdirSync(garth.places.templates),
    ...fs.readdirSync(garth.places.pools).filter((name) => !/^\.?key(\.pub)?$/.test(name)),
    ...(fs.existsSync(garth.places.runtime) ? fs.readdirSync(garth.places.runtime) : []),
  ];
  const { runtime } = garth.places;
  await garth.close();
  fs.rmSync(root, { recursive: true });
  fs.rmSync(runtime, { recursive: true, force: true });
  expect(left).toEqual([]);
}, LIMIT_MS);

interface Published {
  readonly source: string;
  /** As its makers' SHA256SUMS would have it. */
  readonly sha256: string;
}

/** The stock disk, changed by commands of debugfs(8), as a file that one would download. */
function published(name: string, changes: readonly string[]): Published {
  const raw = `${name}.raw`;
  const source = `${root}/${name}.qcow2`;
  const run = (program: string, ...words: readonly string[]): string =>
    execFileSync(program, words, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  run("cp", "--sparse=always", stock, raw);
  const { partitions } = readGpt(readAtFile(`${root}/${raw}`), fs.statSync(stock).size);
  fs.writeFileSync(`${root}/changes`, changes.map((line) => `${line}\n`).join(""));
  run("debugfs", "-w", "-f", "changes", `${raw}?offset=${partitions.at(-1)?.firstByte}`);
  run("qemu-img", "convert", "-O", "qcow2", raw, source);
  fs.rmSync(`${root}/${raw}`);
  return { source, sha256: run("sha256sum", source).slice(0, 64) };
}

async function importAs(name: string, image: Published) {
  const { sidecarOf } = await garth.template();
  const sidecar = await sidecarOf({}, name);
  return await templates.import({ name, ...image, sidecar, description: "Debian, as it is for clouds." });
}

/** A pool that keeps nothing ready by itself: one machine runs at a time. */
async function poolOf(spec: Pick<PoolSpec, "name" | "template" | "tier">): Promise<string> {
  await pools.init(poolSpec({ ...spec, size: 0, memoryBytes: MEMORY_BYTES, bootTimeoutMs: BOOT_LIMIT_MS }));
  return spec.name;
}

/** What a shell in the machine printed, whatever it ended with. */
async function ask(id: string, command: string): Promise<string> {
  const guest = await pools.guest(id);
  const { stdout, stderr } = await guest.run({ argv: ["/bin/sh", "-c", command], timeoutMs: LIMIT_MS });
  return `${Buffer.from(stdout).toString()}${stderr}`.trim();
}

/** One line each. */
const WHO = {
  login: "id -un",
  hostname: "hostname",
  hostnameFile: "cat /etc/hostname",
  ownAddress: 'getent hosts "$(hostname)" | cut -d" " -f1 | sort -u',
  mac: "cat /sys/class/net/e*/address",
  addresses: "ip -4 -o address show scope global | awk '{ print $4 }'",
  gateway: "ip -4 route show default | awk '{ print $3 }'",
  nameServers: "resolvectl dns | grep -o '10[.]77[0-9.]*' | sort -u",
  hostKeyFiles: "ls /etc/ssh/ssh_host_*_key",
  hostKey: "cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub",
  machine: "cat /etc/machine-id",
  boot: "cat /proc/sys/kernel/random/boot_id",
  random: "head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n'",
} as const;

async function whoIs(id: string): Promise<Readonly<Record<string, string>>> {
  const lines = Object.values(WHO).map((command) => `echo $(${command})`);
  const told = (await ask(id, lines.join("\n"))).split("\n");
  return Object.fromEntries(Object.keys(WHO).map((what, index) => [what, told[index] ?? ""]));
}

/** Its host key is the one by which the pool knows it, and connects to nobody else. */
function itself(entry: PoolEntry) {
  const known = fs.readFileSync(`${entry.directory}/known_hosts`, "utf8").split(" ");
  return {
    login: "root",
    hostname: entry.id,
    hostnameFile: entry.id,
    ownAddress: "127.0.1.1",
    mac: entry.mac,
    addresses: `${entry.address}/24`,
    gateway: "10.77.0.1",
    nameServers: "10.77.0.3",
    hostKeyFiles: "/etc/ssh/ssh_host_ed25519_key",
    hostKey: known.slice(1, 3).join(" "),
  };
}

/** What no two machines have in common. */
function expectOthers(...all: readonly Readonly<Record<string, string>>[]): void {
  for (const what of ["hostname", "mac", "addresses", "hostKey", "machine", "boot", "random"]) {
    const values = all.map((who) => who[what] ?? "");
    expect(new Set([...values, ""]).size).toBe(all.length + 1);
  }
}

/** By networkd, for which netplan writes what cloud-init tells it: also in a clone, whose interface had another address before. */
async function expectManaged(id: string): Promise<void> {
  const links = "networkctl --no-legend list | awk '$2 != \"lo\" { print $5 }'";
  expect(await ask(id, `/usr/lib/systemd/systemd-networkd-wait-online --any; ${links}`)).toBe("configured");
}

/** Its boot is over, and nothing of it went wrong. */
async function expectSound(id: string): Promise<void> {
  expect(await ask(id, "systemctl is-system-running --wait; systemctl --failed --no-legend --plain")).toBe("running");
}

test(
  "a cloud image with cloud-init: checked, imported, booted; a clone of its machine",
  async () => {
    const image = published("cloud", WITHOUT_SEED);
    const wrong = await problemOf(
      importAs("cloud", { ...image, sha256: image.sha256.replace(/^./, (digit) => (digit === "0" ? "1" : "0")) }),
    );
    expect(wrong.code).toBe("E_HASH_MISMATCH");
    expect(templates.list()).toEqual([]);
    const { template } = await importAs("cloud", image);
    expect(template.manifest.origin).toEqual({ kind: "import", ...image, format: "qcow2" });
    expect(await templates.verify("cloud")).toEqual(template);

    const pool = await poolOf({ name: "cloud", template: "cloud", tier: "cold" });
    const { entry, how } = await pools.checkout(pool, { holder: "somebody" });
    expect(how).toBe("cold");
    expect(await ask(entry.id, "cloud-init status --wait")).toEndWith("status: done");
    const first = await whoIs(entry.id);
    expect(first).toMatchObject(itself(entry));
    expect(await ask(entry.id, "cat /var/lib/cloud/data/instance-id")).toBe(entry.id);
    expect(await ask(entry.id, "journalctl -b -u garth-seed -o cat")).toContain("its network is kept by cloud-init");
    await expectManaged(entry.id);
    await expectSound(entry.id);

    await ask(entry.id, "echo kept >/root/kept");
    const { id: snapshot } = await pools.snapshot(entry.id);
    await pools.return(entry.id);
    const clone = await pools.checkout(pool, { holder: "another", snapshot });
    const second = await whoIs(clone.entry.id);
    expect(second).toMatchObject(itself(clone.entry));
    expectOthers(first, second);
    expect(await ask(clone.entry.id, "cat /root/kept")).toBe("kept");
    await expectManaged(clone.entry.id);
    await expectSound(clone.entry.id);
    await pools.drain(pool, { forget: true });
    templates.remove("cloud");
  },
  LIMIT_MS,
);

test(
  "one whose cloud-init is switched off: garth-seed tells it who it is, and clones of a snapshot are somebody else",
  async () => {
    await importAs("plain", published("plain", [...WITHOUT_SEED, ...WITHOUT_CLOUD_INIT]));
    const pool = await poolOf({ name: "plain", template: "plain", tier: "snapshot" });
    // There is no snapshot yet.
    const booted = await pools.checkout(pool, { holder: "somebody" });
    expect(booted).toMatchObject({ how: "cold", miss: true });
    expect(await ask(booted.entry.id, "cloud-init status")).toEndWith("status: disabled");
    const all = [await whoIs(booted.entry.id)];
    expect(all[0]).toMatchObject(itself(booted.entry));
    expect(await ask(booted.entry.id, "ls /run/cloud-init/result.json")).toContain("No such file");
    await expectSound(booted.entry.id);
    await pools.return(booted.entry.id);

    await pools.warm(pool);
    for (const holder of ["another", "a third"]) {
      const { entry, how, miss } = await pools.checkout(pool, { holder });
      expect({ how, miss }).toEqual({ how: "snapshot", miss: false });
      const who = await whoIs(entry.id);
      expect(who).toMatchObject(itself(entry));
      all.push(who);
      await expectSound(entry.id);
      await pools.return(entry.id);
    }
    expectOthers(...all);
    await pools.drain(pool, { forget: true });
    templates.remove("plain");
  },
  LIMIT_MS,
);
