/** What dead scripts left, undone: the script as text, and run on a host in small (jail.testing.ts), by two shells. */
import { afterEach, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import { golden } from "../base/testing.ts";
import { wholeScript } from "../host/index.ts";
import {
  at,
  type Ended,
  expectUndone,
  forgetHosts,
  isGone,
  ready,
  type Ready,
  startScript,
  users,
  WAITS,
} from "./jail-run.testing.ts";
import { SHELLS, type Shell } from "./jail.testing.ts";
import { jailName } from "./jail-files.ts";
import { processFunctions } from "./job-owner.ts";
import { sweepScript, sweepUnderLock } from "./sweep.ts";
import { CAN_SANDBOX } from "./testing.ts";

afterEach(forgetHosts);

describe("the script", () => {
  for (const system of ["x86_64-freebsd", "x86_64-linux"] as const) {
    const text = wholeScript(sweepScript("/tank/it's my $(root)", system));
    test(`${system}, whole`, () => expect(text).toBe(golden(join(import.meta.dir, `golden/sweep-${system}.sh`), text)));

    test(`${system}: sound by shellcheck's lights, and by those of shells, outside and under the lock`, () => {
      for (const script of [text, sweepUnderLock(system)]) {
        const checked = Bun.spawnSync(["shellcheck", "-s", "sh", "-"], { stdin: Buffer.from(script) });
        expect(checked.stdout.toString()).toBe("");
        for (const shell of [["dash"], ["busybox", "sh"]]) {
          expect(Bun.spawnSync([...shell, "-n"], { stdin: Buffer.from(script) }).stderr.toString()).toBe("");
        }
      }
    });
  }
});

describe.if(CAN_SANDBOX).each([...SHELLS])("a sweep, by %s", (shell) => {
  /** "PID START" of a process of this machine, in the host's words. */
  function identity({ host }: Ready, pid: number): string {
    const script = join(host.directory, "who.sh");
    fs.writeFileSync(
      script,
      host.adapted(`PATH=/sbin:/bin:/usr/sbin:/usr/bin\n${processFunctions("x86_64-freebsd")}began ${pid}; echo "${pid} $began"`),
    );
    return Bun.spawnSync([...host.command(shell, script)])
      .stdout.toString()
      .trim();
  }

  async function sweep(one: Ready, system: "x86_64-freebsd" | "x86_64-linux" = "x86_64-freebsd"): Promise<Ended> {
    const script = join(one.host.directory, "sweep.sh");
    fs.writeFileSync(
      script,
      one.host.adapted(wholeScript(sweepScript(one.root, system))).replaceAll("sh -c", shellOf(one, shell)),
    );
    return await startScript([...one.host.command(shell, script)]).ended;
  }

  const put = (one: Ready, name: string, owner?: string): string => {
    const path = join(one.root, name);
    fs.mkdirSync(path, { recursive: true });
    if (owner !== undefined) fs.writeFileSync(join(path, "owner"), `${owner}\n`);
    return path;
  };

  test("what lives is not touched, what is dead goes", async () => {
    const one = ready(shell, WAITS);
    const going = one.start("serve");
    await going.said("started");
    const me = identity(one, process.pid);
    put(one, "tmp/dead one", "999999 17");
    put(one, "tmp/lives", me);
    // Its number is another process's by now.
    put(one, "tmp/reused", `${process.pid} 17`);
    put(one, "tmp/just made");
    const old = put(one, "tmp/never owned");
    fs.utimesSync(old, 1, 1);
    put(one, "tmp/kept", "999999 18");
    fs.writeFileSync(join(one.root, "tmp/kept/kept"), "");
    fs.symlinkSync(one.host.directory, join(one.root, "tmp/a link"));
    put(one, "incoming/dead", "999999 17");
    put(one, "incoming/lives", me);
    for (const [number, owner] of [
      ["35007", "999999 17"],
      ["35008", me],
    ] as const)
      fs.symlinkSync(owner, join(one.root, "users", number));
    const { status, events } = await sweep(one);
    expect([status, events.toSorted()]).toEqual([
      0,
      ["swept incoming dead", "swept scratch dead one", "swept scratch never owned", "swept scratch reused", "swept user 35007"],
    ]);
    expect(fs.readdirSync(join(one.root, "tmp")).toSorted()).toEqual(["a link", "just made", "kept", "lives", "my $(scratch)"]);
    expect(users(one)).toEqual(["35001", "35008"]);
    expect([one.host.jails().length, one.host.mounts().length]).toEqual([1, 6]);
    expect((await sweep(one)).events).toEqual([]);
    going.letGo();
    await going.ended;
  });

  test("a script that was killed in mid-build: its jail, its builder, its mounts, its user, its scratch", async () => {
    const one = ready(shell, WAITS);
    const going = one.start("serve");
    await going.said("started");
    const inside = join(one.host.directory, "state/inside", jailName(one.plan));
    const builder = await present(inside);
    going.kill("SIGKILL");
    expect(isGone(builder)).toBe(false);
    const { status, events } = await sweep(one);
    expect([status, events]).toEqual([0, ["swept scratch my $(scratch)"]]);
    expect(isGone(builder)).toBe(true);
    expectUndone(one);
    expect(fs.existsSync(one.plan.scratch)).toBe(false);
    going.letGo();
    await going.ended;
  });

  test("without its own script: by what can be seen, the youngest mount first", async () => {
    const one = ready(shell);
    const root = join(one.plan.scratch, "jail-root");
    fs.mkdirSync(root);
    fs.writeFileSync(at(one, "owner"), "999999 17\n");
    fs.rmSync(at(one, "run.sh"));
    one.host.state("jails/other", "/elsewhere\n");
    one.host.state("jails/mine", `${root}\n`);
    for (const place of ["", "/usr", "/usr/share"]) one.host.addMount(`${root}${place}`);
    one.host.addMount("/elsewhere/usr");
    expect(await sweep(one)).toMatchObject({ status: 0, events: ["swept scratch my $(scratch)"] });
    expect(one.host.jails()).toEqual(["other"]);
    expect(one.host.read("unmounted").trimEnd().split("\n")).toEqual([`${root}/usr/share`, `${root}/usr`, root]);
  });

  test("what is stuck stays, with its user; the next sweep tries again", async () => {
    const one = ready(shell);
    const root = at(one, "jail-root");
    fs.mkdirSync(root);
    fs.writeFileSync(at(one, "owner"), "999999 17\n");
    fs.mkdirSync(join(one.root, "users"));
    fs.symlinkSync("999999 17", join(one.root, "users/35001"));
    one.host.addMount(root);
    one.host.state("stuck");
    const { status, events } = await sweep(one);
    expect([status, events]).toEqual([1, ["stuck", "stuck my $(scratch)"]]);
    expect([users(one), fs.existsSync(root)]).toEqual([["35001"], true]);
    fs.rmSync(join(one.host.directory, "state/stuck"));
    expect((await sweep(one)).events).toEqual(["swept scratch my $(scratch)", "swept user 35001"]);
  });

  test("a kept scratch is undone and stays", async () => {
    const one = ready(shell);
    const root = at(one, "jail-root");
    fs.mkdirSync(root);
    fs.writeFileSync(at(one, "owner"), "999999 17\n");
    fs.writeFileSync(at(one, "kept"), "");
    one.host.addMount(root);
    expect(await sweep(one)).toMatchObject({ status: 0, events: [] });
    expect([one.host.mounts(), fs.existsSync(root), fs.existsSync(at(one, "run.sh"))]).toEqual([[], false, true]);
  });

  test("while another sweeps nothing is done; without a directory neither", async () => {
    const one = ready(shell);
    fs.writeFileSync(at(one, "owner"), "999999 17\n");
    one.host.state("locked");
    expect(await sweep(one)).toMatchObject({ status: 0, events: ["locked"] });
    expect(fs.existsSync(one.plan.scratch)).toBe(true);
    fs.rmSync(one.root, { recursive: true });
    expect(await sweep(one)).toMatchObject({ status: 0, events: [] });
  });

  test("on Linux: the same, and mounts below it by /proc", async () => {
    const one = ready(shell);
    fs.writeFileSync(at(one, "owner"), "999999 17\n");
    fs.rmSync(at(one, "run.sh"));
    const place = at(one, "a place");
    fs.mkdirSync(join(place, "deeper"), { recursive: true });
    Bun.spawnSync(["mount", "-t", "tmpfs", "none", place]);
    fs.mkdirSync(join(place, "deeper"));
    Bun.spawnSync(["mount", "-t", "tmpfs", "none", join(place, "deeper")]);
    const script = join(one.host.directory, "sweep.sh");
    fs.writeFileSync(script, wholeScript(sweepScript(one.root, "x86_64-linux")));
    expect(await startScript([...one.host.command(shell, script)]).ended).toMatchObject({
      status: 0,
      events: ["swept scratch my $(scratch)"],
    });
    expect(fs.existsSync(one.plan.scratch)).toBe(false);
    expect(fs.readFileSync("/proc/self/mounts", "utf8")).not.toContain(one.host.directory);
  });
});

/** The shell under the lock is the one that is tried. */
function shellOf({ host }: Ready, shell: Shell): string {
  return shell === "dash" ? "sh -c" : `${host.directory}/busybox sh -c`;
}

/** The first name in a directory, as a number, when it is there. */
async function present(directory: string): Promise<number> {
  for (;;) {
    const [name] = fs.existsSync(directory) ? fs.readdirSync(directory) : [];
    if (name !== undefined) return Number(name);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
