/**
 * The FreeBSD path of a host, whole, over a real sshd: hosts, store, jails, sweep. The host is a stand-in on Linux (standin.testing.ts says what
 * that does not prove): here it is proven that our scripts speak FreeBSD's dialect, in the right order, and leave nothing.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { spawn } from "node:child_process";
import * as fs from "node:fs";
import { createInterface } from "node:readline";
import { problemOf } from "../base/testing.ts";
import { buildReceipt, type BuildEvent, type BuildOptions, type BuildResult } from "../build/index.ts";
import { OPTIONS, tiny } from "../build/testing.ts";
import { shellQuote } from "../host/index.ts";
import { type Buildable, hostView, instantiate } from "../recipe/index.ts";
import { type Farm, openFarm } from "./site.testing.ts";
import { openTestHost, type TestHost } from "./testing.ts";

setDefaultTimeout(60_000);
const SYSTEM = "x86_64-freebsd";
/** Blanks, quotes and dollars: every script has it in every place. */
const ROOT = `/frx/var/it's $HOME "here"`;
/** What the stand-in's tools need to run inside is what FreeBSD's own need: the loader, libraries, and where it keeps itself. */
const VIEW = ["/bin", "/lib", "/libexec", "/usr/bin", "/usr/include", "/usr/lib", "/usr/libdata", "/usr/libexec"];

let there: TestHost;
let farm: Farm;
let onEvent: (event: BuildEvent) => void;
/** Of the host, before anything was built on it. */
let before: readonly string[];

beforeAll(async () => {
  there = await openTestHost({ kind: "freebsd", name: "far", root: ROOT, without: ["/usr/include"] });
  farm = openFarm({ onEvent: (event) => onEvent(event), answerWaitsMs: Array.from({ length: 100 }, () => 200) });
  const { report } = await farm.hosts.add(there.wish);
  expect(report.findings.filter(({ state }) => state === "missing")).toEqual([]);
  // The connection is open, and stays.
  await farm.hosts.check("far");
  before = stateOf(there);
});
beforeEach(() => {
  farm.bench.forget();
  onEvent = () => undefined;
});
afterAll(async () => {
  await farm[Symbol.asyncDispose]();
  await there.close();
});

/** Mounts, jails, processes and files of the host; not the copies in its store and the file of its lock, which are to stay. */
function stateOf(host: TestHost): readonly string[] {
  const processes = host
    .look("ps -axo uid=,command=")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !/^0 (sshd: |\S*perl \/bin\/ps|\/bin\/sh -c ps -axo)/.test(line));
  const kept = ["store", "used", "incoming"].map((name) => `${host.root}/${name}/`);
  const files = Bun.spawnSync(["find", host.path("/"), "-xdev", "-printf", "%y %m %U:%G /%P %l\\n"])
    .stdout.toString()
    .split("\n")
    .filter((line) => !line.includes(" /.standin") && !line.endsWith("/lock ") && !kept.some((path) => line.includes(path)));
  return [...host.look("mount -p; jls name path").split("\n"), ...processes, ...files.toSorted()];
}

/** The state once it is as expected, or has had half a minute to become it. */
async function settled(expected: readonly string[]): Promise<readonly string[]> {
  const deadlineMs = performance.now() + 30_000;
  for (;;) {
    const state = stateOf(there);
    if (Bun.deepEquals(state, expected) || performance.now() > deadlineMs) return state;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const build = (goals: Buildable | readonly Buildable[], changes: Partial<BuildOptions> = {}): Promise<BuildResult> =>
  farm.bench.builder.build(instantiate(goals, { system: SYSTEM, directory: farm.bench.root }), { ...OPTIONS, ...changes });

const made = (name: string, text: string, options: Parameters<typeof tiny>[2] = {}) =>
  tiny(name, text, { buildRoot: hostView({ paths: VIEW }), ...options });

async function built(...args: Parameters<typeof build>) {
  const { goals, steps } = await build(...args);
  const [goal] = goals.values();
  const out = goal?.outputs["out"];
  if (goal === undefined || out === undefined) throw new Error("there is one goal, and it has an output");
  return { goal, out, steps, read: (file: string) => fs.readFileSync(`${farm.bench.store.physical(out)}/${file}`, "utf8") };
}

describe("a host", () => {
  test("is what it says it is", async () => {
    const { facts, findings } = await farm.hosts.check("far");
    expect(facts).toMatchObject({ system: SYSTEM, release: "15.1-RELEASE", osVersion: 1_501_000 });
    expect(Object.fromEntries(findings.map(({ key, state }) => [key, state]))).toMatchObject({
      system: "ok",
      jail: "ok",
      root: "ok",
      rctl: "lacking",
    });
    expect(findings.find(({ key }) => key === "rctl")?.advice).toContain("kern.racct.enable=1");
    expect(await settled(before)).toEqual(before);
  });
});

describe("a build in a jail", () => {
  test("who it is, what it sees, and what comes back", async () => {
    const lib = made("lib", "echo library > $out/lib");
    const text = `{ id; hostname; echo "$TMPDIR $HOME"; uname -s; pwd; } > $out/who; cat $lib/lib > $out/lib; echo $lib $out > $out/uses
ls / > $out/top; ls /frx/store | wc -l > $out/store; for f in /etc/passwd /root "$lib/new" /bin/new /new; do (echo >>"$f") 2>/dev/null && echo "$f"; done > $out/wrote || :
nc -z -w 2 127.0.0.1 ${there.port} && echo reached > $out/net || echo alone > $out/net`;
    const { goal, out, read } = await built(made("app", text, { inputs: [lib] }));
    const [libPath = ""] = read("uses").split(" ");
    expect(read("who")).toMatch(/^uid=35001 gid=35001 groups=35001\ngarth-app-[0-9a-f]{8}\n\/tmp \S+\nFreeBSD\n\/build\n$/);
    expect(read("lib")).toBe("library\n");
    expect([read("wrote"), read("net"), read("store").trim()]).toEqual(["", "alone\n", "2"]);
    expect(read("top").split("\n")).toEqual(["bin", "build", "dev", "frx", "lib", "libexec", "tmp", "usr", ""]);
    expect(new Set<string>(farm.bench.store.references(out))).toEqual(new Set([libPath, out]));
    expect(buildReceipt(goal, farm.bench.store)).toMatchObject({
      build_mode: "freebsd-jail",
      build_host: "far",
      build_host_release: "15.1-RELEASE",
      build_uid: "35001",
      build_gid: "35001",
      out_path: out,
      jail_hostname: expect.stringMatching(/^garth-app-/),
    });
    expect(farm.bench.builder.readLog(goal.drv)).toContain("# garth: the host view's /usr/include is not there on far\n");
    expect(await settled(before)).toEqual(before);
  });

  test("outputs of every kind, names that need quoting", async () => {
    const text = `mkdir -p "$out/a b" "$dev/it's"; echo x > "$out/a b/\\$HOME"; ln -s "../a b" "$out/link"; : > "$dev/it's/"'"q"'
printf 'two\\nlines' > "$dev/it's/$(printf 'n\\nl')"; chmod 755 "$out/a b/\\$HOME"; ln "$out/a b/\\$HOME" "$out/hard"; echo $dev > $out/dev`;
    const { goal, read } = await built(made("kinds", text, { outputs: ["out", "dev"] }));
    expect([read("a b/$HOME"), read("hard"), read("dev")]).toEqual(["x\n", "x\n", `${goal.outputs["dev"]}\n`]);
    const dev = farm.bench.store.physical(goal.outputs["dev"] ?? "/frx/store/");
    expect(fs.readdirSync(`${dev}/it's`).toSorted()).toEqual(['"q"', "n\nl"]);
    expect((await farm.bench.store.verify({ repair: false, contents: true })).damage).toEqual([]);
  });

  test("statuses and signals come through", async () => {
    const problem = await problemOf(build(made("fails", "echo the last words >&2; exit 7")));
    expect([problem.code, problem.message]).toEqual(["E_BUILD_FAILED", "building fails: the builder ended with status 7"]);
    expect(problem.details).toEqual(["the last words"]);
    for (const signal of ["SEGV", "KILL", "TERM"]) {
      const signalled = await problemOf(build(made(`ended-${signal.toLowerCase()}`, `kill -${signal} $$`)));
      expect(signalled.message).toEndWith(`the builder was ended by SIG${signal}`);
    }
    expect(await settled(before)).toEqual(before);
  });

  test("what a builder leaves in the background is ended with it", async () => {
    await built(made("leaves", "sleep 1000 & sleep 1000 </dev/null >/dev/null 2>&1 & echo > $out/f"));
    expect(await settled(before)).toEqual(before);
  });

  test("limits: silence and what is printed are watched here, time there", async () => {
    for (const [name, text, limits] of [
      ["silent", "echo begun; sleep 60", { silenceMs: 400 }],
      ["loud", "while :; do echo loud loud loud loud; done", { logBytes: 20_000 }],
      ["long", "while :; do echo; sleep 0.2; done", { wallClockMs: 1_000 }],
    ] as const) {
      const problem = await problemOf(build(made(name, text, { limits })));
      const [limit, value] = Object.entries(limits)[0] ?? [];
      expect([problem.code, problem.message]).toEqual([
        "E_LIMIT_EXCEEDED",
        `building ${name}: stopped at its limit ${limit}=${value}`,
      ]);
      expect(await settled(before)).toEqual(before);
    }
  });

  test("the receipt says that limits are of each process, where racct is off", async () => {
    const { goal } = await built(made("limited", "ulimit -n > $out/n", { limits: { openFiles: 99 } }));
    expect(buildReceipt(goal, farm.bench.store)).toMatchObject({ limits: "each" });
    expect(there.recorded().some((call) => call.startsWith("rctl"))).toBe(false);
  });

  test("two at once, as two users, and neither sees the other's scratch", async () => {
    const text = `mkdir /tmp/$NAME; n=80; while [ $n -gt 0 ] && [ ! -e /tmp/done ]; do n=$((n - 1)); sleep 0.05; [ $n -gt 40 ] || : >/tmp/done; done
id -u > $out/uid; ls /tmp > $out/seen; echo "$NAME"`;
    const both = ["one", "two"].map((name) => made(name, text, { env: { NAME: name } }));
    const { goals } = await build(both);
    const read = (file: string): readonly string[] =>
      [...goals.values()].map(({ outputs }) =>
        fs.readFileSync(`${farm.bench.store.physical(outputs["out"] ?? "/frx/store/")}/${file}`, "utf8").trim(),
      );
    expect(read("uid").toSorted()).toEqual(["35001", "35002"]);
    expect(read("seen").toSorted()).toEqual(["done\none", "done\ntwo"]);
    expect(await settled(before)).toEqual(before);
  });

  test("--keep-failed leaves the scratch, and a line enters the jail again", async () => {
    const problem = await problemOf(build(made("kept", "echo state > /build/left; exit 1"), { keepFailed: true }));
    const kept = farm.bench.events.find((event) => event.kind === "kept");
    if (kept?.kind !== "kept" || kept.enter === undefined) throw new Error(`nothing was kept: ${problem.details.join("\n")}`);
    const line = kept.enter.replace(/^ssh -t /, `ssh -F '${farm.bench.root}/ssh_config' -i '${there.identityFile}' `);
    const entered = Bun.spawnSync(["sh", "-c", line], { stdin: Buffer.from("cat /build/left; hostname; id -u; exit\n") });
    expect(entered.stdout.toString()).toMatch(/^state\ngarth-kept-\S+\n35001\n/);
    there.look(`rm -r ${shellQuote(kept.directory.slice("far:".length))}`);
    expect(await settled(before)).toEqual(before);
  });
});

/** Begins a build that prints `begun` and would last, and does something then. */
async function interrupted(name: string, then: () => unknown): Promise<Awaited<ReturnType<typeof built>>> {
  let done = false;
  onEvent = ({ kind }) => {
    if (kind !== "output" || done) return;
    done = true;
    void then();
  };
  return await built(made(name, `echo begun; n=0; while [ $n -lt 40 ]; do n=$((n + 1)); sleep 0.05; done; echo made > $out/f`));
}

describe("what goes wrong", () => {
  test("cancelled: all is undone, and the same can be built afterwards", async () => {
    const controller = new AbortController();
    onEvent = ({ kind }) => kind === "output" && controller.abort();
    const slow = made("slow", "trap '' TERM; echo begun; sleep 600");
    const problem = await problemOf(build(slow, { signal: controller.signal }));
    expect(problem.code).toBe("E_INTERRUPTED");
    expect(await settled(before)).toEqual(before);
  });

  test("connections that end in mid-build cost a retry, and nothing is left", async () => {
    const { read } = await interrupted("dropped", () => there.dropConnections());
    expect(read("f")).toBe("made\n");
    expect(farm.bench.events.filter(({ kind }) => kind === "moved")).toMatchObject([{ code: "E_HOST_LOST" }]);
    expect(await settled(before)).toEqual(before);
  });

  test("ssh is killed with -9 in mid-build: the host undoes all by itself, and it is built anew", async () => {
    const { read } = await interrupted("clientless", () => {
      for (const pid of clientsOf(farm.bench.root)) process.kill(pid, "SIGKILL");
    });
    expect(read("f")).toBe("made\n");
    expect(await settled(before)).toEqual(before);
  });

  test("this Garth is killed in mid-build: the host undoes all by itself", async () => {
    await farm.close();
    const { root } = farm.bench;
    const child = spawn(process.execPath, ["-e", PROGRAM, root], { stdio: ["ignore", "pipe", "inherit"] });
    const begun = Promise.withResolvers<void>();
    createInterface({ input: child.stdout }).on("line", (line) => line === "output" && begun.resolve());
    await begun.promise;
    expect(there.look("jls name")).not.toBe("");
    child.kill("SIGKILL");
    farm = openFarm({ root, onEvent: (event) => onEvent(event) });
    await farm.hosts.check("far");
    expect(await settled(before)).toEqual(before);
  });

  test("the script itself is killed with -9: the next who comes sweeps its jail and mounts", async () => {
    const { read } = await interrupted("scriptless", () => there.look("pkill -KILL -f 'sh .*/run\\.sh serve'"));
    expect(read("f")).toBe("made\n");
    expect(await settled(before)).toEqual(before);
  });

  test("the host loses power in mid-build and comes up again", async () => {
    let up: Promise<void> | undefined;
    const { read } = await interrupted("powerless", () => (up = there.reboot()));
    await up;
    expect(read("f")).toBe("made\n");
    await farm.hosts.check("far");
    expect(await settled(before)).toEqual(before);
  });
});

/** ssh processes whose control socket is below a directory. */
function clientsOf(root: string): readonly number[] {
  return fs.readdirSync("/proc").flatMap((entry) => {
    try {
      const words = fs.readFileSync(`/proc/${entry}/cmdline`, "utf8");
      return words.startsWith("ssh") && words.includes(root) ? [Number(entry)] : [];
    } catch {
      return [];
    }
  });
}

/** Another Garth on the same root, which prints the kinds of its events. */
const PROGRAM = `
  import { openFarm } from ${JSON.stringify(`${import.meta.dir}/site.testing.ts`)};
  import { OPTIONS, tiny } from ${JSON.stringify(`${import.meta.dir}/../build/testing.ts`)};
  import { hostView, instantiate } from ${JSON.stringify(`${import.meta.dir}/../recipe/index.ts`)};
  const [root] = process.argv.slice(-1);
  const farm = openFarm({ root, onEvent: ({ kind }) => process.stdout.write(kind + "\\n") });
  const orphan = tiny("orphan", "echo begun; sleep 600", { buildRoot: hostView({ paths: ${JSON.stringify(VIEW)} }) });
  await farm.bench.builder.build(instantiate(orphan, { system: "${SYSTEM}", directory: root }), OPTIONS);
`;
