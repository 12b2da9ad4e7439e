/** Machines that another process supervises: found, looked at, typed to, ended; and those whose supervisor was killed. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { consoleFiles } from "./record.ts";
import { runs, type Supervisors, supervisorsIn, until } from "./supervise.testing.ts";
import { boot, consoleText, type MachinePlace, machinePlace, sampleSpec } from "./testing.ts";

const host = localHost();
let place: MachinePlace;
let supervise: Supervisors["supervise"];
let endAll: Supervisors["endAll"];
beforeEach(() => {
  place = machinePlace();
  ({ supervise, endAll } = supervisorsIn(place));
});
afterEach(async () => {
  await endAll();
  place.remove();
});

const talker = [...boot.print("hello\r\nname: "), ...boot.echo];

describe("a machine that another process supervises", () => {
  test("is found, printed by, typed to, pictured, and ended", async () => {
    const { machines } = place;
    const { pid, rest } = await supervise(talker, "named");
    const record = machines.find("detached");
    expect(record).toMatchObject({ name: "detached", state: "running", pid, ended: undefined });
    expect(machines.list()).toEqual(record === undefined ? [] : [record]);
    const { consoleLog, consoleRaw, directory, spec, accelerator } = record ?? {};
    if (consoleLog === undefined || consoleRaw === undefined || directory === undefined) throw new Error("no record");
    expect(spec?.credentials).toEqual({ "my.secret": "" });
    expect(accelerator).toEqual({ accelerator: "tcg", reason: "it was asked for" });
    expect(statSync(directory).mode & 0o777).toBe(0o700);

    expect(await until(() => readFileSync(consoleRaw, "latin1") === "hello\r\nname: ")).toBe(true);
    await machines.writeTo("detached", "garth\n");
    await machines.writeTo("detached", "again");
    expect(await until(() => readFileSync(consoleRaw, "latin1").endsWith("AGAIN"))).toBe(true);

    const picture = join(place.directory, "picture.png");
    await machines.screenshotOf("detached", picture);
    expect(readFileSync(picture).subarray(0, 8).toString("latin1")).toBe("\x89PNG\r\n\x1a\n");

    await machines.stopOf("detached");
    expect(runs(pid)).toBe(false);
    const ended = { kind: "stopped", status: 0, detail: "it was stopped" } as const;
    expect(JSON.parse(await rest())).toEqual(ended);
    expect(machines.find("detached")).toMatchObject({ state: "ended", ended });
    expect(readFileSync(consoleLog, "utf8")).toMatch(/^00:0\d:\d\d\.\d{3} hello\n00:0\d:\d\d\.\d{3} name: GARTH.*AGAIN\n$/s);
    expect(readdirSync(directory).toSorted()).toEqual(["console.in", "console.log", "console.raw", "machine.json", "owner"]);
    expect(readFileSync(join(directory, "machine.json"), "utf8")).not.toContain("xyzzy");

    const problem = await problemOf(machines.stopOf("detached"));
    expect([problem.code, problem.exit, problem.message]).toEqual([
      "E_NO_MACHINE",
      2,
      "the machine detached does not run any more: it was stopped",
    ]);
    await machines.sweep();
    expect(machines.list()).toEqual([]);
    expect(place.left()).toEqual([]);
  });

  test("has its name to itself while it runs, and not after", async () => {
    const { machines } = place;
    const disk = place.disk("halted.img", boot.halt);
    const spec = sampleSpec(disk, { name: "web" });
    const machine = await machines.start(spec, { registered: true });
    const problem = await problemOf(machines.start(spec, { registered: true }));
    expect([problem.code, problem.exit, problem.where]).toEqual(["E_MACHINE_EXISTS", 2, machine.directory]);
    const nameless = await machines.start(spec);
    expect(machines.list().map(({ pid }) => pid)).toEqual([machine.pid]);
    expect((await problemOf(machines.writeTo("wbe", "x"))).hint).toBe("did you mean web?");
    expect((await problemOf(machines.screenshotOf("web", join(place.directory, "x.png")))).code).toBe("E_NO_DISPLAY");
    await Promise.all([machine.stop(), nameless.stop()]);
    const second = await machines.start(spec, { registered: true });
    expect(machines.find("web")?.pid).toBe(second.pid);
    await second.stop();
  });

  test("hears what is typed from outside and from inside, and its callback hears it all", async () => {
    const console = consoleText();
    const spec = sampleSpec(place.disk("talker.img", talker));
    const machine = await place.machines.start(spec, { registered: true, onConsole: console.onConsole });
    await console.until("name: ");
    await machine.write("in");
    await console.until("IN");
    await place.machines.writeTo("sample", "out");
    await console.until("INOUT");
    await machine.stop();
  });
});

describe("kill -9 of the supervisor", () => {
  test.each(["named", "nameless"] as const)("ends a %s machine, and the next sweep tidies", async (naming) => {
    const { pid, child } = await supervise(boot.halt, naming);
    expect([runs(pid), place.left().length]).toEqual([true, 1]);
    child.kill("SIGKILL");
    await child.exited;
    expect(await until(() => !runs(pid))).toBe(true);
    expect(place.machines.list().map(({ state }) => state)).toEqual(naming === "named" ? ["dead"] : []);
    await place.machines.sweep();
    expect(place.left()).toEqual([]);
  });

  test("where no death is passed on, the next sweep ends the machine", async () => {
    const { pid, child } = await supervise(boot.halt, "nameless", "without");
    child.kill("SIGKILL");
    await child.exited;
    expect(runs(pid)).toBe(true);
    await place.machines.sweep();
    expect(await until(() => !runs(pid))).toBe(true);
    expect(place.left()).toEqual([]);
  });

  test("frees the name", async () => {
    const { child } = await supervise(boot.halt, "named", "without");
    child.kill("SIGKILL");
    await child.exited;
    const spec = sampleSpec(place.disk("halted.img", boot.halt), { name: "detached" });
    const machine = await place.machines.start(spec, { registered: true });
    expect(place.machines.list()).toMatchObject([{ state: "running", pid: machine.pid }]);
    await machine.stop();
  });
});

describe("sweeping", () => {
  test("leaves the living, what was made this moment, and what is no machine", async () => {
    const { machines } = place;
    const { pid } = await supervise(boot.halt, "named");
    const below = join(place.directory, "machines");
    for (const name of [".machine-new", ".machine-old"]) mkdirSync(join(below, name));
    utimesSync(join(below, ".machine-old"), 1, 1);
    writeFileSync(join(below, "file"), "");
    mkdirSync(join(below, ".probe-dead"));
    writeFileSync(join(below, ".probe-dead/owner"), "another boot:1:1");
    await machines.sweep();
    expect(place.left().toSorted()).toEqual([".machine-new", "detached", "file"]);
    expect(runs(pid)).toBe(true);
    await machines.stopOf("detached");
  });

  test("of a place that was never used does nothing", async () => {
    await place.machines.sweep();
    expect([place.machines.list(), place.machines.find("x"), place.left()]).toEqual([[], undefined, []]);
  });
});

test("console files are bounded: the last one is kept, and the one before", () => {
  const directory = place.directory;
  const files = consoleFiles(host, directory, 100);
  for (let line = 0; line < 100; line += 1) files.add(Buffer.from(`line ${line}\r\n`), line * 1000);
  files.add(Buffer.from("no end"), 100_000);
  files.end();
  for (const name of ["console.log", "console.log.old", "console.raw", "console.raw.old"]) {
    expect(statSync(join(directory, name)).size).toBeLessThanOrEqual(100);
  }
  const log = ["console.log.old", "console.log"].map((name) => readFileSync(join(directory, name), "utf8")).join("");
  expect(log).toEndWith("00:01:38.000 line 98\n00:01:39.000 line 99\n00:01:40.000 no end\n");
  expect(log.split("\n").length).toBeGreaterThan(5);
});
