/** Hosts from the command line, over a real sshd. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openTestHost, type TestHost } from "../remote/testing.ts";

const LIMIT_MS = 60_000;
const garth = join(import.meta.dir, "../../garth");
let directory = "";
let there: TestHost;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "garth-cli-host-"));
  there = await openTestHost({ kind: "linux" });
});
afterAll(async () => {
  await there.close();
  rmSync(directory, { recursive: true, force: true });
});

function call(...words: readonly string[]) {
  const env = { PATH: process.env["PATH"] ?? "", GARTH_ROOT: join(directory, "root") };
  const child = Bun.spawnSync([garth, ...words], { cwd: directory, env, stdin: "ignore" });
  return { status: child.exitCode, stdout: child.stdout.toString(), stderr: child.stderr.toString() };
}

function document(...words: readonly string[]) {
  const { status, stdout } = call(...words, "--json");
  return { status, document: JSON.parse(stdout) };
}

test(
  "a host is added, listed, checked, cleaned and removed",
  () => {
    const { url, root, hostKey } = there.wish;
    const add = ["host", "add", "farm", url, "--directory", root ?? "", "--identity", there.identityFile, "--jobs", "3"];
    const unknown = document(...add);
    expect([unknown.status, unknown.document.error.code]).toEqual([3, "E_HOST_KEY_UNKNOWN"]);
    expect(unknown.document.error.hint).toContain(`--host-key ${hostKey}`);
    expect(document("host", "ls")).toEqual({ status: 0, document: [] });

    const added = call(...add, "--host-key", hostKey ?? "");
    expect(added).toMatchObject({ status: 0, stderr: "" });
    expect(added.stdout).toContain("farm is known; builds run there");
    expect(document("host", "ls").document).toMatchObject([
      { name: "farm", url, root, jobs: 3, facts: { processors: expect.any(Number) } },
    ]);
    expect(call("host", "ls").stdout).toMatch(/^farm +\S+-linux /m);

    const checked = document("host", "check");
    expect(checked.status).toBe(0);
    expect(checked.document.map(({ name }: { name: string }) => name)).toEqual(["farm"]);
    expect(call("host", "check", "farm")).toMatchObject({ status: 0, stderr: "" });
    expect(call("host", "check", "form").stderr).toContain("E_UNKNOWN_HOST");

    expect(document("host", "gc", "farm", "--older-than", "1d")).toMatchObject({ status: 0, document: { removed: 0 } });
    expect(call("host", "rm", "farm", "--purge")).toMatchObject({ status: 0 });
    expect(existsSync(root ?? "")).toBe(false);
    expect(call("host", "rm", "farm").status).toBe(2);
  },
  LIMIT_MS,
);

test(
  "one that lacks something ends a check with 1, one that does not answer with 3, and neither hides another",
  async () => {
    const { url, hostKey } = there.wish;
    const add = (name: string, to: string, root: string, key: string) =>
      call("host", "add", name, to, "--directory", root, "--identity", there.identityFile, "--host-key", key);
    const poor = add("poor", url, `${there.directory}/authorized_keys/x`, hostKey ?? "");
    expect(poor.status).toBe(0);
    expect(poor.stdout).toContain("poor is known; builds do not run there yet: root");
    expect(call("host", "check", "poor")).toMatchObject({ status: 1, stderr: "" });

    await using other = await openTestHost({ kind: "linux" });
    const gone = call(
      "host",
      "add",
      "gone",
      other.wish.url,
      "--directory",
      other.root,
      "--identity",
      other.identityFile,
      "--host-key",
      "new",
    );
    expect(gone.status).toBe(0);
    await other.kill();
    const alone = document("host", "check", "gone");
    expect([alone.status, alone.document.error.code]).toEqual([3, "E_HOST_UNREACHABLE"]);
    const both = document("host", "check");
    expect(both.status).toBe(1);
    expect(both.document).toMatchObject([{ name: "gone", error: { code: "E_HOST_UNREACHABLE" } }, { name: "poor" }]);
    for (const name of ["gone", "poor"]) expect(call("host", "rm", name).status).toBe(0);
  },
  LIMIT_MS,
);
