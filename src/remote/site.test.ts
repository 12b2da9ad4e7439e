/** What a site decides: places, which scripts, and what is made of what a script says. site.slow.test.ts has whole builds. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Problem, type StorePath, storePath } from "../base/index.ts";
import { golden, problemOf } from "../base/testing.ts";
import { localHost, parseEvent, wholeScript } from "../host/index.ts";
import { defaultLimits, processFunctions, type SandboxRequest } from "../sandbox/index.ts";
import { openSite, type SiteOptions } from "./site.ts";
import { startScript } from "./site-script.ts";
import type { Connection, HostFacts, HostStore, ScriptEnd, ScriptOptions } from "./types.ts";

const host = localHost();
const directory = fs.mkdtempSync(`${tmpdir()}/garth-site-`);
afterAll(() => fs.rmSync(directory, { recursive: true, force: true }));

const item = (name: string): StorePath => storePath({ kind: "flat", sha256: name.padEnd(64, "0"), references: [] }, name);
const [INPUT, OUTPUT, WORLD] = [item("a1"), item("b2"), item("c3")];

const LINUX: HostFacts = { system: "x86_64-linux", release: "6.1.0", osVersion: undefined, processors: 2, memoryBytes: 2 ** 30 };
const FREEBSD: HostFacts = { ...LINUX, system: "x86_64-freebsd", release: "15.1-RELEASE", osVersion: 1_501_000 };

function requestOf(changes: Partial<SandboxRequest> = {}): SandboxRequest {
  return {
    hash: "0123456789abcdef".repeat(4),
    name: "thing",
    system: "x86_64-linux",
    root: { kind: "host", paths: ["/bin", "/usr"] },
    inputs: [{ path: INPUT, physical: "/here/store/a1", type: "file" }],
    outputs: { out: { path: OUTPUT, physical: `${directory}/scratch/output-out` } },
    scratch: `${directory}/scratch`,
    identity: { kind: "drop", uid: 35_001, gid: 35_001 },
    network: false,
    argv: ["/bin/sh", "-c", "true"],
    env: {},
    limits: defaultLimits,
    ...changes,
  };
}

/** What a script says, line by line; the end of its input or a line for it ends the wait after `hold`. */
interface Said {
  readonly lines: readonly string[];
  readonly status?: number;
  readonly output?: string;
  /** In place of its end. */
  readonly loss?: Problem;
}

function fakeHost(facts: HostFacts, runs: readonly Said[], fetch: HostStore["fetch"] = async () => undefined) {
  const did: string[] = [];
  let nth = 0;
  const connection: Connection = {
    name: "far",
    shellWords: ["ssh", "-t", "-p", "2222", "root@far"],
    close: async () => undefined,
    run: async ({ doing }) => {
      did.push(doing);
      return { status: 0, events: [], words: [] };
    },
    start: ({ doing }, options: ScriptOptions = {}) => {
      did.push(doing);
      const said = runs[nth++];
      if (said === undefined) throw new Error("nothing more was expected");
      const released = Promise.withResolvers<void>();
      const end = async (): Promise<ScriptEnd> => {
        await Promise.resolve();
        if (said.output !== undefined) options.onOutput?.(new TextEncoder().encode(said.output));
        for (const line of said.lines) {
          const event = parseEvent(`garth: ${line}`);
          if (event !== undefined) options.onEvent?.(event);
        }
        if (said.lines.includes("hold")) await released.promise;
        if (said.loss !== undefined) throw said.loss;
        return { status: said.status ?? 0, events: [], words: ["a tool's words"] };
      };
      return {
        send: (line) => {
          did.push(`line ${line}`);
          released.resolve();
        },
        letGo: () => {
          did.push("let go");
          released.resolve();
        },
        ended: end(),
      };
    },
  };
  const store: HostStore = {
    present: async () => new Set(),
    need: async (paths) => ({ missing: paths, diskBytes: 0 }),
    send: async (paths) => {
      did.push(`send ${paths.join(" ")}`);
      return { sent: paths, sentBytes: 0 };
    },
    physical: (path) => `/its root/store/${path.slice("/frx/store/".length)}`,
    fetch: async (trees, options) => {
      did.push(`fetch ${trees.map(({ from }) => from.replace(/.*\//, "")).join(" ")}`);
      await fetch(trees, options);
    },
    collect: async () => ({ removed: 0, freedBytes: 0 }),
  };
  const opening = [{ doing: "sweep", body: ":\n" }];
  const parts: SiteOptions = { host, name: "far", root: "/its root", jobs: 2, facts, connection, store, opening };
  const site = openSite(parts);
  const notes: string[] = [];
  const run = (request = requestOf(), options: { readonly keep?: boolean } = {}) =>
    site.run(request, { onOutput: () => undefined, onNote: (line) => notes.push(line), ...options });
  return { parts, site, did, notes, run };
}

const RAN = ["user 35007 35007", "created", "limits each", "started"];

describe("what is made of what a script says", () => {
  test("sent, run, fetched, and only then let go", async () => {
    const { did, run, notes } = fakeHost(LINUX, [
      { lines: ["absent 1", ...RAN, "exited 0", "hold"] },
      { lines: [...RAN, "exited 0", "hold"] },
    ]);
    expect(await run()).toEqual({
      result: { kind: "exited", status: 0 },
      use: {
        uid: 35_007,
        gid: 35_007,
        hostname: "garth-thing-01234567",
        mode: "linux-bubblewrap",
        durationMs: expect.any(Number),
        peakMemoryBytes: undefined,
        limits: "each",
        on: { host: "far", release: "6.1.0" },
      },
    });
    expect(notes).toEqual(["the host view's /usr is not there on far"]);
    await run();
    const build = ["building garth-thing-01234567", "fetch output-out", "line done"];
    // What was sent once is not asked for again.
    expect(did).toEqual(["sweep", `send ${INPUT}`, ...build, ...build]);
  });

  test("a builder that failed is kept when that was asked for, and nothing is fetched", async () => {
    const failed = { lines: [...RAN, "exited 3", "hold"] };
    const { did, run } = fakeHost(LINUX, [failed, failed]);
    const { result, kept } = await run(requestOf(), { keep: true });
    expect(result).toEqual({ kind: "exited", status: 3 });
    expect(kept?.directory).toStartWith("far:/its root/tmp/01234567-");
    expect(kept?.enter).toBe(`ssh -t -p 2222 root@far 'sh '\\''${kept?.directory.slice(4)}/run.sh'\\'' enter'`);
    expect((await run()).kept).toBeUndefined();
    expect(did.filter((each) => /^(line|fetch)/.test(each))).toEqual(["line keep", "line done"]);
  });

  test("a signal by its name on that system, a limit by its name", async () => {
    const bus = { lines: [...RAN, "exited 138", "hold"] };
    expect((await fakeHost(LINUX, [bus]).run()).result).toEqual({ kind: "signalled", signal: "SIGUSR1" });
    const request = requestOf({ system: "x86_64-freebsd" });
    expect((await fakeHost(FREEBSD, [bus]).run(request)).result).toEqual({ kind: "signalled", signal: "SIGBUS" });
    const limited = { lines: [...RAN, "limit wallClockMs 14400000", "exited 143", "hold"] };
    expect((await fakeHost(LINUX, [limited]).run()).result).toMatchObject({ kind: "limit", limit: "wallClockMs" });
  });

  test("what is printed counts here: too much of it lets the leash go, and no more is handed on", async () => {
    const printed: string[] = [];
    const { site, did } = fakeHost(LINUX, [{ lines: RAN, output: "0123456789", status: 3 }]);
    const limits = { ...defaultLimits, logBytes: 4 };
    const { result } = await site.run(requestOf({ limits }), {
      onOutput: (chunk) => printed.push(new TextDecoder().decode(chunk)),
    });
    expect([result.kind, printed, did.includes("let go")]).toEqual(["limit", ["0123"], true]);
  });

  test("inputs that are gone are sent again, once", async () => {
    const gone = { lines: ["missing 0"], status: 3 };
    const { did, run } = fakeHost(LINUX, [gone, { lines: [...RAN, "exited 0", "hold"] }]);
    expect((await run()).result).toEqual({ kind: "exited", status: 0 });
    expect(did.filter((each) => each.startsWith("send"))).toHaveLength(2);
    const problem = await problemOf(fakeHost(LINUX, [gone, gone]).run());
    expect([problem.code, problem.details]).toEqual(["E_HOST_DAMAGED", [INPUT]]);
  });

  test("a sandbox that was not made says why", async () => {
    for (const [lines, detail] of [
      [["refused 2"], "the place of /build would be reached through a symlink: nothing was mounted"],
      [["taken garth-01234567"], "a jail garth-01234567 is there, and is somebody else's"],
      [[], "a tool's words"],
    ] as const) {
      const problem = await problemOf(fakeHost(LINUX, [{ lines, status: 3 }]).run());
      expect([problem.code, problem.exit]).toEqual(["E_SANDBOX_SETUP", 3]);
      expect(problem.details).toContain(detail);
    }
    const stuck = await problemOf(fakeHost(LINUX, [{ lines: [...RAN, "exited 0", "stuck"], status: 3 }]).run());
    expect([stuck.code, stuck.hint]).toEqual(["E_SANDBOX_STUCK", expect.stringContaining("run.sh'\\'' teardown'")]);
  });

  test("cancelled on its way there is cancelled, whatever a transfer says of it", async () => {
    const controller = new AbortController();
    const { site } = fakeHost(LINUX, [{ lines: [...RAN, "exited 0", "hold"] }], async () => {
      controller.abort();
      controller.signal.throwIfAborted();
    });
    const options = { onOutput: () => undefined, signal: controller.signal };
    expect((await site.run(requestOf(), options)).result).toEqual({ kind: "cancelled" });
    const { parts } = fakeHost(LINUX, []);
    const sending = openSite({
      ...parts,
      store: { ...parts.store, send: async () => controller.signal.throwIfAborted() ?? { sent: [], sentBytes: 0 } },
    });
    expect(await sending.run(requestOf(), options)).toMatchObject({
      result: { kind: "cancelled" },
      use: { on: { host: "far" } },
    });
  });

  test("what could not be fetched whole does not count, and is let go", async () => {
    const { did, run } = fakeHost(LINUX, [{ lines: [...RAN, "exited 0", "hold"] }], () =>
      Promise.reject(new Problem({ code: "E_HOST_DAMAGED", message: "other bytes than its digest says" })),
    );
    expect((await problemOf(run())).code).toBe("E_HOST_DAMAGED");
    expect(did.slice(-2)).toEqual(["fetch output-out", "let go"]);
  });

  test("what was fetched counts, though the connection ended behind it; the host is looked at anew after a loss", async () => {
    const loss = new Problem({ code: "E_HOST_LOST", message: "its connection ended" });
    const whole = { lines: [...RAN, "exited 0", "hold"], loss };
    const { did, run } = fakeHost(LINUX, [whole, { lines: RAN, loss }, whole]);
    expect((await run()).result).toEqual({ kind: "exited", status: 0 });
    expect((await problemOf(run())).code).toBe("E_HOST_LOST");
    await run();
    expect(did.filter((each) => each === "sweep")).toHaveLength(2);
  });
});

describe("what does not run there", () => {
  test("another system is refused before anything is sent", async () => {
    const { did, run } = fakeHost(FREEBSD, []);
    const problem = await problemOf(run(requestOf({ system: "aarch64-freebsd" })));
    expect([problem.code, problem.exit, did]).toEqual(["E_SANDBOX_PLAN", 3, []]);
  });

  describe("a world that is newer than the host", () => {
    const world = join(directory, "world");
    beforeAll(() => fs.mkdirSync(`${world}/bin`, { recursive: true }));

    const request = requestOf({
      system: "x86_64-freebsd",
      root: { kind: "world", path: WORLD, physical: world },
    });

    test.each([
      [1_501_000, undefined],
      [1_400_097, undefined],
      [1_501_001, "E_HOST_TOO_OLD"],
      [1_600_005, "E_HOST_TOO_OLD"],
    ] as const)("__FreeBSD_version %p", async (version, code) => {
      fs.writeFileSync(`${world}/bin/sh`, freebsdProgram(version));
      const { did, run } = fakeHost(FREEBSD, [{ lines: [...RAN, "exited 0", "hold"] }]);
      if (code === undefined) {
        expect((await run(request)).result).toEqual({ kind: "exited", status: 0 });
        expect(did).toContain(`send ${INPUT} ${WORLD}`);
        return;
      }
      const problem = await problemOf(run(request));
      expect([problem.code, problem.exit, did]).toEqual([code, 3, []]);
      expect(problem.details[0]).toBe(`__FreeBSD_version of the world ${version}, of the host 1501000`);
    });
  });
});

/** The smallest ELF file with a FreeBSD ABI note (sys/elf_common.h: NT_FREEBSD_ABI_TAG is 1). */
function freebsdProgram(version: number): Uint8Array {
  const bytes = new Uint8Array(64 + 56 + 24);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 9]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 62, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(52, 64, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 1, true);
  view.setUint32(64, 4, true);
  view.setBigUint64(64 + 8, 120n, true);
  view.setBigUint64(64 + 32, 24n, true);
  view.setBigUint64(64 + 40, 24n, true);
  view.setUint32(120, 8, true);
  view.setUint32(124, 4, true);
  view.setUint32(128, 1, true);
  bytes.set(new TextEncoder().encode("FreeBSD\0"), 132);
  view.setUint32(140, version, true);
  return bytes;
}

describe("the script that begins a build", () => {
  const HOSTILE = `it's a "name" with $HOME, \`id\`, \\ and\na line's end\n`;
  const job = (system: HostFacts["system"], scratch: string, run: string) =>
    startScript({ system, scratch, files: { "run.sh": run, "jail.conf": HOSTILE, fstab: "" } });

  test.each(["x86_64-linux", "x86_64-freebsd"] as const)("%s is as it was, and shellcheck finds nothing", (system) => {
    const script = job(system, "/its root/tmp/01234567-89ab", "echo run\n");
    const shown = script.replace(processFunctions(system), "# As in every script that owns something.\n");
    expect(shown).toBe(golden(`${import.meta.dir}/golden/start-${system}.sh`, shown));
    const checked = Bun.spawnSync(["shellcheck", "-s", "sh", "-"], { stdin: Buffer.from(`#!/bin/sh\n${wholeScript(script)}`) });
    expect(checked.stdout.toString()).toBe("");
  });

  test.each([{ shell: "dash" }, { shell: "busybox sh" }])(
    "$shell: owner, files, run.sh in its place; what is there already is left alone",
    ({ shell }) => {
      const sh = shell.split(" ");
      const scratch = `${directory}/it's ${shell}`;
      const run =
        'cat "${0%/*}/jail.conf"; wc -c <"${0%/*}/fstab"; [ "$GARTH_OWNER" = "$(cat "${0%/*}/owner")" ] && echo "$1 ${GARTH_OWNER%% *} $$"\n';
      const script = wholeScript(job("x86_64-linux", scratch, run));
      const first = Bun.spawnSync([...sh, "-c", script]);
      expect(first.stderr.toString()).toBe("");
      expect(first.stdout.toString()).toBe(`${HOSTILE}0\nserve ${first.pid} ${first.pid}\n`);
      expect(fs.statSync(scratch).mode & 0o777).toBe(0o700);
      const again = Bun.spawnSync([...sh, "-c", script]);
      expect(again.exitCode).not.toBe(0);
      expect(fs.readFileSync(`${scratch}/owner`, "utf8")).toStartWith(`${first.pid} `);
    },
  );

  test("a file that cannot be written leaves nothing", () => {
    const scratch = `${directory}/undone`;
    const script = startScript({ system: "x86_64-linux", scratch, files: { "run.sh": "echo ran\n", "none/such": "text" } });
    const { exitCode, stdout } = Bun.spawnSync(["sh", "-c", wholeScript(script)]);
    expect([exitCode === 0, stdout.toString(), fs.existsSync(scratch)]).toEqual([false, "", false]);
  });
});
