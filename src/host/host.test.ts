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
