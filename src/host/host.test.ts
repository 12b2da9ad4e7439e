import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import fc from "fast-check";
import { problemOf } from "../base/testing.ts";
import { isErrno, localHost, replayLine, shellQuote } from "./index.ts";

const host = localHost();
let directory = "";
beforeAll(() => {
  directory = fs.mkdtempSync(`${tmpdir()}/garth-host-`);
});
afterAll(() => host.files.removeTree(directory));

describe("commands", () => {
  test("the environment is clean and stdin is closed", async () => {
    const done = await host.run({ argv: ["sh", "-c", "env | sort; cat; echo end"] });
    const names = done
      .text()
      .split("\n")
      .map((line) => line.split("=")[0]);
    expect(names.filter((name) => name !== "PWD" && name !== "_" && name !== "SHLVL")).toEqual(["LC_ALL", "PATH", "end", ""]);
  });

  test("a failure carries argv, status, the tail of stderr and a line that replays it", async () => {
    const command = {
      argv: ["sh", "-c", "echo 'it is' broken >&2; exit 7"],
      env: { PATH: "/bin", A: "b c" },
      cwd: directory,
    } as const;
    const problem = await problemOf(host.run(command));
    expect(problem.code).toBe("E_COMMAND_FAILED");
    expect(problem.message).toContain("status 7");
    expect(problem.details).toEqual(["it is broken"]);
    const replay = await host.run({ argv: ["sh", "-c", replayLine(command)], okStatuses: [7] });
    expect(replay.stderr).toBe("it is broken\n");
  });

  test("a missing program is a matter of the environment", async () => {
    const problem = await problemOf(host.run({ argv: ["no-such-program-here"] }));
    expect([problem.code, problem.exit]).toEqual(["E_TOOL_MISSING", 3]);
  });

  test("a command that does not end is ended, with all that was asked of it", async () => {
    const problem = await problemOf(
      host.run({ argv: ["sh", "-c", "trap '' TERM; echo waiting >&2; exec sleep 60"], timeoutMs: 50 }),
    );
    expect(problem.code).toBe("E_TIMEOUT");
    expect(problem.details).toEqual(["waiting"]);
  });

  test("spawn hands both streams on and tells a signal from a status", async () => {
    const seen = { stdout: "", stderr: "" };
    const decoder = new TextDecoder();
    const running = host.spawn(
      { argv: ["sh", "-c", "echo out; echo err >&2; kill -SEGV $$"] },
      { onOutput: (chunk, stream) => (seen[stream] += decoder.decode(chunk)) },
    );
    expect(await running.exited).toEqual({ status: null, signal: "SIGSEGV" });
    expect(seen).toEqual({ stdout: "out\n", stderr: "err\n" });
  });

  test("a pipe of its own lets a program open its output by name, also after it became another user", async () => {
    const user = host.isRoot ? 35001 : (process.getuid?.() ?? 0);
    const drop = host.isRoot
      ? (["setpriv", `--reuid=${user}`, `--regid=${user}`, "--clear-groups"] as const)
      : (["env"] as const);
    let printed = "";
    const command = "echo one; echo two >/dev/stderr; echo three >/dev/stdout; echo four >&2";
    const running = host.spawn(
      { argv: [...drop, "sh", "-c", command] },
      { pipe: { uid: user, gid: user }, onOutput: (chunk) => (printed += Buffer.from(chunk).toString()) },
    );
    expect(await running.exited).toEqual({ status: 0, signal: null });
    expect(printed).toBe("one\ntwo\nthree\nfour\n");
  });

  test.each([["own"], [undefined]] as const)("session %p: a process leads one, or is in ours", async (session) => {
    let printed = "";
    const running = host.spawn(
      { argv: ["cat", "/proc/self/stat"] },
      { onOutput: (chunk) => (printed += Buffer.from(chunk).toString()), ...(session === undefined ? {} : { session }) },
    );
    expect(await running.exited).toEqual({ status: 0, signal: null });
    const leader = Number(printed.split(" ")[5]);
    expect(leader === running.pid).toBe(session === "own");
  });

  test("any word survives the shell", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.string({ unit: "binary" }).filter((word) => !word.includes("\0") && word.isWellFormed()),
          { maxLength: 4 },
        ),
        async (words) => {
          const line = `for w in ${words.map(shellQuote).join(" ")}; do printf '%s\\0' "$w"; done`;
          const done = await host.run({ argv: ["sh", "-c", line] });
          expect(done.text()).toBe(words.map((word) => `${word}\0`).join(""));
        },
      ),
      { numRuns: 30 },
    );
  });
});

describe("files", () => {
  test("names that are not UTF-8 pass through", () => {
    const name = Buffer.concat([Buffer.from(`${directory}/bytes-`), Buffer.from([0xff, 0xfe])]);
    host.files.writeFile(name, "content");
    expect(host.files.list(directory).some((entry) => Buffer.compare(entry, name.subarray(directory.length + 1)) === 0)).toBe(
      true,
    );
    expect(Buffer.from(host.files.readFile(name)).toString()).toBe("content");
    host.files.syncFileSystem(directory);
    host.files.sync(name);
  });

  test("a tree with read-only directories and links out of it is removed, and nothing else", () => {
    const tree = `${directory}/tree`;
    fs.mkdirSync(`${tree}/a/b`, { recursive: true });
    fs.writeFileSync(`${tree}/a/b/file`, "x", { mode: 0o444 });
    fs.writeFileSync(`${directory}/outside`, "kept");
    fs.symlinkSync("../../outside", `${tree}/a/link`);
    fs.symlinkSync("..", `${tree}/a/up`);
    fs.chmodSync(`${tree}/a/b`, 0o555);
    fs.chmodSync(`${tree}/a`, 0o555);
    host.files.removeTree(tree);
    expect(fs.existsSync(tree)).toBe(false);
    expect(fs.readFileSync(`${directory}/outside`, "utf8")).toBe("kept");
    host.files.removeTree(tree);
  });

  test("lstatIfAny is undefined for nothing there, also below a file", () => {
    expect(host.files.lstatIfAny(`${directory}/none`)).toBeUndefined();
    fs.writeFileSync(`${directory}/plain`, "");
    expect(host.files.lstatIfAny(`${directory}/plain/below`)).toBeUndefined();
    expect(isErrno(new Error("plain"), "ENOENT")).toBe(false);
  });
});

describe("files with holes", () => {
  /** 1 MiB of zeros nobody wrote, 4096 bytes, a hole, 100 bytes, a hole to the end. */
  function sparse(name: string): { readonly path: string; readonly sizeBytes: number } {
    const path = `${directory}/${name}`;
    const sizeBytes = 8 << 20;
    const descriptor = fs.openSync(path, "w");
    fs.ftruncateSync(descriptor, sizeBytes);
    fs.writeSync(descriptor, Buffer.alloc(4096, "a"), 0, 4096, 1 << 20);
    fs.writeSync(descriptor, Buffer.alloc(100, "b"), 0, 100, 5 << 20);
    fs.closeSync(descriptor);
    return { path, sizeBytes };
  }

  function runsOf(path: string, sizeBytes: number): readonly { readonly from: number; readonly to: number }[] {
    const descriptor = host.files.open(path, "r");
    const runs = [];
    for (let run = host.files.nextData(descriptor, 0, sizeBytes); run !== undefined;) {
      runs.push(run);
      run = host.files.nextData(descriptor, run.to, sizeBytes);
    }
    host.files.close(descriptor);
    return runs;
  }

  test("say where their data are, and everything that is not zero is there", () => {
    const { path, sizeBytes } = sparse("holes");
    const runs = runsOf(path, sizeBytes);
    const inRuns = (at: number) => runs.some(({ from, to }) => from <= at && at < to);
    expect([1 << 20, (1 << 20) + 4095, 5 << 20, (5 << 20) + 99].map(inRuns)).toEqual([true, true, true, true]);
    // What du(1) counts is no less than what the runs hold, rounded to blocks.
    const held = runs.reduce((sum, { from, to }) => sum + to - from, 0);
    expect(held).toBeLessThanOrEqual(fs.statSync(path).blocks * 512);
    fs.writeFileSync(`${directory}/empty`, "");
    expect(runsOf(`${directory}/empty`, 0)).toEqual([]);
    fs.truncateSync(path, sizeBytes * 2);
    expect(runsOf(path, sizeBytes * 2)).toEqual(runs);
  });

  test("go from file to file in the kernel, at any offsets", () => {
    const { path, sizeBytes } = sparse("from");
    const [from, to] = [host.files.open(path, "r"), host.files.open(`${directory}/to`, "w")];
    const copied = host.files.copyRange(from, (1 << 20) - 7, to, 3, (4 << 20) + 50);
    // What is asked for behind the end is not there.
    expect(host.files.copyRange(from, sizeBytes - 10, to, 5 << 20, 100)).toBe(10);
    host.files.close(from);
    host.files.close(to);
    expect(copied).toBe((4 << 20) + 50);
    const expected = fs.readFileSync(path).subarray((1 << 20) - 7, (5 << 20) + 43);
    expect(
      fs
        .readFileSync(`${directory}/to`)
        .subarray(3, 3 + copied)
        .equals(expected),
    ).toBe(true);
    const shut = host.files.open(path, "r");
    expect(host.files.copyRange(shut, 0, shut, 0, 10)).toBe(0);
    host.files.close(shut);
  });
});

describe("process identity", () => {
  test("this process lives; a pid of another boot, another start or nobody does not", async () => {
    const [boot, pid, start] = host.processIdentity.split(":");
    expect(host.isAlive(host.processIdentity)).toBe(true);
    expect(host.isAlive(`${boot}:${pid}:1`)).toBe(false);
    expect(host.isAlive(`another:${pid}:${start}`)).toBe(false);
    expect(host.isAlive("nonsense")).toBe(false);
  });
});

test("hashing on another thread is waited for by a process that has nothing else to do", () => {
  const program = `
    const { localHost } = await import(${JSON.stringify(`${import.meta.dir}/index.ts`)});
    const hasher = localHost().hashBeside();
    const data = new Uint8Array(new SharedArrayBuffer(16 << 20));
    const work = hasher.update(data).then(() => hasher.digest());
    void work.then((digest) => { console.log(digest); hasher.close(); });`;
  const child = Bun.spawnSync([process.execPath, "-e", program], { stdout: "pipe", stderr: "pipe" });
  expect(child.stderr.toString()).toBe("");
  expect(child.stdout.toString().trim()).toBe(new Bun.CryptoHasher("sha256").update(new Uint8Array(16 << 20)).digest("hex"));
});

test("a launched process outlives nothing of ours: its output is in a file, its identity is known, a signal reaches it", async () => {
  const outputFile = `${directory}/launched`;
  const { pid, identity } = host.launch({ argv: ["sh", "-c", "echo here; exec sleep 600"] }, { outputFile });
  expect(host.identityOf(pid)).toBe(identity);
  expect(host.isAlive(identity)).toBe(true);
  const session = await host.run({ argv: ["ps", "-o", "sid=", "-p", String(pid)] });
  expect(Number(session.text())).toBe(pid);
  expect(host.signal(identity, "SIGKILL")).toBe(true);
  while (host.isAlive(identity)) await Bun.sleep(1);
  expect(host.signal(identity, "SIGKILL")).toBe(false);
  expect(fs.readFileSync(outputFile, "utf8")).toBe("here\n");
});
