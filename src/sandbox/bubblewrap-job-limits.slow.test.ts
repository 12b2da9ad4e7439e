/** Limits of a build on a Linux host: with control groups, without, and where the host's user is not root; and a world as its root. */
import { describe, expect, onTestFinished, setDefaultTimeout, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { INTERPRETERS, type JobEnd, leftOf, openJobs, type StartOptions } from "./bubblewrap-job.testing.ts";
import { CAN_SANDBOX, outputPath } from "./testing.ts";
import type { Limits, SandboxPlan } from "./types.ts";

/** A place and a user for each test, so that one that fails leaves the others alone. */
let nextUser = 37_001;
function open() {
  const user = nextUser;
  nextUser += 20;
  const jobs = openJobs(user);
  onTestFinished(jobs.close);
  return { jobs, user, left: (...others: number[]) => leftOf(jobs, [user, ...others]) };
}
type Opened = ReturnType<typeof open>;

setDefaultTimeout(60_000);

const HOG = "head -c 3000000000 /dev/zero | tail >/dev/null";

for (const [name, sh] of INTERPRETERS) {
  async function run(script: string, limits: Partial<Limits>, options: StartOptions = {}): Promise<JobEnd> {
    const { jobs, left } = open();
    const end = await jobs.run(jobs.prepare(script, { limits }), { sh, ...options });
    expect(await left()).toEqual([]);
    return end;
  }

  describe.if(CAN_SANDBOX)(`limits of a build, under ${name}`, () => {
    test("memory, of all processes together", async () => {
      const end = await run(`${HOG}; exit 5`, { memoryBytes: 50_000_000 });
      expect(end.status).toBe(0);
      expect(end.report).toMatchObject({ limit: { name: "memoryBytes", value: 50_000_000 }, status: expect.any(Number) });
    });

    test("processes", async () => {
      const end = await run("i=0; while [ $i -lt 100 ]; do sleep 1000 & i=$((i + 1)); done 2>/dev/null", { processes: 20 });
      expect(end.report).toMatchObject({ limit: { name: "processes", value: 20 }, status: expect.any(Number) });
      const within = await run("sleep 0 & sleep 0 & wait", { processes: 5 });
      expect(within.report).toMatchObject({ limit: undefined, status: 0 });
    });

    test("wall clock, also for one who heeds no signal", async () => {
      const end = await run("trap '' HUP INT TERM; echo here; while :; do sleep 0.1; done", { wallClockMs: 1_000 });
      expect(end).toMatchObject({ status: 0, text: "here\n", report: { limit: { name: "wallClockMs", value: 1_000 } } });
    });

    test("what is written, and the largest file", async () => {
      const script = "i=0; while :; do head -c 1000000 /dev/zero >/build/$i; i=$((i + 1)); sleep 0.01; done";
      const end = await run(script, { outputBytes: 30_000_000 });
      expect(end).toMatchObject({ status: 0, report: { limit: { name: "outputBytes", value: 30_000_000 } } });
      const large = await run("head -c 40000000 /dev/zero >/build/x; echo $?; stat -c %s /build/x", { outputBytes: 30_000_000 });
      expect(large.text).toEndWith("153\n30000128\n");
    });

    test("open files; no core", async () => {
      expect((await run("ulimit -n; ulimit -Hn; ulimit -c; ulimit -Hc", { openFiles: 123 })).text).toBe("123\n123\n0\n0\n");
    });

    describe("where there are no control groups", () => {
      const before = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"', "sh"];

      test("each process is limited for itself, and all end with the builder", async () => {
        const { user, jobs, left } = open();
        const plan = jobs.prepare("setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo here; exit 4");
        const end = await jobs.run(plan, { sh, before });
        expect(await left()).toEqual([]);
        expect(end.events).toEqual([`user ${user} ${user}`, "limits each", "created", "started", "exited 4"]);
        expect(end.text).toBe("here\n");
        const memory = await run(`${HOG}; echo over`, { memoryBytes: 50_000_000 }, { before });
        expect(memory).toMatchObject({ status: 0, text: expect.stringContaining("memory exhausted"), report: { status: 0 } });
        const processes = await run("i=0; while [ $i -lt 100 ]; do sleep 10 & i=$((i + 1)); done", { processes: 20 }, { before });
        expect(processes).toMatchObject({ status: 0, text: expect.stringContaining("Cannot fork"), report: { status: 2 } });
      });

      test("the leash's end, a limit, and kill -9 with teardown leave nothing", async () => {
        const { jobs, left } = open();
        const script = "trap '' HUP TERM; setsid sleep 1000 & echo started; while :; do sleep 0.1; done";
        const leashed = jobs.start(jobs.prepare(script), { sh, before });
        await leashed.untilPrinted("started");
        await leashed.letGo();
        expect(await leashed.ended).toMatchObject({ status: 3, words: [] });
        expect(await left()).toEqual([]);
        const long = await run(script, { wallClockMs: 1_000 }, { before });
        expect(long).toMatchObject({ status: 0, report: { limit: { name: "wallClockMs" } } });
        const plan = jobs.prepare(script);
        const killed = jobs.start(plan, { sh, before });
        await killed.untilPrinted("started");
        killed.kill("SIGKILL");
        await killed.dead;
        expect(await jobs.run(plan, { sh, before, verb: "teardown" })).toMatchObject({ status: 0, words: [] });
        await killed.ended;
        expect(await left()).toEqual([]);
      });
    });

    describe("where the host's user is not root", () => {
      const somebody = 65_431;
      const before = ["setpriv", "--reuid", String(somebody), "--regid", String(somebody), "--clear-groups"];

      function prepare({ jobs }: Opened, script: string, limits: Partial<Limits> = {}): SandboxPlan {
        const identity = { kind: "user-namespace", uid: 35_001, gid: 35_001 } as const;
        const plan = jobs.prepare(script, { limits }, { identity, name: " it's rootless" });
        chmodSync(jobs.directory, 0o755);
        const own = join(plan.scratch, "..");
        for (const path of [own, plan.scratch, join(plan.scratch, "run.sh")]) chownSync(path, somebody, somebody);
        return plan;
      }
      test("the same from inside, and the files are the user's", async () => {
        const opened = open();
        const plan = prepare(
          opened,
          "id; hostname; grep -E 'CapEff|NoNew' /proc/self/status; grep -c : /proc/net/dev; unshare -r true 2>/dev/null || echo refused; echo x >$out/x; echo y >/dev/stderr; exit 7",
        );
        const end = await opened.jobs.run(plan, { sh, before });
        expect(end.text.split("\n")).toEqual([
          "uid=35001(garth) gid=35001(garth) groups=35001(garth)",
          "garth-hello-1a2b3c4d",
          "CapEff:\t0000000000000000",
          "NoNewPrivs:\t1",
          "1",
          "refused",
          "y",
          "",
        ]);
        expect(end.events).toEqual(["user 35001 35001", "limits each", "created", "started", "exited 7"]);
        expect(statSync(join(plan.scratch, "../out/x")).uid).toBe(somebody);
        expect(await opened.left(somebody)).toEqual([]);
      });

      test("each process is limited for itself, and nothing is left", async () => {
        const opened = open();
        const memory = await opened.jobs.run(prepare(opened, HOG, { memoryBytes: 50_000_000 }), { sh, before });
        expect(memory.text).toContain("memory exhausted");
        const long = await opened.jobs.run(
          prepare(opened, "trap '' TERM; setsid sleep 1000 & while :; do sleep 0.1; done", { wallClockMs: 1_000 }),
          {
            sh,
            before,
          },
        );
        expect(long.report.limit).toEqual({ name: "wallClockMs", value: 1_000 });
        expect(await opened.left(somebody)).toEqual([]);
        const leashed = opened.jobs.start(prepare(opened, "setsid sleep 1000 & echo started; sleep 1000"), {
          sh,
          before,
          verb: "serve",
        });
        await leashed.untilPrinted("started");
        await leashed.letGo();
        expect(await leashed.ended).toMatchObject({ status: 3, words: [] });
        expect(await opened.left(somebody)).toEqual([]);
        // All of it ends with its script: the kernel lets one process of a user signal another.
        const killed = opened.jobs.start(prepare(opened, "setsid sleep 1000 & echo started; sleep 1000"), { sh, before });
        await killed.untilPrinted("started");
        killed.kill("SIGKILL");
        await killed.dead;
        await killed.ended;
        expect(await opened.left(somebody)).toEqual([]);
      });

      test("root would be root outside, and is refused", async () => {
        const opened = open();
        const end = await opened.jobs.run(prepare(opened, "echo ran"), { sh });
        expect(end).toMatchObject({
          status: 3,
          text: "",
          words: ["a user namespace of one user, which for root would be root outside"],
        });
      });
    });
  });

  describe.if(CAN_SANDBOX)(`a world as the root, under ${name}`, () => {
    function world({ jobs }: Opened, place: string, etc: "files" | "link" | "none"): string {
      const tree = join(jobs.directory, `${place} ${sh.length}`);
      for (const directory of ["usr/bin", "tmp", "var/lib", "my etc"]) mkdirSync(join(tree, directory), { recursive: true });
      Bun.spawnSync(["cp", "/usr/bin/busybox", join(tree, "usr/bin/busybox")]);
      for (const applet of ["sh", "cat", "ls", "id", "readlink", "touch"]) symlinkSync("busybox", join(tree, "usr/bin", applet));
      symlinkSync("usr/bin", join(tree, "bin"));
      symlinkSync("/etc", join(tree, "var/away"));
      if (etc === "files") {
        mkdirSync(join(tree, "etc"));
        writeFileSync(join(tree, "etc/passwd"), "the world's own\n");
        writeFileSync(join(tree, "etc/motd"), "of the world\n");
        symlinkSync("passwd", join(tree, "etc/group"));
      }
      if (etc === "link") symlinkSync("my etc", join(tree, "etc"));
      return tree;
    }

    const planned = (physical: string, script: string): Parameters<Opened["jobs"]["prepare"]> => [
      script,
      { root: { kind: "world", path: outputPath("d", "world"), physical } },
    ];

    test("is seen as it is; accounts are laid over its files, made where it has none, and not put where a link leads", async () => {
      const opened = open();
      const { jobs, left } = opened;
      const look =
        "id -u; ls -A / /etc; cat /etc/passwd /etc/motd 2>/dev/null; for x in /etc /etc/group; do readlink $x; done; touch /var/x /etc/x 2>/dev/null || echo shut";
      const { user } = opened;
      const passwd = `root:x:0:0:root:/root:/bin/sh\ngarth:x:${user}:${user}:build user:/homeless:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n`;
      const files = await jobs.run(jobs.prepare(...planned(world(opened, "files", "files"), look)), { sh });
      expect(files.text).toBe(
        `${user}\n/:\nbin\nbuild\ndev\netc\nfrx\nmy etc\nproc\ntmp\nusr\nvar\n\n/etc:\ngroup\nmotd\npasswd\n${passwd}of the world\npasswd\nshut\n`,
      );
      const none = await jobs.run(jobs.prepare(...planned(world(opened, "none", "none"), look)), { sh });
      expect(none.text).toBe(
        `${user}\n/:\nbin\nbuild\ndev\netc\nfrx\nmy etc\nproc\ntmp\nusr\nvar\n\n/etc:\ngroup\nhosts\nnsswitch.conf\npasswd\n${passwd}shut\n`,
      );
      const link = await jobs.run(jobs.prepare(...planned(world(opened, "link", "link"), "readlink /etc; ls -A /etc")), { sh });
      expect(link).toMatchObject({ status: 0, text: "my etc\n", words: [] });
      expect(await left()).toEqual([]);
    });

    test("a place that one of its symlinks leads away from is refused", async () => {
      const opened = open();
      const { jobs, left } = opened;
      const plan = jobs.prepare(...planned(world(opened, "away", "none"), "echo ran"));
      for (const target of ["/bin/x", "/var/away/x", "/var/away"]) {
        const mounts = [...plan.mounts, { kind: "read-only", source: "/usr", target, type: "directory" } as const];
        const end = await jobs.run(jobs.write({ ...plan, mounts }), { sh });
        expect(end).toMatchObject({ status: 3, text: "", report: { refused: [plan.mounts.length], created: false } });
      }
      expect(await left()).toEqual([]);
    });
  });
}
