/** How a real sandbox ends, and what it leaves. */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isProblem } from "./expect.testing.ts";
import { openSandbox, type SandboxResult } from "./index.ts";
import { openInside } from "./inside.testing.ts";
import { CAN_SANDBOX, livingProcesses, outputPath } from "./testing.ts";

const { host, sandbox, place, run, inside, close } = openInside();
afterAll(close);

describe.if(CAN_SANDBOX)("how it ends", () => {
  const STATUSES: readonly (readonly [string, SandboxResult])[] = [
    ["exit 0", { kind: "exited", status: 0 }],
    ["exit 7", { kind: "exited", status: 7 }],
    ["no-such-program", { kind: "exited", status: 127 }],
    ["exit 1", { kind: "exited", status: 1 }],
    ["kill -KILL $$", { kind: "signalled", signal: "SIGKILL" }],
    ["kill -SEGV $$", { kind: "signalled", signal: "SIGSEGV" }],
    ["kill -XCPU $$", { kind: "signalled", signal: "SIGXCPU" }],
    ["exit 255", { kind: "exited", status: 255 }],
  ];
  for (const [script, result] of STATUSES) {
    test(`${script}: ${JSON.stringify(result)}`, async () => expect((await run(place.plan(script))).result).toEqual(result));
  }

  test("a program that is not there is not the sandbox's failure, and not a status of the builder's", async () => {
    const plan = { ...place.plan(""), argv: ["/no/such/program"] as const };
    await expect(run(plan)).rejects.toThrow(expect.objectContaining({ code: "E_BUILDER_NOT_STARTED" }));
  });

  test("a builder that prints what bwrap would is still the builder", async () => {
    const { result } = await run(place.plan("echo hello; echo 'bwrap: execvp x: No such file or directory' >&2; exit 1"));
    expect(result).toEqual({ kind: "exited", status: 1 });
  });

  test("a sandbox that cannot be set up is a problem, with bwrap's own words, and leaves nothing", async () => {
    const plan = { ...place.plan(""), cwd: "/no/such/directory" };
    await expect(run(plan)).rejects.toThrow(
      isProblem("E_SANDBOX_SETUP", ["bwrap: Can't chdir to /no/such/directory: No such file or directory"]),
    );
    await run(plan).catch(() => undefined);
    expect(readdirSync("/dev/shm").filter((name) => name.startsWith("garth-"))).toEqual([]);
  });

  test("a directory that the host view names and the host has not", async () => {
    const plan = place.plan("", { root: { kind: "host", paths: ["/usr", "/no-such-directory"] } });
    await expect(run(plan)).rejects.toThrow(expect.objectContaining({ code: "E_SANDBOX_SETUP" }));
  });

  test("without bwrap it says what to install", async () => {
    const bare = openSandbox({ ...host, processIdentity: host.processIdentity, which: () => undefined });
    await expect(bare.run(place.plan(""), { onOutput: () => undefined })).rejects.toThrow(
      expect.objectContaining({
        code: "E_SANDBOX_UNAVAILABLE",
        exit: 3,
        hint: expect.stringContaining("apt-get install bubblewrap"),
      }),
    );
  });

  test("what the builder leaves running is ended with it, whether it holds the output or not", async () => {
    const identity = { kind: "drop", uid: 35_777, gid: 35_777 } as const;
    const { result } = await run(place.plan("sleep 1000 & (sleep 1001 >/dev/null 2>&1 &) ; exit 4", { identity }));
    expect(result).toEqual({ kind: "exited", status: 4 });
    const { result: quiet } = await run(place.plan("(sleep 1002 >/dev/null 2>&1 &) ; exit 5", { identity }));
    expect(quiet).toEqual({ kind: "exited", status: 5 });
    expect(livingProcesses(identity.uid)).toEqual([]);
  });

  test("both streams come in one, in order", async () => {
    expect(await inside("for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done")).toBe(
      [1, 2, 3, 4, 5].map((i) => `out ${i}\nerr ${i}\n`).join(""),
    );
  });

  test("a failed sandbox that is kept can be entered, and is as it was", async () => {
    const plan = place.plan("echo half >/build/work; exit 1");
    await run(plan);
    const { enter, files } = sandbox.render(plan);
    expect(readFileSync(join(plan.scratch, "bwrap.sh"), "utf8")).toBe(files["bwrap.sh"] ?? "");
    const entered = Bun.spawnSync(["sh", "-c", enter], {
      stdin: Buffer.from("cat /build/work; id -u; hostname; unshare -r id || echo refused\n"),
      stderr: "ignore",
    });
    expect(entered.stdout.toString()).toBe("half\n35001\ngarth-hello-1a2b3c4d\nrefused\n");
    const shellcheck = Bun.spawnSync(["shellcheck", "-s", "sh", join(plan.scratch, "bwrap.sh")]);
    expect(shellcheck.stdout.toString()).toBe("");
  });

  test("more inputs than fit into one argument", async () => {
    const tree = join(place.directory, "many");
    mkdirSync(tree, { recursive: true });
    const inputs = Array.from({ length: 500 }, (_, index) => ({
      path: outputPath("e", `${"n".repeat(120)}-${index}`),
      physical: tree,
      type: "directory" as const,
    }));
    expect(await inside("ls /frx/store | wc -l", { inputs })).toBe("501\n");
  });

  test("the store may lie in a directory that only root may enter", async () => {
    const closed = mkdtempSync("/root/garth-sandbox-test-");
    try {
      const plan = place.plan("cat /frx/store/*-input/f; echo done >$out/f", {
        scratch: join(closed, "sandbox"),
        inputs: [{ path: outputPath("f", "input"), physical: join(closed, "input"), type: "directory" }],
      });
      mkdirSync(join(closed, "input"));
      writeFileSync(join(closed, "input/f"), "reached\n");
      expect(await run(plan)).toEqual({ result: { kind: "exited", status: 0 }, text: "reached\n" });
    } finally {
      rmSync(closed, { recursive: true });
    }
  });

  test("afterwards no control group is left", async () => {
    await run(place.plan("exit 0"));
    expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(place.directory);
    expect(
      existsSync("/sys/fs/cgroup/pids")
        ? readdirSync("/sys/fs/cgroup/pids").filter((name) => name.startsWith(`garth-${process.pid}-`))
        : [],
    ).toEqual([]);
  });
});
