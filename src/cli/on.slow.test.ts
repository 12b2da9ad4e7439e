/** `--on` and `--system`: builds, packages and repositories of another machine's, over a real sshd. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openTestHost, type TestHost, untilClean } from "../remote/testing.ts";

setDefaultTimeout(120_000);
const garth = join(import.meta.dir, "../../garth");
let directory = "";
let tux: TestHost;
let beastie: TestHost;

const PROJECT = `
import { hostView, package_, repository, script } from "garth";
const common = { version: "1", buildRoot: hostView() };
export const program = script({
  name: "program", ...common,
  script: 'mkdir -p "$out/bin"; printf "#!/bin/sh\\\\necho hello\\\\n" >"$out/bin/program"; chmod 755 "$out/bin/program"; uname >"$out/made-on"',
});
export const tools = repository({ name: "tools", packages: [package_(program, { comment: "A program" })] });
`;

const TROUBLE = `
import { hostView, script } from "garth";
const common = { version: "1", buildRoot: hostView() };
export const broken = script({ name: "broken", ...common, script: "echo going wrong; exit 7" });
export const endless = script({ name: "endless", ...common, script: "echo waiting; exec sleep 1000" });
`;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "garth-cli-on-"));
  writeFileSync(join(directory, "garth.ts"), PROJECT);
  writeFileSync(join(directory, "trouble.ts"), TROUBLE);
  tux = await openTestHost({ kind: "linux", name: "tux" });
  beastie = await openTestHost({ kind: "freebsd", name: "beastie" });
  for (const { wish } of [tux, beastie]) {
    const words = ["host", "add", wish.name, wish.url, "--directory", wish.root ?? "", "--identity", wish.identityFile ?? ""];
    const added = call(...words, "--host-key", wish.hostKey ?? "", "--jobs", "2");
    if (added.status !== 0) throw new Error(added.stderr);
  }
});
afterAll(async () => {
  await tux.close();
  await beastie.close();
  Bun.spawnSync(["chmod", "-R", "u+w", directory]);
  rmSync(directory, { recursive: true, force: true });
});

const environment = () => ({ PATH: process.env["PATH"] ?? "", GARTH_ROOT: join(directory, "root") });

function call(...words: readonly string[]) {
  const child = Bun.spawnSync([garth, ...words], { cwd: directory, env: environment(), stdin: "ignore" });
  return { status: child.exitCode, stdout: child.stdout.toString(), stderr: child.stderr.toString() };
}

test("--on builds on that host, for its system; the receipt says so", () => {
  const built = call("build", "#program", "--on", "tux", "--receipt", "r.txt");
  expect(built).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/^\/frx\/store\/[0-9a-f]{64}-program-1\nPASS program\n$/),
  });
  expect(built.stderr).toContain("build    program-1 on tux\n");
  expect(readFileSync(join(directory, "r.txt"), "utf8")).toContain("\nbuild_host=tux\n");
  // What is there is there, whoever built it.
  expect(call("build", "#program", "--on", "here")).toMatchObject({ status: 0, stdout: built.stdout, stderr: "" });

  const jailed = call("build", "#program", "--on", "beastie", "--receipt", "r.txt");
  expect(jailed.status).toBe(0);
  const receipt = readFileSync(join(directory, "r.txt"), "utf8");
  expect(receipt).toContain("\nbuild_mode=freebsd-jail\nbuild_host=beastie\nbuild_host_release=15.1-RELEASE\nlimits=each\n");
  expect(readFileSync(join(directory, "root", jailed.stdout.split("\n")[0] ?? "", "made-on"), "utf8")).toBe("FreeBSD\n");
  expect(call("log", "#program", "--on", "beastie").stdout).toContain(" on beastie (15.1-RELEASE)\n");
});

test("--system takes whichever host is of it; without one it says which there are", () => {
  expect(call("build", "#program", "--system", "x86_64-freebsd", "--rebuild").stderr).toContain("program-1 on beastie");
  const none = call("build", "#program", "--system", "aarch64-freebsd");
  expect([none.status, none.stdout]).toEqual([3, ""]);
  expect(none.stderr).toContain("E_NO_SITE");
  expect(none.stderr).toContain("beastie is x86_64-freebsd");
  expect(none.stderr).toContain("garth host add");
});

test("what cannot be meant is refused", () => {
  expect(call("build", "#program", "--on", "nobody")).toMatchObject({
    status: 2,
    stderr: expect.stringContaining("E_UNKNOWN_HOST"),
  });
  const both = call("build", "#program", "--on", "beastie", "--system", "aarch64-freebsd");
  expect([both.status, both.stderr]).toEqual([2, expect.stringContaining("beastie is x86_64-freebsd")]);
  expect(call("build", "#program", "--system", "x86_64-frebsd").stderr).toContain("did you mean x86_64-freebsd?");
});

test("a dry run shows the host's script", () => {
  const { stdout } = call("build", "trouble.ts#broken", "--on", "beastie", "--dry-run");
  expect(stdout).toContain("--- jail.conf");
  expect(stdout).toContain(`${beastie.root}/tmp/`);
});

test("a package is for the host it was built on; a ship goes as far as its repository", () => {
  const made = call("pkg", "create", "#program", "--on", "beastie", "--out", "packages");
  expect(made.status).toBe(0);
  const file = made.stdout.split(/\s+/).find((word) => word.endsWith("/program-1.pkg")) ?? "";
  expect(JSON.parse(call("pkg", "info", file, "--json").stdout)).toMatchObject({ manifest: { abi: "FreeBSD:15:amd64" } });
  // Which oldest kernel a Linux host's programs run on, nobody has said.
  expect(call("pkg", "create", "#program", "--on", "tux")).toMatchObject({
    status: 2,
    stderr: expect.stringContaining("E_ABI_UNKNOWN"),
  });

  const shipped = call("ship", "--on", "beastie", "--until", "repository", "--json");
  expect(shipped.status).toBe(0);
  const stages = JSON.parse(shipped.stdout).stages.map(({ stage, summary }: Record<string, string>) => `${stage}: ${summary}`);
  expect(stages.join("\n")).toContain("package: program-1.pkg for FreeBSD:15:amd64, 1 item packages\nrepository: ");
});

test("SIGINT ends a build there with 130, and nothing of it is left", async () => {
  for (const host of [tux, beastie]) {
    const child = spawn(garth, ["build", "trouble.ts#endless", "--on", host === tux ? "tux" : "beastie", "--verbose"], {
      cwd: directory,
      env: environment(),
      stdio: ["ignore", "ignore", "pipe"],
    });
    const ended = new Promise((resolve) => child.on("close", resolve));
    const waiting = Promise.withResolvers<void>();
    let said = "";
    child.stderr.on("data", (chunk) => {
      said += String(chunk);
      if (said.includes("endless-1> waiting")) waiting.resolve();
    });
    await Promise.race([waiting.promise, ended]);
    child.kill("SIGINT");
    expect(await ended).toBe(130);
    expect(await untilClean(host)).toEqual([]);
  }
});
