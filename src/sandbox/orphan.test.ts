/** What a Garth leaves that is killed; and a Garth that is not root. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { localHost } from "../host/index.ts";
import { programForAnybody } from "../host/testing.ts";
import { cgroupParents, detectCgroups } from "./cgroup.ts";
import { type Limits, openSandbox } from "./index.ts";
import { CAN_SANDBOX, livingProcesses, makePlace } from "./testing.ts";

const PROGRAM = join(import.meta.dir, "run.testing.ts");
const host = localHost();
const place = makePlace();
afterAll(() => place.remove());

function directory(name: string): string {
  const path = join(place.directory, name);
  mkdirSync(path);
  return path;
}

/** Settles when what the process prints holds the word. */
async function untilItPrints(stream: ReadableStream<Uint8Array>, word: string): Promise<void> {
  let text = "";
  for await (const chunk of stream) {
    text += new TextDecoder().decode(chunk);
    if (text.includes(word)) return;
  }
  throw new Error(`it printed ${JSON.stringify(text)}`);
}

/** Asks again until the answer is nothing; the kernel gives no event for the end of somebody else's process. */
async function untilNothing(ask: () => readonly string[]): Promise<readonly string[]> {
  for (let round = 0; round < 200 && ask().length > 0; round += 1) await Bun.sleep(10);
  return ask();
}

const groupsOf = (pid: number): string[] =>
  cgroupParents(detectCgroups(host)).flatMap((parent) => readdirSync(parent).filter((name) => name.startsWith(`garth-${pid}-`)));

describe.if(CAN_SANDBOX)("kill -9 of Garth", () => {
  test("ends the sandbox, what it started, and its control groups", async () => {
    const uid = 35_779;
    const child = Bun.spawn(
      [process.execPath, PROGRAM, directory("killed"), String(uid), "sleep 1000 & echo started; sleep 1000"],
      {
        stdout: "pipe",
      },
    );
    await untilItPrints(child.stdout, "started");
    expect(livingProcesses(uid).length).toBeGreaterThan(1);
    expect(groupsOf(child.pid)).not.toEqual([]);
    child.kill("SIGKILL");
    await child.exited;
    expect(await untilNothing(() => livingProcesses(uid))).toEqual([]);
    expect(await untilNothing(() => groupsOf(child.pid))).toEqual([]);
  });

  test("and of all that stood by: the next start ends it", async () => {
    const uid = 35_780;
    const child = Bun.spawn([process.execPath, PROGRAM, directory("killed-twice"), String(uid), "echo started; sleep 1000"], {
      stdout: "pipe",
    });
    await untilItPrints(child.stdout, "started");
    const wardens = readdirSync("/proc").filter((pid) => {
      const args = existsSync(`/proc/${pid}/cmdline`)
        ? Bun.spawnSync(["cat", `/proc/${pid}/cmdline`])
            .stdout.toString()
            .split("\0")
        : [];
      return args.includes("garth-warden") && args.includes(String(child.pid));
    });
    expect(wardens.length).toBe(1);
    for (const pid of wardens) process.kill(Number(pid), "SIGKILL");
    child.kill("SIGKILL");
    await child.exited;
    expect(livingProcesses(uid)).not.toEqual([]);
    await openSandbox(host).sweep();
    expect(await untilNothing(() => livingProcesses(uid))).toEqual([]);
    expect(groupsOf(child.pid)).toEqual([]);
  });

  test("sweeping leaves the sandboxes of the living alone", async () => {
    const uid = 35_781;
    const own = directory("living");
    const child = Bun.spawn(
      [process.execPath, PROGRAM, own, String(uid), "echo started; while [ ! -e /tmp/go ]; do sleep 0.02; done"],
      {
        stdout: "pipe",
      },
    );
    let text = "";
    for await (const chunk of child.stdout) {
      text += new TextDecoder().decode(chunk);
      if (text !== "started\n") continue;
      await openSandbox(host).sweep();
      await Bun.write(join(own, "sandbox/tmp/go"), "");
    }
    expect(text).toBe('started\n{"kind":"exited","status":0}\n');
  });
});

describe.if(CAN_SANDBOX)("without root", () => {
  const somebody = 65_432;
  const drop = ["setpriv", "--reuid", String(somebody), "--regid", String(somebody), "--clear-groups"];
  let program: readonly string[] = [];
  beforeAll(async () => {
    chmodSync(place.directory, 0o755);
    program = await programForAnybody(PROGRAM, place.directory);
  });

  /** As an ordinary user with a directory of its own; the way there is open. */
  function asSomebody(
    name: string,
    script: string,
    limits: Partial<Limits> = {},
  ): { readonly text: string; readonly own: string } {
    const own = directory(name);
    chownSync(own, somebody, somebody);
    const child = Bun.spawnSync([...drop, ...program, own, "35001", script, JSON.stringify(limits)], {
      cwd: own,
      env: { HOME: own, PATH: "/usr/bin:/bin" },
    });
    return { text: child.stdout.toString() + child.stderr.toString(), own };
  }

  test("the same from inside, and the files are the user's", () => {
    const { text, own } = asSomebody(
      "rootless",
      "id; hostname; grep -E 'CapEff|CapBnd|NoNew' /proc/self/status; cat /proc/net/dev | grep -c :; ls /proc/self/fd; unshare -r true 2>/dev/null || echo refused; echo x >$out/x; exit 7",
    );
    expect(text.split("\n")).toEqual([
      "uid=35001(garth) gid=35001(garth) groups=35001(garth)",
      "garth-hello-1a2b3c4d",
      "CapEff:\t0000000000000000",
      "CapBnd:\t0000000000000000",
      "NoNewPrivs:\t1",
      "1",
      ..."0 1 2 3".split(" "),
      "refused",
      '{"kind":"exited","status":7}',
      "",
    ]);
    expect(statSync(join(own, "out/x")).uid).toBe(somebody);
  });

  test("memory and processes are limited without control groups", () => {
    const memory = asSomebody("rootless-memory", "head -c 3000000000 /dev/zero | tail >/dev/null", { memoryBytes: 100_000_000 });
    expect(memory.text).toContain('"limit":"memoryBytes"');
    const processes = asSomebody("rootless-processes", "while :; do sleep 1000 & done 2>/dev/null", { processes: 50 });
    expect(processes.text).toContain('"limit":"processes"');
    expect(livingProcesses(somebody)).toEqual([]);
  });

  test("kill -9 ends it too", async () => {
    const own = directory("rootless-killed");
    chownSync(own, somebody, somebody);
    const child = Bun.spawn([...drop, ...program, own, "35001", "sleep 1000 & echo started; sleep 1000"], {
      cwd: own,
      env: { HOME: own, PATH: "/usr/bin:/bin" },
      stdout: "pipe",
    });
    await untilItPrints(child.stdout, "started");
    child.kill("SIGKILL");
    await child.exited;
    expect(await untilNothing(() => livingProcesses(somebody))).toEqual([]);
  });
});
