/** The daemon in this process, before pools whose guest is a real sshd: what becomes of streams, sandboxes and faults. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Sandbox } from "e2b";
import { openGarth } from "../app/index.ts";
import { type FakePools, fakePools } from "../gateway/testing.ts";
import { openTestGuest, type TestGuest } from "../guest/testing.ts";
import type { LogLine } from "./log.ts";
import { type Daemon, type DaemonGarth, openDaemon } from "./open.ts";

let directory = "";
let guest: TestGuest;
let pools: FakePools;
let garth: DaemonGarth & { close(): Promise<void> };
let lines: LogLine[];
let daemon: Daemon;

async function open(): Promise<Daemon> {
  return openDaemon({
    garth,
    listen: "127.0.0.1:0",
    open: true,
    requests: false,
    log: (level, event, facts = {}) => lines.push({ level, event, facts }),
    now: Date.now,
  });
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "garth-daemon-"));
  guest = await openTestGuest();
  pools = fakePools({ guest: () => Promise.resolve(guest.guest) });
  const opened = openGarth({ root: directory, env: {}, workingDirectory: directory });
  garth = {
    host: opened.host,
    places: opened.places,
    ledger: opened.ledger,
    settings: () => opened.settings(),
    pools: () => Promise.resolve(pools),
    close: () => opened.close(),
  };
  lines = [];
  daemon = await open();
});
afterEach(async () => {
  await daemon.close();
  await garth.close();
  await guest.close();
  rmSync(directory, { recursive: true });
});

const connection = () => {
  const url = daemon.url.replace(/\/$/, "");
  return { apiUrl: url, sandboxUrl: url, apiKey: "e2b_0123456789abcdef" };
};

test("streams end with the daemon, and the next one has the sandbox still", async () => {
  const sandbox = await Sandbox.create("base", { ...connection(), timeoutMs: 600_000 });
  const ready = Promise.withResolvers<void>();
  const command = await sandbox.commands.run("echo ready; exec sleep 1000", {
    background: true,
    timeoutMs: 0,
    onStdout: () => ready.resolve(),
  });
  await ready.promise;
  const waiting = command.wait().catch((error: unknown) => error);
  await daemon.close();
  expect(await waiting).toBeInstanceOf(Error);
  expect(pools.list().map(({ state }) => state)).toEqual(["in-use"]);

  daemon = await open();
  const again = await Sandbox.connect(sandbox.sandboxId, connection());
  expect((await again.commands.run("echo still here")).stdout).toBe("still here\n");
  await again.kill();
  expect(pools.list()).toEqual([]);
  expect(lines.filter(({ level }) => level === "error")).toEqual([]);
  const machines = lines.filter(({ event }) => event === "machine").map(({ facts }) => facts["state"]);
  expect(machines).toEqual(expect.arrayContaining(["in-use", "retiring"]));
});

test("a daemon that could not be put together leaves no lease", async () => {
  await daemon.close();
  const broken = garth;
  garth = { ...broken, pools: () => Promise.reject(new Error("no pools")) };
  await expect(open()).rejects.toThrow("no pools");
  garth = broken;
  expect(garth.ledger.acquire("daemon", "another", () => true, 0)).toBeUndefined();
  garth.ledger.release("daemon", "another");
  daemon = await open();
});

test("settings that change are the gateway's from then on, and sandboxes stay", async () => {
  const sandbox = await Sandbox.create("base", connection());
  const file = garth.places.configuration;
  garth.host.files.makeDirectory(file.slice(0, file.lastIndexOf("/")), { parents: true });
  garth.host.files.writeFile(file, '[gateway]\ndomain = "sbx.localhost"\naliases = "mine=base"\n');
  await daemon.reload();
  expect(lines.at(-1)).toMatchObject({ event: "reloaded", facts: { changed: true } });
  expect(await sandbox.isRunning()).toBe(true);
  const other = await Sandbox.create("mine", connection());
  expect(other.getHost(8000)).toBe(`8000-${other.sandboxId}.sbx.localhost`);
  await Promise.all([sandbox.kill(), other.kill()]);
});
