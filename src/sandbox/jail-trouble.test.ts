/** What can go wrong with a jail, on a host in small (jail.testing.ts), by two shells. */
import { afterEach, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import { at, expectUndone, forgetHosts, ready, users, WAITS } from "./jail-run.testing.ts";
import { SHELLS } from "./jail.testing.ts";
import { jailName } from "./jail-files.ts";
import type { RootEntry } from "./root.ts";
import { CAN_SANDBOX, outputPath } from "./testing.ts";

afterEach(forgetHosts);

describe.if(CAN_SANDBOX).each([...SHELLS])("a jail in trouble, by %s", (shell) => {
  test("it cannot be made: what was made is undone, and the tool's words are kept", async () => {
    const one = ready(shell);
    one.host.state("refuse");
    expect(await one.run("run")).toMatchObject({
      status: 3,
      stdout: "",
      words: ["jail: no such module"],
      report: { created: false, status: undefined, taken: undefined },
    });
    expect(one.host.log()).toEqual(["jail -c"]);
    expectUndone(one);
  });

  test("a mount fails: those before it are undone", async () => {
    const one = ready(shell);
    one.host.state("unmountable", at(one, "build"));
    const { status, words, report } = await one.run("serve");
    expect([status, report.created, report.status]).toEqual([3, false, undefined]);
    expect(words).toEqual([`mount_nullfs: ${at(one, "jail-root")}/build: Resource deadlock avoided`]);
    expect(one.host.log().slice(-2)).toEqual(["jail -r", "umount -n 4"]);
    expectUndone(one);
    expect(fs.existsSync(one.plan.scratch)).toBe(false);
  });

  test("an input that is not there: nothing was mounted", async () => {
    const one = ready(shell);
    fs.rmSync(join(one.host.directory, "input.tar"));
    expect(await one.run("run")).toMatchObject({ status: 3, report: { missing: [0], created: false } });
    expect(one.host.log()).toEqual([]);
    expectUndone(one);
  });

  test("a jail of its name that is somebody else's stays, and nothing was mounted", async () => {
    const one = ready(shell);
    one.host.state(`jails/${jailName(one.plan)}`, "/somewhere/else\n");
    expect(await one.run("run")).toMatchObject({ status: 3, report: { taken: jailName(one.plan), created: false } });
    expect(one.host.read(`jails/${jailName(one.plan)}`)).toBe("/somewhere/else\n");
    expect([one.host.mounts(), fs.existsSync(at(one, "jail-root"))]).toEqual([[], false]);
  });

  test("a place that would be reached through a symlink, in a world or in the root itself: nothing was mounted", async () => {
    const tree = fs.mkdtempSync("/tmp/garth-jail-test-world-");
    try {
      fs.mkdirSync(join(tree, "usr/sbin"), { recursive: true });
      fs.writeFileSync(join(tree, "usr/sbin/chroot"), "", { mode: 0o755 });
      fs.symlinkSync("/etc", join(tree, "usr/out"));
      const root: RootEntry[] = [
        { kind: "mount", type: "directory", source: join(tree, "usr"), target: "/usr" },
        { kind: "symlink", to: "/etc", target: "/opt" },
      ];
      for (const place of ["/usr/out", "/usr/out/x", "/opt/x"]) {
        const one = ready(
          shell,
          undefined,
          {
            root: { kind: "world", path: outputPath("c", "world"), physical: tree },
            outputs: { out: { path: place as never, physical: "/tmp/not-made" } },
          },
          root,
        );
        expect(await one.run("run")).toMatchObject({ status: 3, report: { refused: [1], created: false } });
        expect(one.host.log()).toEqual([]);
        expectUndone(one);
      }
      expect(fs.existsSync("/tmp/not-made") || fs.existsSync("/etc/x")).toBe(false);
    } finally {
      fs.rmSync(tree, { recursive: true });
    }
  });

  test("a world without chroot(8) is refused in words", async () => {
    const root: RootEntry[] = [{ kind: "mount", type: "directory", source: "/usr/lib", target: "/usr" }];
    const one = ready(shell, undefined, { root: { kind: "world", path: outputPath("c", "w"), physical: "/usr" } }, root);
    expect(await one.run("run")).toMatchObject({
      status: 3,
      words: ["the build root has no /usr/sbin/chroot, by which a builder stops being root"],
    });
    expectUndone(one);
  });

  test("mounts that are busy for a while are tried again; then they are forced", async () => {
    const patient = ready(shell);
    patient.host.state("busy", "1\n2\n");
    expect((await patient.run("run")).status).toBe(0);
    expect(patient.host.log().slice(-3)).toEqual(["umount -n 6", "umount 6", "umount 6"]);
    expectUndone(patient);

    const forced = ready(shell);
    forced.host.state("busy", "1\n".repeat(99));
    expect((await forced.run("run")).status).toBe(0);
    expect(forced.host.log().slice(-2)).toEqual(["umount 6", "umount -f 6"]);
    expectUndone(forced);
  });

  test("a mount that is stuck: said, not removed over, and undone by a later teardown", async () => {
    const one = ready(shell);
    one.host.state("stuck");
    const { status, events, report } = await one.run("serve");
    expect([status, report.stuck, report.status, events.at(-1)]).toEqual([3, true, 7, "stuck"]);
    expect(one.host.mounts().length).toBe(6);
    // Its number may still be in use.
    expect(users(one)).toEqual(["35001"]);
    fs.rmSync(join(one.host.directory, "state/stuck"));
    expect(await one.run("teardown")).toMatchObject({ status: 0, events: [] });
    expectUndone(one);
    const before = one.host.log().length;
    expect((await one.run("teardown")).status).toBe(0);
    expect(one.host.log().length).toBe(before);
  });

  test("what a builder marked as not to be removed is removed", async () => {
    const one = ready(shell);
    one.host.state("flagged", one.plan.scratch);
    const going = one.start("serve");
    await going.said("hold");
    going.letGo();
    const { status, words, report } = await going.ended;
    expect({ status, words, stuck: report.stuck, last: one.host.log().at(-1) }).toEqual({
      status: 0,
      words: [],
      stuck: false,
      last: "chflags -Rx 0",
    });
    expectUndone(one);
    expect(fs.existsSync(one.plan.scratch)).toBe(false);
  });

  test("what a dead run of another plan left is undone first", async () => {
    const one = ready(shell);
    const root = at(one, "jail-root");
    fs.mkdirSync(join(root, "old"), { recursive: true });
    one.host.state(`jails/${jailName(one.plan)}`, `${root}\n`);
    one.host.addMount(`${root}/old`);
    one.host.addMount(`${root}/old/deeper`);
    fs.writeFileSync(at(one, "owner"), "999999 17\n");
    const { status, events } = await one.run("run");
    expect([status, events[0]]).toEqual([0, "stale"]);
    expect(one.host.log().slice(0, 3)).toEqual(["jail -r", "umount -n 2", "jail -c"]);
    expect(one.host.read("unmounted").split("\n").slice(0, 2)).toEqual([`${root}/old/deeper`, `${root}/old`]);
  });

  test("a root that somebody made a symlink is not followed", async () => {
    const one = ready(shell);
    const elsewhere = join(one.host.directory, "elsewhere");
    fs.mkdirSync(elsewhere);
    fs.writeFileSync(join(elsewhere, "file"), "");
    fs.symlinkSync(elsewhere, at(one, "jail-root"));
    expect((await one.run("run")).report.status).toBe(7);
    expect(fs.readdirSync(elsewhere)).toEqual(["file"]);
  });

  test("a second run in one scratch, and a teardown, leave the first alone", async () => {
    const one = ready(shell, WAITS);
    const going = one.start("run");
    await going.said("started");
    for (const verb of ["run", "teardown"]) {
      expect(await one.run(verb)).toMatchObject({ status: 3, words: [`process ${going.pid} has this sandbox`] });
    }
    expect(one.host.jails().length).toBe(1);
    going.letGo();
    await going.ended;
    expectUndone(one);
  });

  test("limits of the whole jail where racct is on; they go with it", async () => {
    const one = ready(shell, undefined, { limits: { memoryBytes: 2 ** 30, processes: 200 } });
    one.host.state("racct");
    const { report } = await one.run("run");
    expect(report.limits).toBe("all");
    const name = jailName(one.plan);
    expect(one.host.log().filter((line) => line.startsWith("rctl"))).toEqual([
      `rctl -a jail:${name}:memoryuse:sigkill=${2 ** 30} jail:${name}:maxproc:deny=200`,
      `rctl -r jail:${name}`,
    ]);
  });

  test("time: a limit that was reached is said, with how the builder ended", async () => {
    const one = ready(shell, WAITS, { limits: { wallClockMs: 20_500 } });
    one.host.state("now", "1000\n");
    const { status, events } = await one.run("run");
    expect([status, events.slice(-2)]).toEqual([0, ["limit wallClockMs 20500", "exited 143"]]);
    expect(Number(one.host.read("now"))).toBeGreaterThanOrEqual(1021);
    expectUndone(one);
  });

  test("what is written: the same; who does not hear SIGTERM is killed", async () => {
    const write = `trap '' TERM; dd if=/dev/zero of="$DIR/big" bs=1024 count=300 2>/dev/null; echo >"$LOOK"; while :; do sleep 100; done`;
    const one = ready(shell, ["/bin/sh", "-c", write], { limits: { outputBytes: 200 * 1024 } });
    // The stand-in for sleep(1) waits for the builder.
    const look = join(one.host.directory, "state/look");
    Bun.spawnSync(["mkfifo", "-m", "666", look]);
    const script = at(one, "run.sh");
    const env = `env -i DIR='${at(one, "output-out")}' LOOK='${look}'`;
    fs.writeFileSync(
      script,
      fs.readFileSync(script, "utf8").replaceAll("env -i", env).replaceAll("doze sleep 5", "doze sleep 0.5"),
    );
    fs.chmodSync(one.plan.scratch, 0o711);
    const { status, events } = await one.run("run");
    expect([status, events.slice(-2)]).toEqual([0, ["limit outputBytes 204800", "exited 137"]]);
    expectUndone(one);
  });

  test("a reader that is gone: all is undone all the same", async () => {
    const one = ready(shell, ["/bin/sh", "-c", "while :; do echo y; done"]);
    const child = Bun.spawn([...one.host.command(shell, at(one, "run.sh")), "serve"], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      env: { PATH: "/usr/bin:/bin" },
    });
    await child.stdout.getReader().read();
    await Promise.all([child.stdout.cancel().catch(() => undefined), child.stderr.cancel()]);
    await child.stdin.end();
    await child.exited;
    expectUndone(one);
    expect(fs.existsSync(one.plan.scratch)).toBe(false);
  });
});
