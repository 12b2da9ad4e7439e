import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const home = join(import.meta.dir, "../..");
const garth = join(home, "garth");
let directory = "";

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "garth-cli-"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

interface Said {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function call(words: readonly string[], program = garth): Said {
  const child = Bun.spawnSync([program, ...words], {
    cwd: directory,
    env: { PATH: process.env["PATH"] ?? "", GARTH_ROOT: join(directory, "root") },
    stdin: "ignore",
  });
  return { status: child.exitCode, stdout: child.stdout.toString(), stderr: child.stderr.toString() };
}

test("the launcher works from another directory, and through symlinks of both kinds", () => {
  symlinkSync(garth, join(directory, "absolute"));
  symlinkSync("absolute", join(directory, "relative"));
  for (const name of [garth, "./absolute", "./relative", join(directory, "relative")]) {
    expect(call(["--version"], name)).toEqual({ status: 0, stdout: "garth 0.1.0\n", stderr: "" });
  }
});

test("the program is compiled: without that it starts slowly, and nobody would notice", () => {
  expect(call(["--version"]).status).toBe(0);
  const program = join(home, ".cache/garth/garth");
  const newer = Bun.spawnSync(["find", join(home, "src"), "-newer", program], { stderr: "pipe" });
  expect([newer.stdout.toString(), newer.stderr.toString()]).toEqual(["", ""]);
});

test("neither an .env file nor a bunfig.toml of the caller's directory has a say", () => {
  writeFileSync(join(directory, ".env"), `GARTH_ROOT=${directory}/elsewhere\nGARTH_JOBS=77\n`);
  writeFileSync(join(directory, "bunfig.toml"), 'preload = ["./nothing-there.ts"]\n');
  const { status, stdout } = call(["config", "show", "--json"]);
  rmSync(join(directory, ".env"));
  rmSync(join(directory, "bunfig.toml"));
  expect(status).toBe(0);
  const { settings, places } = JSON.parse(stdout);
  expect(settings.jobs).not.toBe(77);
  expect(places.root).toBe(join(directory, "root"));
});

test("help is on stdout when asked for, and on stderr with status 2 when not", () => {
  for (const words of [
    ["help"],
    ["--help"],
    ["help", "store"],
    ["store", "--help"],
    ["build", "--help"],
    ["help", "drv", "show"],
    ["--root", "elsewhere", "help"],
  ]) {
    const said = call(words);
    expect(said).toMatchObject({ status: 0, stderr: "" });
    expect(said.stdout).toStartWith("usage: garth");
  }
  for (const words of [[], ["store"]]) {
    const said = call(words);
    expect(said).toMatchObject({ status: 2, stdout: "" });
    expect(said.stderr).toStartWith("usage: garth");
  }
});

test.each([
  [["stoer", "ls"], "there is no command `garth stoer`", "garth store"],
  [["--root", "elsewhere", "stoer", "ls"], "there is no command `garth stoer`", "garth store"],
  [["store", "verfy"], "there is no command `garth store verfy`", "garth store verify"],
  [["build", "--keep-faild"], "there is no option --keep-faild", "--keep-failed"],
  [["store", "show"], "garth store show needs ITEM", "--help"],
  [["store", "roots", "extra"], 'garth store roots does not take "extra"', "--help"],
  [["gc", "--keep-free"], "--keep-free needs a value", "--help"],
  [["gc", "--keep-free", "lots"], '"lots" is not a size', "10G"],
  [["gc", "--older-than=soon"], '"soon" is not a duration', "30d"],
  [["build", "-j", "0"], "--jobs 0", "one job"],
])("%p is refused with status 2 and a hint", (words, message, hint) => {
  const said = call(words);
  expect(said).toMatchObject({ status: 2, stdout: "" });
  expect(said.stderr).toContain(message);
  expect(said.stderr).toContain(hint);
});

test("--json prints one document, also when it fails", () => {
  const listed = call(["store", "ls", "--json"]);
  expect(JSON.parse(listed.stdout)).toEqual([]);
  const failed = call(["receipt", "show", "nothing", "--json"]);
  expect(failed.status).toBe(2);
  expect(JSON.parse(failed.stdout)).toMatchObject({ error: { code: "E_NO_SUCH_RECEIPT", exit: 2 } });
});

test("the store, from adding to collecting", () => {
  writeFileSync(join(directory, "greeting"), "hello\n");
  const path = call(["store", "path", "greeting"]).stdout.trim();
  expect(call(["store", "add", "greeting"])).toMatchObject({ status: 0, stdout: `${path}\n` });
  expect(call(["store", "ls"]).stdout).toBe(`${path}\n`);
  expect(JSON.parse(call(["store", "show", "greeting", "--json"]).stdout)).toMatchObject({
    path,
    narSizeBytes: 120,
    references: [],
  });
  expect(call(["store", "refs", "greeting", "--closure"]).stdout).toBe(`${path}\n`);
  expect(call(["store", "verify"])).toMatchObject({ status: 0, stdout: "1 items checked, 0 damaged, 0 repaired\n" });
  const dumped = Bun.spawnSync([garth, "store", "dump", "greeting"], {
    cwd: directory,
    env: { GARTH_ROOT: join(directory, "root") },
  });
  expect(dumped.stdout.subarray(0, 24).toString()).toContain("nix-archive-1");

  expect(call(["store", "root", "./held", path]).status).toBe(0);
  expect(call(["gc", "--older-than", "0s"]).stdout).toContain("freed 0 B in 0 items; 1 kept");
  expect(call(["store", "root", "./held"]).status).toBe(0);
  expect(existsSync(join(directory, "held"))).toBe(false);
  expect(call(["gc", "--older-than", "0s", "--dry-run"]).stdout).toContain("would free");
  expect(call(["gc", "--older-than", "0s"]).stdout).toContain(path);
  expect(call(["store", "ls"]).stdout).toBe("");
});

test("a reader that goes away is no error", async () => {
  // The process behind descriptor 3 has ended before the command writes to it.
  const script = 'exec 3> >(exit 0); wait $!; "$0" help >&3';
  const child = Bun.spawn(["bash", "-c", script, garth], { stdout: "ignore", stderr: "pipe" });
  expect(await new Response(child.stderr).text()).toBe("");
  expect(await child.exited).toBe(0);
});

test("an output that cannot be written to is an error", () => {
  const full = Bun.spawnSync(["sh", "-c", '"$0" help >/dev/full', garth], { stdout: "ignore", stderr: "pipe" });
  expect(full.exitCode).toBe(3);
  expect(full.stderr.toString()).toStartWith("error E_CANNOT_WRITE: stdout cannot be written to: ENOSPC");
});

test("--json is a document when the command line is wrong, too", () => {
  const said = call(["store", "show", "--json"]);
  expect(said.status).toBe(2);
  expect(JSON.parse(said.stdout)).toMatchObject({ error: { code: "E_USAGE", exit: 2 } });
});

test("a large file is added also where the disk is quicker than the digest", () => {
  const root = mkdtempSync("/dev/shm/garth-cli-");
  try {
    writeFileSync(join(directory, "large"), Buffer.alloc(64 << 20, "large"));
    const said = call(["store", "add", "large", "--root", root]);
    expect(said).toMatchObject({ status: 0, stderr: "" });
    expect(said.stdout).toMatch(/^\/frx\/store\/[0-9a-f]{64}-large\n$/);
  } finally {
    rmSync(root, { recursive: true });
  }
});

test("a root that cannot be made is refused in words, and no bug", () => {
  const said = call(["store", "ls", "--root", "/dev/null/root"]);
  expect(said).toMatchObject({ status: 3, stdout: "" });
  expect(said.stderr).toStartWith("error E_NOT_ALLOWED: mkdir /dev/null/root");
});

test("a file that is no public key is a mistake of the command line, and is named", () => {
  writeFileSync(join(directory, "garbage.pub"), "not a key\n");
  const said = call(["repo", "verify", directory, "--trust-key", "garbage.pub"]);
  expect(said.status).toBe(2);
  expect(said.stderr).toContain("garbage.pub: expected a public key in PEM");
});
