/** The same of a machine that has FreeBSD's base system alone, over a real sshd: a stand-in, whose program of generations is a test's own. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import * as fs from "node:fs";
import { baseName, type StorePath } from "../base/index.ts";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { openTestHost, type TestHost } from "../remote/testing.ts";
import { narSha256Of, openTestStore, type TestStore } from "../store/testing.ts";
import { type Machine, openMachine } from "./index.ts";
import { makeSystem, PROGRAM, STATE } from "./testing.ts";

let host: TestHost;
let here: TestStore;
let machine: Machine;
let [one, two]: readonly StorePath[] = [];

beforeAll(async () => {
  host = await openTestHost({ kind: "freebsd" });
  here = openTestStore();
  [one, two] = [await makeSystem(here, "one", { family: "freebsd" }), await makeSystem(here, "two", { family: "freebsd" })];
  for (const each of ["/frx/store", "/run/current-system", STATE]) fs.mkdirSync(host.path(each), { recursive: true });
  fs.writeFileSync(host.path("/run/current-system/generations"), PROGRAM, { mode: 0o755 });
  const status = ["running 1", `running-system ${one}`, "current 1", "rollback -", "next -", "booted-trial no", "boot-free -"];
  write("status", [...status, "root-free 100000000", `generation 1 good ${one} image`]);
  write("said", ["garth: generation 2"]);
  write("exit", ["0"]);
  const options = {
    host: localHost(),
    store: here.store,
    hosts: () => Promise.reject(new Error("nobody asks for a list")),
    visit: { runtimeDirectory: `${host.directory}/run`, environment: {}, configFile: "/dev/null" },
    now: () => 0,
    compare: () => Promise.resolve([]),
  };
  machine = await openMachine(options, { machine: host.wish.url, identityFile: host.identityFile, hostKey: "new" });
});
afterAll(async () => {
  await machine.close();
  here[Symbol.dispose]();
  await host.close();
});

function write(name: string, lines: readonly string[]): void {
  fs.writeFileSync(host.path(`${STATE}/${name}`), lines.map((line) => `${line}\n`).join(""));
}

test("it is looked at, sent to by what its base system has, and told", async () => {
  const before = await machine.status();
  expect(before).toMatchObject({ family: "freebsd", hasMtree: true, current: 1, bootFreeBytes: undefined });
  expect(before.bootId).toMatch(/Dump:0x[0-9a-f]{32}$/);
  const report = await machine.switchTo(two ?? "/frx/store/", { trialSeconds: 60 });
  expect(report).toMatchObject({ done: true, generation: 2, sentItems: 2 });
  const closure = here.store.closure([two ?? "/frx/store/"]);
  expect(fs.readdirSync(host.path("/frx/store")).toSorted()).toEqual(closure.map(baseName).toSorted());
  for (const path of closure) expect(narSha256Of(host.path(path))).toBe(here.store.query(path)?.narSha256 ?? "");
  expect(fs.readFileSync(host.path(`${STATE}/calls`), "utf8")).toEndWith(`add ${two} 60\n`);
  await host.reboot();
  fs.mkdirSync(host.path("/run/current-system"), { recursive: true });
  expect((await machine.status()).bootId).not.toBe(before.bootId);
});

test("a system of another family is not for it", async () => {
  const linux = await makeSystem(here, "linux");
  expect((await problemOf(machine.switchTo(linux, { trialSeconds: 60 }))).code).toBe("E_OTHER_SYSTEM");
});
