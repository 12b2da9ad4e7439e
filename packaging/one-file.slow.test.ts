/** Garth as one file, where there is nothing else: no checkout, no node_modules, no home. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { boot, bootDisk, runs, until } from "../src/machine/testing.ts";
import { compile, copyCheckout, scratch, sha256Of } from "./packaging.testing.ts";

setDefaultTimeout(300_000);
const checkout = join(import.meta.dir, "..");
let directory = "";
let garth = "";

const PROJECT = `
import { hostView, package_, repository, script } from "garth";
import { greeting } from "./greeting.ts";
export const hello = script({
  name: "hello", version: "1.0", buildRoot: hostView(),
  script: "mkdir $out/bin; echo '" + greeting + "' >$out/bin/hello",
  metadata: { comment: "Says hello", licenses: ["MIT"] },
});
export const shop = repository({ name: "shop", packages: [package_(hello)] });
`;
const WRONG = `import { script } from "garth";
const wrong = () => script({ nam: "x" });

export const x = wrong();
`;

beforeAll(() => {
  directory = scratch("one-file");
  copyCheckout(join(directory, "sources"));
  garth = join(directory, "garth");
  compile(join(directory, "sources"), garth);
  mkdirSync(join(directory, "home"));
  mkdirSync(join(directory, "work"));
  writeFileSync(join(directory, "work/garth.ts"), PROJECT);
  writeFileSync(join(directory, "work/greeting.ts"), `export const greeting: string = "hello";\n`);
  writeFileSync(join(directory, "work/wrong.ts"), WRONG);
  // What would be read if it were.
  writeFileSync(join(directory, "work/.env"), "GARTH_JOBS=nonsense\n");
  writeFileSync(join(directory, "work/bunfig.toml"), "this is not TOML\n");
});
afterAll(() => {
  call("machine", "ls", "--sweep");
  Bun.spawnSync(["chmod", "-R", "u+w", directory]);
  rmSync(directory, { recursive: true, force: true });
});

/** Root hides the checkout and the copy that the file was made from; who is not root has to believe that nothing looks there. */
function argvOf(words: readonly string[]): string[] {
  const hide = 'mount -t tmpfs none "$1"; mount -t tmpfs none "$2"; shift 2; exec "$@"';
  const hidden = ["unshare", "--mount", "sh", "-c", hide, "sh", checkout, join(directory, "sources")];
  return [...(process.getuid?.() === 0 ? hidden : []), garth, ...words];
}

const options = () => ({
  cwd: join(directory, "work"),
  env: { HOME: join(directory, "home"), PATH: "/usr/sbin:/usr/bin:/sbin:/bin", GARTH_ROOT: join(directory, "root") },
});

function call(...words: readonly string[]) {
  const child = Bun.spawnSync(argvOf(words), { ...options(), stdin: "ignore" });
  return { status: child.exitCode, stdout: child.stdout.toString(), stderr: child.stderr.toString() };
}

test("two places give the same bytes", () => {
  const other = join(directory, "somewhere/else");
  copyCheckout(other, join(directory, "sources"));
  compile(other, join(directory, "again"));
  expect(sha256Of(join(directory, "again"))).toBe(sha256Of(garth));
});

test("says what it is, helps, and looks at the machine", () => {
  const { version } = JSON.parse(readFileSync(join(directory, "sources/package.json"), "utf8"));
  expect(call("--version")).toEqual({ status: 0, stdout: `garth ${version}\n`, stderr: "" });
  expect(call("--help").stdout).toStartWith("usage: garth COMMAND [options]\n");
  const doctor = call("doctor");
  expect(doctor.stdout).toContain("this machine:\n");
  expect(doctor.stderr).toBe("");
  expect(call("config", "show").status).toBe(0);
});

test("ships a project: recipe, build, package, signed repository; and verifies what it made", () => {
  const shipped = call("ship", ".");
  expect(shipped.stderr).toContain("garth.ts: types not checked: this Garth is one file, without a compiler\n");
  expect(shipped.stdout).toEndWith("PASS work\n");
  const [out = ""] = /\/frx\/store\/\S+-hello-1\.0/.exec(shipped.stdout) ?? [];
  expect(readFileSync(join(directory, "root", out, "bin/hello"), "utf8")).toBe("hello\n");
  expect(call("repo", "verify", "shop").stdout).toMatch(/^2 packages, catalogue [0-9a-f]{64}, signature good\n$/);
  expect(call("store", "verify")).toMatchObject({ status: 0, stdout: expect.stringContaining(" 0 damaged") });
  expect(call("build", "#hello")).toMatchObject({ status: 0, stdout: expect.stringContaining("PASS hello") });
});

test("an error has the place where a person declared it, behind functions of his own too", () => {
  const said = call("build", "wrong.ts#x");
  expect(said.status).toBe(2);
  expect(said.stderr).toContain(`where: ${join(directory, "work/wrong.ts")}:2\n`);
});

test("starts itself again for a machine that outlives the command", async () => {
  writeFileSync(join(directory, "work/talker.raw"), bootDisk([...boot.print("hello\r\n"), ...boot.echo]));
  const small = ["--firmware", "bios", "--memory", "64M", "--accelerator", "tcg"];
  const started = call("machine", "run", "talker.raw", "--name", "away", "--detach", "--json", ...small);
  expect(started).toMatchObject({ status: 0 });
  const [record] = JSON.parse(call("machine", "ls", "--json").stdout);
  expect(record).toMatchObject({ name: "away", state: "running" });
  expect(call("machine", "stop", "away").status).toBe(0);
  await until(() => !runs(record.pid));
});

test("is a daemon that answers, until it is told to end", async () => {
  const daemon = Bun.spawn(argvOf(["daemon", "--listen", "127.0.0.1:0", "--log", "json"]), {
    ...options(),
    stdin: "ignore",
    stderr: "pipe",
  });
  let said = "";
  for await (const chunk of daemon.stderr) {
    said += new TextDecoder().decode(chunk);
    if (/"event":"listening".*\n/.test(said)) break;
  }
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(said)?.[0] ?? "";
  expect((await fetch(`${url}/health`)).status).toBe(200);
  daemon.kill("SIGTERM");
  expect(await daemon.exited).toBe(0);
});

test("leaves nothing where it was called from, nor at home", () => {
  expect(existsSync(join(directory, "work/node_modules"))).toBe(false);
  expect(Array.from(new Bun.Glob("**").scanSync({ cwd: join(directory, "home"), dot: true }))).toEqual([]);
});
