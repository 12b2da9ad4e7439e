/** The jail's script, run on a host in small (jail.testing.ts) by two shells. */
import { afterEach, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import { at, expectUndone, forgetHosts, isGone, ready, startScript, users, WAITS } from "./jail-run.testing.ts";
import { SHELLS } from "./jail.testing.ts";
import { jailName, renderJail } from "./jail-files.ts";
import { planSandbox } from "./plan.ts";
import type { RootEntry } from "./root.ts";
import { CAN_SANDBOX, outputPath, sampleRequest } from "./testing.ts";

afterEach(forgetHosts);

describe.if(CAN_SANDBOX).each([...SHELLS])("the script of a jail, by %s", (shell) => {
  test("a run: made, started, its status said, undone", async () => {
    const one = ready(shell);
    expect(await one.run("run")).toMatchObject({
      status: 0,
      stdout: "out\nerr\n",
      words: [],
      events: ["user 35001 35001", "absent 1", "created", "limits each", "started", "exited 7"],
    });
    expectUndone(one);
    expect(fs.readdirSync(one.plan.scratch).toSorted()).toEqual([
      "build",
      "going",
      "jail.conf",
      "limit",
      "output-out",
      "owner",
      "run.sh",
      "tmp",
      "user",
    ]);
    const mode = (name: string): string => {
      const { uid, gid, mode: bits } = fs.statSync(at(one, name));
      return `${uid}:${gid} ${(bits & 0o7777).toString(8)}`;
    };
    expect([mode("build"), mode("output-out"), mode("tmp")]).toEqual(["35001:35001 755", "35001:35001 755", "35001:35001 1777"]);
    const tmp = at(one, "tmp");
    expect(one.host.log()).toEqual([
      "jail -c",
      ...["/bin", "/usr/lib"].map((path) => `mount ro ${path} ${at(one, "jail-root")}${path}`),
      "mount -t devfs",
      `mount rw ${at(one, "output-out")} ${at(one, "jail-root")}${outputPath("0", "hello-1.0")}`,
      `mount rw ${at(one, "build")} ${at(one, "jail-root")}/build`,
      `mount rw ${tmp} ${at(one, "jail-root")}/tmp`,
      "limits",
      "jail -r",
      "umount -n 6",
    ]);
  });

  test("what is unmounted is the youngest first, also where blanks are written as vis(3) does", async () => {
    for (const vis of [false, true]) {
      const one = ready(shell);
      if (vis) one.host.state("vis");
      // Somebody else's below a name that only begins alike, and one whose source is ours.
      one.host.addMount(`${at(one, "jail-root")}ed`);
      one.host.addMount("/else where/it is long enough", at(one, "jail-root"));
      await one.run("run");
      const root = at(one, "jail-root");
      expect(one.host.read("unmounted").trimEnd().split("\n")).toEqual(
        ["/tmp", "/build", outputPath("0", "hello-1.0"), "/dev", "/usr/lib", "/bin"].map((path) => `${root}${path}`),
      );
      expect(one.host.mounts().length).toBe(2);
    }
  });

  test("ids are dropped by chroot in the jail, and any words arrive as they are", async () => {
    const words = ["a b", "'", '"', "$HOME", "`id`", "\\", "a\nb", "", "*", "-n"];
    const one = ready(shell, ["/bin/sh", "-c", 'id; env | sort; for w; do printf "<%s>" "$w"; done', "sh", ...words], {
      env: { WORDS: 'it\'s "$HOME"\n`id`' },
    });
    const { stdout } = await one.run("run");
    expect(stdout).toStartWith("uid=35001 gid=35001 groups=35001\n");
    expect(stdout).toContain('WORDS=it\'s "$HOME"\n`id`\n');
    expect(stdout).toContain("\nTMPDIR=/tmp\n");
    expect(stdout).toEndWith(words.map((word) => `<${word}>`).join(""));
    expect(one.host.read("jexec").split("\0").slice(0, 10)).toEqual([
      jailName(one.plan),
      "/usr/sbin/chroot",
      "-u",
      "35001",
      "-g",
      "35001",
      "-G",
      "35001",
      "/",
      "/bin/sh",
    ]);
  });

  test.each([124, 125, 137, 143, 255])("the builder's status %d comes through", async (status) => {
    expect((await ready(shell, ["/bin/sh", "-c", `exit ${status}`]).run("run")).report).toMatchObject({
      status,
      limit: undefined,
    });
  });

  // A shell has what it starts in the background ignore the second and the third.
  test.each(Object.entries({ HUP: 1, INT: 2, QUIT: 3, ABRT: 6, KILL: 9, SEGV: 11, PIPE: 13, ALRM: 14, TERM: 15 }))(
    "SIG%s that ends the builder comes through",
    async (name, number) => {
      const one = ready(shell, ["/bin/sh", "-c", `kill -${name} $$; sleep 100`]);
      expect((await one.run("run")).report.status).toBe(128 + number);
    },
  );

  test("the end of the leash in mid-build undoes everything; with serve the scratch, too", async () => {
    for (const verb of ["run", "serve"]) {
      const one = ready(shell, WAITS);
      const going = one.start(verb);
      going.write("a line means nothing yet");
      await going.said("started");
      going.letGo();
      const { status, report } = await going.ended;
      expect([status, report.status, report.stuck]).toEqual([3, undefined, false]);
      expectUndone(one);
      expect(fs.existsSync(one.plan.scratch)).toBe(verb === "run");
    }
  });

  test.each(["SIGHUP", "SIGINT", "SIGTERM"] as const)("%s does the same", async (signal) => {
    const one = ready(shell, WAITS);
    const going = one.start("serve");
    await going.said("started");
    going.kill(signal);
    expect(await going.ended).toMatchObject({ status: 3, report: { status: undefined, stuck: false } });
    expectUndone(one);
    expect(fs.existsSync(one.plan.scratch)).toBe(false);
  });

  test("what a builder leaves running is ended with the jail, and holds nothing open", async () => {
    const one = ready(shell, ["/bin/sh", "-c", "sleep 100 & echo $!"]);
    const { stdout, report } = await one.run("run");
    expect(report.status).toBe(0);
    expect(isGone(Number(stdout))).toBe(true);
    expectUndone(one);
  });

  test("hold: a line decides about the scratch, and nothing else is left while it waits", async () => {
    for (const [line, isThere] of [
      ["keep", true],
      ["done", false],
      [undefined, false],
    ] as const) {
      const one = ready(shell);
      const going = one.start("serve");
      await going.said("hold");
      expectUndone(one);
      expect(fs.existsSync(at(one, "output-out"))).toBe(true);
      if (line === undefined) going.letGo();
      else going.write(line);
      const { status, events } = await going.ended;
      expect([status, events.at(-1)]).toEqual([0, "hold"]);
      expect(fs.existsSync(one.plan.scratch)).toBe(isThere);
      if (isThere) expect(fs.existsSync(at(one, "kept"))).toBe(true);
    }
  });

  test("a signal while it holds removes the scratch", async () => {
    const one = ready(shell);
    const going = one.start("serve");
    await going.said("hold");
    going.kill("SIGTERM");
    expect((await going.ended).status).toBe(0);
    expect(fs.existsSync(one.plan.scratch)).toBe(false);
  });

  test("a kept sandbox is entered as whoever left it, or as another to whom all is given", async () => {
    const one = ready(shell, ["/bin/sh", "-c", `echo >"$DIR/left"; exit 1`]);
    const script = at(one, "run.sh");
    fs.writeFileSync(script, fs.readFileSync(script, "utf8").replaceAll("env -i", `env -i DIR='${at(one, "build")}'`));
    fs.chmodSync(one.plan.scratch, 0o711);
    const served = one.start("serve");
    await served.said("hold");
    served.write("keep");
    await served.ended;
    const owner = (): number => fs.statSync(at(one, "build/left")).uid;
    for (const number of [35_001, 35_002]) {
      const going = one.start("enter");
      going.write('id -u; pwd; echo "$TERM"; exit 9');
      const { status, stdout } = await going.ended;
      expect([status, stdout, owner()]).toEqual([0, `${number}\n/tmp\ndumb\n`, number]);
      expect(fs.existsSync(at(one, "kept"))).toBe(true);
      expect(one.host.mounts()).toEqual([]);
      fs.symlinkSync("somebody else", join(one.root, `users/${number}`));
    }
  });

  test("two at once choose two users; a number that a dead one left is passed over", async () => {
    const first = ready(shell, WAITS);
    const taken = join(first.root, "users");
    fs.mkdirSync(taken);
    fs.symlinkSync("999999 17", join(taken, "35001"));
    const going = first.start("run");
    await going.said("started");
    expect(fs.readlinkSync(join(taken, "35002"))).toBe(fs.readFileSync(at(first, "owner"), "utf8").trimEnd());
    // Another scratch of the same host.
    const scratch = join(first.root, "tmp/second");
    fs.mkdirSync(scratch);
    const plan = planSandbox(
      sampleRequest({
        system: "x86_64-freebsd",
        root: { kind: "host", paths: ["/bin"] },
        outputs: { out: { path: outputPath("0", "hello-1.0"), physical: join(scratch, "out") } },
        scratch,
        identity: first.plan.identity,
        argv: ["/bin/sh", "-c", "id -u"],
        cwd: "/tmp",
      }),
    );
    const view: RootEntry = { kind: "mount", type: "directory", source: "/bin", target: "/bin" };
    for (const [name, text] of Object.entries(renderJail(plan, [view]).files)) {
      fs.writeFileSync(join(scratch, name), first.host.adapted(text));
    }
    const second = startScript([...first.host.command(shell, join(scratch, "run.sh")), "run"]);
    expect((await second.ended).stdout).toBe("35003\n");
    // All three are somebody's: the third was let go, and is taken by a link to nowhere.
    fs.symlinkSync("999999 18", join(taken, "35003"));
    const third = await startScript([...first.host.command(shell, join(scratch, "run.sh")), "run"]).ended;
    expect([third.status, third.words]).toEqual([3, ["every build user from 35001 to 35003 is taken"]]);
    going.letGo();
    await going.ended;
    expect(users(first)).toEqual(["35001", "35003"]);
  });
});
