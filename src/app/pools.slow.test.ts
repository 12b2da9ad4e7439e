/**
 * Pools of real machines of the example's template `micro`: who a clone is, who gets it, what becomes of it; in each tier, on both kinds
 * of network, and where things go wrong.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { Problem } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { sshOptions } from "../guest/index.ts";
import type { Pools, PoolSpec } from "../pool/index.ts";
import { poolSpec } from "../pool/testing.ts";
import type { Garth } from "./index.ts";
import { garthWithTemplates } from "./templates.testing.ts";

const LIMIT_MS = 600_000;
let garth: Garth;
let pools: Pools;
const made = new Set<string>();

beforeAll(async () => {
  garth = await garthWithTemplates("micro");
  pools = await garth.pools();
}, LIMIT_MS);
afterEach(async () => {
  for (const name of made) await pools.drain(name, { forget: true });
  made.clear();
}, LIMIT_MS);
afterAll(async () => {
  await garth.close();
});

/** A pool of this test's own, gone at its end. */
async function pool(name: string, fields: Partial<PoolSpec> = {}): Promise<string> {
  made.add(name);
  await pools.init(poolSpec({ name, template: "micro", ...fields }));
  return name;
}

let holders = 0;
async function take(name: string, more: { readonly snapshot?: string } = {}) {
  holders += 1;
  return await pools.checkout(name, { holder: `test ${process.pid} ${holders}`, ...more });
}

/** What a shell in the machine printed. */
async function ask(id: string, command: string): Promise<string> {
  const guest = await pools.guest(id);
  const { code, stdout, stderr } = await guest.run({ argv: ["/bin/sh", "-c", command], timeoutMs: 60_000 });
  if (code !== 0) throw new Error(`${command} ended with ${code} in ${id}: ${stderr}`);
  return Buffer.from(stdout).toString().trim();
}

const WHO = [
  "hostname",
  "cat /etc/hostname",
  "cat /etc/machine-id",
  "cat /proc/sys/kernel/random/boot_id",
  "cat /sys/class/net/e*/address",
  "cat /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2",
  "head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo",
  `python3 -c 'import socket,fcntl,struct,glob,os
for path in glob.glob("/sys/class/net/e*"):
    s=socket.socket(); print(socket.inet_ntoa(fcntl.ioctl(s.fileno(),0x8915,struct.pack("256s",os.path.basename(path).encode()))[20:24]))'`,
].join("\n");

describe("clones of one guest", () => {
  test(
    "are each somebody else: name, address, keys, randomness, and the time is now",
    async () => {
      const name = await pool("who", { size: 3 });
      const report = await pools.warm(name);
      expect(report).toMatchObject({ available: 3, made: 3, failed: 0 });
      const entries = await Promise.all([take(name), take(name), take(name)]);
      expect(entries.map(({ how, miss }) => ({ how, miss }))).toEqual(
        Array.from({ length: 3 }, () => ({ how: "hot", miss: false })),
      );
      const told = [];
      for (const { entry } of entries) {
        const [hostname, file, machine, boot, mac, key, random, address] = (await ask(entry.id, WHO)).split("\n");
        expect({ hostname, file, mac, address }).toEqual({
          hostname: entry.id,
          file: entry.id,
          mac: entry.mac,
          address: entry.address,
        });
        expect(fs.readFileSync(`${entry.directory}/known_hosts`, "utf8")).toContain(key ?? "no key");
        told.push({ machine, boot, key, random });
        const clock = Number(await ask(entry.id, "date +%s"));
        expect(Math.abs(clock - Date.now() / 1000)).toBeLessThan(5);
      }
      for (const what of ["machine", "boot", "key", "random"] as const) {
        const values = told.map((each) => each[what]);
        expect(values.every((value) => (value ?? "").length >= 32)).toBe(true);
        expect(new Set(values).size).toBe(3);
      }
    },
    LIMIT_MS,
  );

  test(
    "are destroyed when they come back, and never had by two",
    async () => {
      const name = await pool("once", { size: 2 });
      await pools.warm(name);
      // Five who want one of two: two get them, the others get clones made for them, and hear of it.
      const all = await Promise.all(Array.from({ length: 5 }, () => take(name)));
      expect(new Set(all.map(({ entry }) => entry.id)).size).toBe(5);
      expect(all.filter(({ miss }) => !miss)).toHaveLength(2);
      expect(all.filter(({ how, miss }) => miss && how === "snapshot")).toHaveLength(3);
      const [first] = all;
      if (first === undefined) throw new Error("nobody got one");
      const { id, pid, directory } = first.entry;
      await pools.return(id);
      expect(fs.existsSync(directory)).toBe(false);
      // It may be there as one that ended and was not waited for.
      expect(garth.host.identityOf(pid ?? 0)).toBeUndefined();
      expect((await problemOf(pools.return(id))).code).toBe("E_NO_ENTRY");
      await pools.warm(name);
      expect(pools.list(name).map((entry) => entry.id)).not.toContain(id);
    },
    LIMIT_MS,
  );

  test(
    "keep what runs in them over a pause, and OpenSSH's own programs reach them",
    async () => {
      const name = await pool("pause", { size: 1 });
      await pools.warm(name);
      const { entry } = await take(name);
      const guest = await pools.guest(entry.id);
      let counted = "";
      const counter = await guest.spawn(
        { argv: ["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"] },
        (chunk) => {
          counted += Buffer.from(chunk).toString();
        },
      );
      while (!counted.includes("3\n")) await Bun.sleep(10);
      await pools.pause(entry.id);
      expect(pools.entry(entry.id).state).toBe("paused");
      expect((await problemOf(pools.guest(entry.id))).code).toBe("E_ENTRY_STATE");
      while (fs.readFileSync(`/proc/${entry.pid}/stat`, "utf8").split(") ")[1]?.[0] !== "T") await Bun.sleep(1);
      const seen = counted.length;
      await pools.resume(entry.id);
      while (counted.length <= seen) await Bun.sleep(10);
      const lines = counted.trim().split("\n").map(Number);
      expect(lines).toEqual(lines.map((_, index) => index + 1));
      await counter.signal("SIGKILL");
      await counter.exited;

      const { address } = guest;
      const options = [...sshOptions(address), "-o", "ControlPath=none", "-o", `Port=${address.port}`];
      const { run } = garth.host;
      const plain = await run({ argv: ["ssh", ...options, `root@${address.address}`, "hostname"] });
      expect(plain.text().trim()).toBe(entry.id);
      const file = `${entry.directory}/data`;
      fs.writeFileSync(file, Buffer.alloc(200_000, "garth "));
      await run({ argv: ["scp", "-q", ...options, file, `root@${address.address}:/root/data`] });
      await run({
        argv: ["sftp", "-q", "-b", "-", ...options, `root@${address.address}`],
        stdin: `rename /root/data /root/moved\nget /root/moved ${file}.back\n`,
      });
      expect(fs.readFileSync(`${file}.back`).equals(fs.readFileSync(file))).toBe(true);
    },
    LIMIT_MS,
  );

  test(
    "begin where another one was, with its files and processes, as somebody else",
    async () => {
      const name = await pool("fork", { size: 1 });
      await pools.warm(name);
      const { entry } = await take(name);
      await ask(
        entry.id,
        "echo kept >/root/kept; (while :; do sleep 0.2; date +%s%N >/root/beat; done) >/dev/null 2>&1 </dev/null &",
      );
      const saved = await pools.snapshot(entry.id, { name: "a moment" });
      expect(pools.snapshots()).toEqual([saved]);
      expect(await ask(entry.id, "hostname")).toBe(entry.id);
      await pools.return(entry.id);
      const forks = [await take(name, { snapshot: saved.id }), await take(name, { snapshot: "a moment" })];
      for (const fork of forks) {
        expect(fork).toMatchObject({ how: "snapshot", miss: false });
        expect(await ask(fork.entry.id, "hostname; cat /root/kept")).toBe(`${fork.entry.id}\nkept`);
        const [before, after] = (await ask(fork.entry.id, "cat /root/beat; sleep 1; cat /root/beat")).split("\n");
        expect(before).not.toBe(after);
      }
      expect(pools.removeSnapshot(saved.id)).toBe(true);
      expect(pools.removeSnapshot(saved.id)).toBe(false);
      expect((await problemOf(take(name, { snapshot: saved.id }))).code).toBe("E_NO_SNAPSHOT");
      expect(await ask(forks[0]?.entry.id ?? "", "cat /root/kept")).toBe("kept");
    },
    LIMIT_MS,
  );
});

describe("tiers", () => {
  test(
    "cold boots at checkout; snapshot begins from one, also one that an earlier process made",
    async () => {
      const cold = await pool("tier-cold", { tier: "cold", size: 0 });
      expect(await pools.warm(cold)).toMatchObject({ available: 0, made: 0 });
      const booted = await take(cold);
      expect(booted).toMatchObject({ how: "cold", miss: false });
      expect(await ask(booted.entry.id, "hostname; cat /etc/resolv.conf")).toBe(`${booted.entry.id}\nnameserver 10.77.0.3`);

      const snapshot = await pool("tier-snapshot", { tier: "snapshot", size: 0, density: "dense" });
      await pools.warm(snapshot);
      expect(pools.list(snapshot)).toEqual([]);
      const other = await garthWithTemplates("micro");
      const clone = await (await other.pools()).checkout(snapshot, { holder: "another process" });
      expect(clone).toMatchObject({ how: "snapshot", miss: false });
      await other.close();
      expect(await ask(clone.entry.id, "hostname")).toBe(clone.entry.id);
    },
    LIMIT_MS,
  );

  test(
    "a change of the pool's machines replaces those that nobody has, and no others",
    async () => {
      const name = await pool("change", { size: 1 });
      await pools.warm(name);
      const { entry: held } = await take(name);
      await pools.warm(name);
      const before = new Set(pools.list(name).map(({ id }) => id));
      await pools.init(poolSpec({ name, template: "micro", size: 1, memoryBytes: 320 * 1024 ** 2 }));
      await pools.warm(name);
      const after = pools.list(name);
      expect(after.find(({ id }) => id === held.id)?.state).toBe("in-use");
      expect(after.filter(({ state }) => state === "available").map(({ id }) => before.has(id))).toEqual([false]);
      const { entry } = await take(name);
      const total = Number(await ask(entry.id, "awk '/MemTotal/ {print $2}' /proc/meminfo"));
      expect(total).toBeGreaterThan(270_000);
    },
    LIMIT_MS,
  );
});

describe("where things go wrong", () => {
  test(
    "a guest that never answers is undone, its reason kept with its console's last lines",
    async () => {
      const name = await pool("silent", { tier: "hot", size: 1, bootTimeoutMs: 1_500 });
      const problem = await problemOf(pools.warm(name));
      expect(problem.code).toBe("E_GUEST_SILENT");
      expect(problem.message).toContain("1.5s");
      const [failed, ...others] = pools.list(name);
      expect(others).toEqual([]);
      expect(failed).toMatchObject({
        state: "failed",
        holder: undefined,
        pid: undefined,
        failure: expect.stringContaining("E_GUEST_SILENT"),
      });
      expect(
        fs.existsSync(`${garth.places.pools}/${name}/snapshots`) ? fs.readdirSync(`${garth.places.pools}/${name}/snapshots`) : [],
      ).toEqual([]);
    },
    LIMIT_MS,
  );

  test(
    "a machine that died while nobody looked is not handed out: the caller gets the next",
    async () => {
      const name = await pool("died", { size: 2 });
      await pools.warm(name);
      const [victim] = pools.list(name);
      process.kill(victim?.pid ?? 0, "SIGKILL");
      const notes: string[] = [];
      const stop = pools.onEvent((event) => {
        if (event.kind === "note") notes.push(event.text);
      });
      const { entry, how } = await take(name);
      stop();
      expect({ how, same: entry.id === victim?.id }).toEqual({ how: "hot", same: false });
      expect(notes.join()).toContain(victim?.id ?? "nobody");
      expect(await ask(entry.id, "hostname")).toBe(entry.id);
      expect(pools.list(name).map(({ id }) => id)).toEqual([entry.id]);
      // And one that dies under its holder is retired by whoever looks next.
      process.kill(entry.pid ?? 0, "SIGKILL");
      while (garth.host.identityOf(entry.pid ?? 0) !== undefined) await Bun.sleep(1);
      await pools.reconcile({ refill: false });
      expect(pools.list(name)).toEqual([]);
    },
    LIMIT_MS,
  );

  test(
    "a template that was tampered with is refused before anything is made of it",
    async () => {
      const name = await pool("forged", { size: 1 });
      const sidecar = `${garth.places.templates}/micro.conf`;
      const text = fs.readFileSync(sidecar, "utf8");
      fs.chmodSync(sidecar, 0o644);
      fs.writeFileSync(sidecar, text.replace(/^/, "# changed\n"));
      try {
        expect((await problemOf(pools.warm(name))).code).toBe("E_TEMPLATE_FORGED");
        expect((await problemOf(take(name))).code).toBe("E_TEMPLATE_FORGED");
        expect(pools.list(name)).toEqual([]);
      } finally {
        fs.writeFileSync(sidecar, text);
      }
      await pools.warm(name);
      expect(pools.list(name)).toHaveLength(1);
    },
    LIMIT_MS,
  );

  test(
    "what cannot be is said at once",
    async () => {
      const wrong = async (fields: Partial<PoolSpec>): Promise<string> => {
        const thrown: unknown = await pools
          .init(poolSpec({ name: "wrong", template: "micro", ...fields }))
          .catch((error: unknown) => error);
        if (!(thrown instanceof Problem)) throw new Error(`nothing is wrong with ${JSON.stringify(fields)}`);
        return `${thrown.code} ${thrown.details.join()}`;
      };
      expect(await wrong({ name: "Wrong Name" })).toStartWith("E_BAD_POOL name:");
      expect(await wrong({ size: 300 })).toContain("has 200 addresses");
      expect(await wrong({ subnet: "10.77.0.1/24" })).toStartWith("E_BAD_SUBNET");
      expect(await wrong({ memoryBytes: 1000 })).toStartWith("E_BAD_POOL memory:");
      expect(await wrong({ template: "none" })).toStartWith("E_NO_TEMPLATE");
      expect((await problemOf(pools.warm("no-such-pool"))).code).toBe("E_NO_POOL");
      const name = await pool("fixed", { tier: "cold", size: 0 });
      const { entry } = await take(name);
      const open = { allowInternetAccess: true, allowOut: [], denyOut: [] };
      expect((await problemOf(pools.setPolicy(entry.id, open))).code).toBe("E_NETWORK_FIXED");
      expect((await problemOf(pools.checkout(name, { holder: "more", policy: open }))).code).toBe("E_NETWORK_FIXED");
      const listed = { ...open, allowInternetAccess: false, allowOut: ["192.0.2.1"] };
      expect((await problemOf(pools.checkout(name, { holder: "some", policy: listed }))).code).toBe("E_NETWORK_FIXED");
      expect(await wrong({ policy: listed })).toContain("network: a user network cannot let single addresses out");
      expect(pools.list(name)).toHaveLength(1);
    },
    LIMIT_MS,
  );
});

/** Whether a TCP connection to the address is taken, refused, or lost on the way. */
const CONNECT = (address: string, port: number): string =>
  `python3 -c 'import socket
try:
    socket.create_connection(("${address}", ${port}), 3); print("open")
except Exception as error:
    print(type(error).__name__)'`;

test(
  "on a bridge each machine reaches the bridge's owner's way in, and neither the others nor the host",
  async () => {
    const name = await pool("bridged", { size: 2, network: "bridge" });
    await pools.warm(name);
    const [one, two] = [await take(name), await take(name)];
    expect([one.how, two.how]).toEqual(["hot", "hot"]);
    expect(one.entry.ssh).toEqual({ address: one.entry.address, port: 22 });
    for (const { entry } of [one, two])
      expect(await ask(entry.id, "hostname; cat /sys/class/net/e*/address")).toBe(`${entry.id}\n${entry.mac}`);
    expect(await ask(one.entry.id, CONNECT(two.entry.address, 22))).not.toBe("open");
    expect(await ask(two.entry.id, CONNECT(one.entry.address, 22))).not.toBe("open");
    const server = Bun.serve({ hostname: "0.0.0.0", port: 0, fetch: () => new Response("host") });
    try {
      expect(await ask(one.entry.id, CONNECT("10.77.0.1", server.port ?? 0))).not.toBe("open");
    } finally {
      await server.stop(true);
    }
    // What it says on its console comes over no network.
    await ask(one.entry.id, "echo said on the console >/dev/console");
    expect(pools.console(one.entry.id)).toContain("said on the console");
  },
  LIMIT_MS,
);
