/** Jails of this machine, as far as a host in small has them (jail.testing.ts). */
import { afterEach, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import { problemOf } from "../base/testing.ts";
import { jailSandbox } from "./jail.ts";
import { isGone, jailPlan } from "./jail-run.testing.ts";
import { makeSmallHost, smallFreebsd, type SmallHost } from "./jail.testing.ts";
import { jailName } from "./jail-files.ts";
import { CAN_SANDBOX } from "./testing.ts";
import type { Limits, SandboxPlan } from "./types.ts";

const made: SmallHost[] = [];
afterEach(() => {
  for (const host of made.splice(0)) host.remove();
});

function smallHost(): SmallHost {
  const host = makeSmallHost();
  made.push(host);
  return host;
}

function open(script: string, limits: Partial<Limits> = {}) {
  const host = smallHost();
  const sandbox = jailSandbox(smallFreebsd(host.directory));
  const plan = jailPlan(host.directory, script, limits);
  const notes: string[] = [];
  let text = "";
  const printed = Promise.withResolvers<void>();
  const run = (signal?: AbortSignal) =>
    sandbox.run(plan, {
      onOutput: (chunk) => {
        text += Buffer.from(chunk).toString();
        printed.resolve();
      },
      onNote: (line) => notes.push(line),
      ...(signal === undefined ? {} : { signal }),
    });
  return { host, sandbox, plan, notes, run, printed: printed.promise, text: () => text };
}

function expectUndone(host: SmallHost, plan: SandboxPlan): void {
  expect([host.jails(), host.mounts(), fs.existsSync(join(plan.scratch, "jail-root"))]).toEqual([[], [], false]);
}

describe.if(CAN_SANDBOX)("a jail of this machine", () => {
  test("a run: its result, its numbers, what it printed, and what the host view lacks", async () => {
    const { host, plan, run, notes, text } = open("echo out; echo err >&2; exit 7");
    const { result, use } = await run();
    expect(result).toEqual({ kind: "exited", status: 7 });
    expect(use).toMatchObject({ uid: 35_001, gid: 35_001, mode: "freebsd-jail", limits: "each" });
    expect(text()).toBe("out\nerr\n");
    expect(notes).toEqual(["the host view's /nowhere is not there", expect.stringContaining("kern.racct.enable")]);
    expectUndone(host, plan);
    expect(fs.existsSync(plan.scratch)).toBe(true);
  });

  test("signals have FreeBSD's names", async () => {
    expect((await open("kill -10 $$").run()).result).toEqual({ kind: "signalled", signal: "SIGBUS" });
  });

  test("cancelled: ended and undone", async () => {
    const { host, plan, run, printed } = open("echo up; exec sleep 100");
    const stop = new AbortController();
    const ended = run(stop.signal);
    await printed;
    stop.abort();
    expect((await ended).result).toEqual({ kind: "cancelled" });
    expectUndone(host, plan);
  });

  test("silence and what is printed are limited from outside", async () => {
    expect((await open("exec sleep 100", { silenceMs: 50 }).run()).result).toMatchObject({ kind: "limit", limit: "silenceMs" });
    const loud = open("while :; do echo yes; done", { logBytes: 1000 });
    expect((await loud.run()).result).toMatchObject({ kind: "limit", limit: "logBytes" });
    expect(loud.text().length).toBe(1000);
    expectUndone(loud.host, loud.plan);
  });

  test("one that cannot be made says why", async () => {
    const taken = open("exit 0");
    taken.host.state(`jails/${jailName(taken.plan)}`, "/elsewhere\n");
    const problem = await problemOf(taken.run());
    expect(problem.code).toBe("E_SANDBOX_SETUP");
    expect(problem.details).toContain(`a jail ${jailName(taken.plan)} is there, and is somebody else's`);
    expect(problem.details.join("\n")).toContain("already exists");
  });

  test("one that cannot be undone says what to do; a later sweep undoes it", async () => {
    const { host, plan, run, sandbox } = open("exit 0");
    host.state("stuck");
    const problem = await problemOf(run());
    expect([problem.code, problem.hint]).toEqual(["E_SANDBOX_STUCK", `to try again: sh ${plan.scratch}/run.sh teardown`]);
    await sandbox.sweep();
    expect(host.mounts().length).toBeGreaterThan(0);
    fs.rmSync(join(host.directory, "state/stuck"));
    await sandbox.sweep();
    expectUndone(host, plan);
  });

  test("a sweep leaves alone what lives", async () => {
    const { host, run, printed, sandbox } = open("echo up; exec sleep 100");
    const stop = new AbortController();
    const ended = run(stop.signal);
    await printed;
    await sandbox.sweep();
    expect(host.jails().length).toBe(1);
    stop.abort();
    await ended;
  });

  test("a Garth that is killed: the jail undoes itself, and its builder is gone", async () => {
    const host = smallHost();
    const garth = Bun.spawn(
      [process.execPath, `${import.meta.dir}/jail-local.testing.ts`, host.directory, "echo $$; exec sleep 100"],
      {
        stdout: "pipe",
      },
    );
    const { value } = await garth.stdout.getReader().read();
    const builder = Number(new TextDecoder().decode(value));
    const plan = jailPlan(host.directory, "");
    const script = Number(fs.readFileSync(join(plan.scratch, "owner"), "utf8").split(" ")[0]);
    garth.kill("SIGKILL");
    await garth.exited;
    while (!isGone(script)) await new Promise((resolve) => setImmediate(resolve));
    expect(isGone(builder)).toBe(true);
    expectUndone(host, plan);
  });
});
