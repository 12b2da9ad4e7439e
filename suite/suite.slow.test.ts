/**
 * The suite against hosts that are there for tests: a Linux one and one that stands in for FreeBSD. Nothing fails, exactly what is not for them is
 * skipped, and a host whose tool lies is found out.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openTestHost, type TestHost } from "../src/remote/testing.ts";
import type { Case } from "./case.ts";
import { allCases } from "./cases.ts";
import { runHere } from "./hand.ts";

setDefaultTimeout(600_000);
const script = join(import.meta.dir, "../scripts/test-freebsd.mjs");

function suite(words: readonly string[]) {
  return runHere(["node", script, ...words], { limitMs: 580_000 });
}

const wordsOf = ({ wish }: TestHost): readonly string[] => ["--host", wish.url, "--identity", wish.identityFile ?? ""];

interface Told {
  readonly outcomes: readonly { readonly name: string; readonly state: string; readonly text?: string }[];
}

async function whole(host: TestHost): Promise<{ readonly told: Told; readonly status: number | null; readonly stdout: string }> {
  const directory = mkdtempSync(join(tmpdir(), "garth-suite-test-"));
  try {
    const file = join(directory, "told.json");
    const { status, stdout, stderr } = await suite([...wordsOf(host), "--host-key", host.hostKey, "--json", file]);
    const told: Told = JSON.parse(readFileSync(file, "utf8"));
    expect(told.outcomes.flatMap(({ text }) => text ?? [])).toEqual([]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    return { told, status, stdout };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const skippedIn = ({ outcomes }: Told): readonly string[] =>
  outcomes.filter(({ state }) => state === "skipped").map(({ name }) => name);
const namesOf = (is: (one: Case) => boolean): readonly string[] => allCases.filter(is).map(({ name }) => name);

test("a Linux host: nothing fails, and what is for FreeBSD is skipped by name", async () => {
  await using host = await openTestHost({ kind: "linux", name: "suite-linux" });
  const { told, stdout } = await whole(host);
  const skipped = namesOf(({ only }) => only === "freebsd");
  expect(skippedIn(told)).toEqual(skipped);
  // Two of them are about the host before and after.
  expect(stdout.trimEnd().split("\n").at(-1)).toBe(
    `${allCases.length - skipped.length + 2} passed, 0 failed, ${skipped.length} skipped`,
  );
  for (const name of skipped) expect(stdout).toContain(`skipped: ${name} (for FreeBSD)\n`);
  expect(stdout).toContain(`host key ${host.hostKey} `);
});

test("a stand-in for FreeBSD: nothing fails, and what needs its kernel, or a compiler, is skipped by name", async () => {
  await using host = await openTestHost({ kind: "freebsd", name: "suite-freebsd" });
  const { told, stdout } = await whole(host);
  const lacking = new Set(["garth build: hello, from its source, with its own tests"]);
  const skipped = namesOf(({ name, only, kernel }) => only === "linux" || kernel === true || lacking.has(name));
  expect(skippedIn(told)).toEqual(skipped);
  expect(stdout.trimEnd().split("\n").at(-1)).toBe(
    `${allCases.length - skipped.length + 2} passed, 0 failed, ${skipped.length} skipped`,
  );
  expect(stdout).toContain("skipped: garth build: hello, from its source, with its own tests (no cc on the host)\n");
  // Nothing of it is left on the host, and it says so by itself.
  expect(host.look("ls -A /var/tmp /frx/var/garth 2>/dev/null || :")).not.toContain("garth-suite");
});

test("a host whose tool lies is found out, with the script and what the tool said", async () => {
  await using host = await openTestHost({ kind: "freebsd", name: "suite-lies" });
  // Without what -G says: the groups of root are left.
  const chroot = host.path("/usr/sbin/chroot");
  host.look("mv /usr/sbin/chroot /usr/libexec/chroot-that-is-true");
  writeFileSync(chroot, "#!/bin/sh\necho 'its last words' >&2\n[ $# -gt 7 ] && shift 7\nexec \"$@\"\n", { mode: 0o555 });
  const { status, stdout } = await suite([...wordsOf(host), "--only", "^build: a line of shell|^inside: exactly"]);
  expect(status).toBe(1);
  expect(stdout).toContain("FAILED build: a line of shell runs on the host");
  for (const part of [
    "expected: ",
    "found:    ",
    "its last words",
    "--- its events",
    `exec sh "$scratch/run.sh" serve`,
    "set -eu",
  ])
    expect(stdout).toContain(part);
  expect(stdout).toContain("skipped: inside: exactly uid=N gid=N groups=N (needs what failed: build: a line of shell");
  expect(stdout.trimEnd().split("\n").at(-1)).toMatch(/^\d+ passed, [1-9]\d* failed, \d+ skipped$/);
});

test("something that is left on the host is a failure", async () => {
  await using host = await openTestHost({ kind: "freebsd", name: "suite-left" });
  // What removes directories does not: the root of the suite is left.
  host.look("mv /bin/rm /usr/libexec/rm-that-is-true");
  writeFileSync(host.path("/bin/rm"), "#!/bin/sh\nexit 0\n", { mode: 0o555 });
  const { status, stdout } = await suite([...wordsOf(host), "--only", "^head -c"]);
  expect(status).toBe(1);
  expect(stdout).toMatch(/FAILED the host is as it was[^\n]*\n[\s\S]*files, new: [^\n]*\/var\/tmp\/garth-suite-/);
});

test("a host that cannot be reached is 3, a command line that is wrong is 2", async () => {
  const gone = await suite(["--host", "ssh://root@127.0.0.1:1"]);
  expect([gone.status, gone.stderr]).toEqual([3, expect.stringContaining("refused")]);
  const wrong = await suite(["--host", "http://example"]);
  expect([wrong.status, wrong.stderr]).toEqual([2, expect.stringContaining("usage: ")]);
  await using host = await openTestHost({ kind: "linux", name: "suite-key" });
  const other = await suite([...wordsOf(host), "--host-key", `SHA256:${"A".repeat(43)}`]);
  expect([other.status, other.stderr]).toEqual([3, expect.stringContaining(host.hostKey)]);
});

test("an error that nobody waits for is the failure of the case that runs, and the next one runs", async () => {
  const { stdout, status } = await runHere([process.execPath, join(import.meta.dir, "stray.child.ts")]);
  expect([status, stdout.trimEnd().split("\n").at(-1)]).toEqual([0, "1 passed, 2 failed, 0 skipped"]);
  expect(stdout).toContain("a rejection");
  expect(stdout).toContain("an exception");
});
