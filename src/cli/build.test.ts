import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const garth = join(import.meta.dir, "../../garth");
let directory = "";

const PROJECT = `
import { hostView, package_, repository, script } from "garth";
const common = { version: "1", buildRoot: hostView() };
export const library = script({ name: "library", ...common, script: 'echo one; echo text > "$out/text"' });
export const program = script({
  name: "program", ...common, inputs: { library }, script: 'echo two; echo "$library" > "$out/needs"',
});
export const broken = script({ name: "broken", ...common, script: "echo going wrong; exit 7" });
export const endless = script({ name: "endless", ...common, script: "echo waiting; exec sleep 1000" });
`;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "garth-cli-build-"));
  writeFileSync(join(directory, "garth.ts"), PROJECT);
});
afterAll(() => {
  // Directories of the store may not be written to; root need not care.
  Bun.spawnSync(["chmod", "-R", "u+w", directory]);
  rmSync(directory, { recursive: true, force: true });
});

const environment = () => ({ PATH: process.env["PATH"] ?? "", GARTH_ROOT: join(directory, "root") });

function call(...words: readonly string[]) {
  const child = Bun.spawnSync([garth, ...words], { cwd: directory, env: environment(), stdin: "ignore" });
  return { status: child.exitCode, stdout: child.stdout.toString(), stderr: child.stderr.toString() };
}

/** Of every process of this machine. */
function commandLines(): readonly string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        return [readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim()];
      } catch {
        // It ended while we looked.
        return [];
      }
    });
}

test("builds, says what it did on stderr and what came of it on stdout, and does nothing the second time", () => {
  const first = call("build", "#program");
  expect(first).toMatchObject({ status: 0 });
  expect(first.stdout).toMatch(/^\/frx\/store\/[0-9a-f]{64}-program-1\nPASS program\n$/);
  expect(first.stderr).toContain("built    library-1 in ");
  expect(call("build", "#program")).toEqual({ status: 0, stdout: first.stdout, stderr: "" });
});

test("the receipt goes where it is asked for, as text and as JSON, and is kept", () => {
  expect(call("build", "#program", "--receipt", "r.txt").status).toBe(0);
  const text = readFileSync(join(directory, "r.txt"), "utf8");
  expect(text).toContain("\nnetwork=none\n");
  expect(JSON.parse(readFileSync(join(directory, "r.txt.json"), "utf8"))).toMatchObject({ network: "none" });
  const kept = JSON.parse(call("receipt", "ls", "--json").stdout);
  expect(kept.map((receipt: { name: string }) => receipt.name).join()).toMatch(/build-program-1-[0-9a-f]{12}/);
});

test("a name means what was built, though derivations and packages begin with it too", () => {
  const [program = ""] = call("build", "#program").stdout.split("\n");
  expect(call("store", "ls", "program").stdout).toContain("-program-1.drv\n");
  const closure = call("store", "refs", "program", "--closure");
  expect(closure).toMatchObject({ status: 0, stderr: "" });
  expect(closure.stdout.trim().split("\n").at(-1)).toBe(program);
});

test("--verbose shows what the builders print, --quiet nothing", () => {
  expect(call("build", "#program", "--rebuild", "-v").stderr).toContain("program-1> two");
  expect(call("build", "#program", "--rebuild", "-q").stderr).toBe("");
});

test("an out-link holds the output against gc", () => {
  const { stdout } = call("build", "#library", "-o", "result");
  const path = stdout.split("\n")[0] ?? "";
  expect(readlinkSync(join(directory, "result"))).toEndWith(path.slice("/frx/store/".length));
  expect(call("gc", "--older-than", "0s").status).toBe(0);
  expect(call("store", "ls").stdout).toContain(path);
});

test("a dry run builds nothing and shows the sandbox", () => {
  const planned = call("build", "#endless", "--dry-run");
  expect(planned.status).toBe(0);
  expect(planned.stdout).toStartWith("build    endless-1");
  expect(planned.stdout).toContain("--unshare-net");
});

test("a failure is 1, with the last lines and where the log is", () => {
  const failed = call("build", "#broken");
  expect(failed).toMatchObject({ status: 1, stdout: "" });
  expect(failed.stderr).toContain("    going wrong");
  const hint = /garth log (\S+)/.exec(failed.stderr)?.[1] ?? "";
  expect(call("log", hint).stdout).toContain("going wrong\n");
});

test("an error in the project file is 2, with file and line", () => {
  const file = join(directory, "wrong.ts");
  writeFileSync(file, `import { script } from "garth";\nexport const x = script({ name: "x", version: 1 });\n`);
  const said = call("check", "wrong.ts");
  expect(said.status).toBe(2);
  expect(said.stderr).toContain("wrong.ts:2");
});

test.each(["SIGINT", "SIGTERM"] as const)("%s ends a build with 130, and nothing of it is left", async (signal) => {
  const child = Bun.spawn([garth, "build", "#endless", "-v"], {
    cwd: directory,
    env: environment(),
    stdout: "pipe",
    stderr: "pipe",
  });
  let told = "";
  const decoder = new TextDecoder();
  for await (const chunk of child.stderr) {
    const before = told.includes("> waiting");
    told += decoder.decode(chunk);
    if (!before && told.includes("> waiting")) child.kill(signal);
  }
  expect(await child.exited).toBe(130);
  expect(told).toContain("undoing what was begun");
  expect(await new Response(child.stdout).text()).toBe("");
  expect(commandLines().filter((line) => line === "sleep 1000")).toEqual([]);
  expect(existsSync(join(directory, "root/frx/var/garth/garth.db"))).toBe(true);
});

test("kill -9 leaves nothing past the next start", async () => {
  const child = Bun.spawn([garth, "build", "#endless", "-v"], {
    cwd: directory,
    env: environment(),
    stdout: "ignore",
    stderr: "pipe",
  });
  let told = "";
  for await (const chunk of child.stderr) {
    told += new TextDecoder().decode(chunk);
    if (told.includes("> waiting")) break;
  }
  child.kill("SIGKILL");
  await child.exited;
  expect(call("build", "#library")).toMatchObject({ status: 0 });
  expect(commandLines().filter((line) => line === "sleep 1000")).toEqual([]);
  const temporary = join(directory, "root/frx/var/garth/tmp");
  expect(readdirSync(temporary).filter((name) => name !== "store")).toEqual([]);
  expect(readdirSync(join(temporary, "store"))).toEqual([]);
  expect(readFileSync("/proc/mounts", "utf8")).not.toContain(directory);
});
