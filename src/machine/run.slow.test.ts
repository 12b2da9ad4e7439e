/** Machines under the real QEMU that take their time. */
import { afterAll, expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { runs, supervisorsIn } from "./supervise.testing.ts";
import { boot, consoleText, machinePlace, sampleSpec } from "./testing.ts";

const place = machinePlace();
afterAll(() => place.remove());
const { machines } = place;
const hello = place.disk("hello.img", [...boot.print("hello\r\n"), ...boot.halt]);

test("a machine that does not answer is stopped all the same", async () => {
  const machine = await machines.start(sampleSpec(hello));
  process.kill(machine.pid, "SIGSTOP");
  await machine.stop();
  expect(await machine.exited).toEqual({ kind: "stopped", status: null, detail: "it was stopped" });
  expect(place.left()).toEqual([]);
}, 15_000);

test("a machine has UEFI with variables of its own, and its image stays as it is", async () => {
  const console = consoleText();
  const before = readFileSync(hello);
  const machine = await machines.start(sampleSpec(hello, { firmware: { kind: "uefi" }, memoryBytes: 128 * 1024 ** 2 }), console);
  const variables = join(machine.directory, "variables.fd");
  expect(statSync(variables).mode & 0o777).toBe(0o600);
  await console.until("BdsDxe");
  await machine.stop();
  expect(place.left()).toEqual([]);
  expect(readFileSync(hello).equals(before)).toBe(true);
}, 30_000);

test("a machine of another process that does not answer is ended all the same", async () => {
  const { supervise, endAll } = supervisorsIn(place);
  const { pid, rest } = await supervise(boot.halt, "named");
  process.kill(pid, "SIGSTOP");
  await machines.stopOf("detached");
  expect(runs(pid)).toBe(false);
  expect(JSON.parse(await rest())).toMatchObject({ kind: "died", detail: "QEMU was ended by SIGKILL" });
  await endAll();
}, 30_000);
