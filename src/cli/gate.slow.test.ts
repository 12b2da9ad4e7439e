/** Gates by their commands: boot sectors that pass and fail, and a whole system on its way through its firmware. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { boot } from "../machine/testing.ts";
import { type CommandPlace, commandPlace, SMALL } from "./systems.testing.ts";

// The first call may have to compile the program.
setDefaultTimeout(240_000);
let place: CommandPlace;
beforeAll(() => {
  place = commandPlace();
  place.disk("ready.raw", [...boot.print("garth: a=1\r\ngarth: ready x\r\n"), ...boot.halt]);
  place.disk("panic.raw", [...boot.print("Kernel panic - not syncing: x\r\n"), ...boot.halt]);
  writeFileSync(
    join(place.directory, "hello.toml"),
    'extends = "none"\ntimeout_s = 60\n[[require]]\npattern = "^garth: ready"\n',
  );
});
afterAll(() => place.remove());

const file = (name: string) => readFileSync(join(place.directory, name), "utf8");

test("a disk that says it is ready passes by the rules of Linux; receipt and verdict say so", () => {
  const said = place.call("gate", "run", "ready.raw", "--receipt", "receipt.txt", ...SMALL);
  expect(said).toMatchObject({ status: 0, stdout: expect.stringMatching(/^verdict +pass\n[^]*\nPASS ready\n$/) });
  expect(said.stderr).toMatch(
    /^gate +ready runs on tcg: it was asked for\ngate +\d+\.\d s {2}seen: ready\ngate +\d+\.\d s {2}pass\n$/,
  );
  const receipt = Object(JSON.parse(file("receipt.txt.json")));
  const sum = Bun.spawnSync(["sha256sum", "ready.raw"], { cwd: place.directory }).stdout.toString().slice(0, 64);
  expect(receipt).toMatchObject({
    a: "1",
    verdict: "pass",
    accelerator: "tcg",
    ready_marker: "garth: ready x",
    image_sha256: sum,
  });

  for (const word of ["ready", "verdict-ready", receipt.verdict_path]) {
    expect(place.document("gate", "show", word)).toMatchObject({
      path: receipt.verdict_path,
      verdict: { verdict: "pass", image: { sha256: sum }, markers: [{ name: "ready", line: "garth: ready x" }] },
      publicKeySha256: receipt.public_key_sha256,
    });
  }
  expect(place.call("gate", "show", "ready", "--console").stdout).toMatch(/^\S+ garth: a=1\n\S+ garth: ready x\n$/);
  const item = join(place.directory, "root", receipt.verdict_path);
  const key = `${item}/public-key.pem`;
  expect(place.call("gate", "show", "ready", "--trust-key", key).status).toBe(0);
  Bun.spawnSync(["sh", "-c", "openssl genpkey -algorithm ed25519 | openssl pkey -pubout >other.pem"], { cwd: place.directory });
  const forged = place.call("gate", "show", "ready", "--trust-key", "other.pem");
  expect(forged).toMatchObject({ status: 1, stdout: "", stderr: expect.stringContaining("E_VERDICT_FORGED") });
});

test("a disk that panics fails with status 1; its receipt and verdict are there all the same", () => {
  const said = place.call("gate", "run", "panic.raw", "--receipt", "panic.txt", "--json", ...SMALL);
  expect(said.status).toBe(1);
  expect(JSON.parse(said.stdout)).toMatchObject({ error: { code: "E_GATE_FAILED", exit: 1 } });
  expect(file("panic.txt")).toContain("verdict=fail\n");
  const shown = place.call("gate", "show", "panic").stdout;
  expect(shown).toMatch(/^verdict +fail$/m);
  expect(shown).toContain("failed because a forbidden line came at ");
  expect(shown).toMatch(/^picture +\S+\/screenshot\.png$/m);
  expect(place.call("receipt", "ls").stdout).toMatch(/boot-panic-/);
});

test("the rules of a file apply, and a dry run prints them", () => {
  const dry = place.call("gate", "run", "ready.raw", "--gate", "hello.toml", "--dry-run");
  expect(dry).toMatchObject({ status: 0, stderr: "", stdout: expect.stringContaining('pattern = "^garth: ready"') });
  const passed = place.document("gate", "run", "ready.raw", "--gate", "hello.toml", ...SMALL);
  expect(passed).toMatchObject({ verdict: { verdict: "pass", gate: { name: "hello" } } });
  const linux = place.call("gate", "run", "ready.raw", "--dry-run").stdout;
  expect(linux).toContain('name = "kernel-panic"');
  // Without anything being shipped.
  expect(place.call("gate", "run", "#web", "--dry-run").stdout).toContain('pattern = "^BdsDxe: "');
  expect(place.call("store", "ls", "system-").stdout).toBe("");
});

test("a system is gated by its own gate, with the machine that is asked for, and by the line again when nothing is", () => {
  const own = place.call("gate", "run", "#web", "--receipt", "web.txt");
  expect(own).toMatchObject({ status: 0, stdout: expect.stringMatching(/^verdict +pass\n[^]*\nPASS web\n$/) });
  expect(file("web.txt")).toContain("host_base_store_count=3\n");
  const other = place.call("gate", "run", "#other", "--cpus", "2");
  expect(other).toMatchObject({ status: 1, stdout: "", stderr: expect.stringContaining("E_GATE_FAILED") });
  const newest = Object(place.document("gate", "show", "other"));
  expect(newest.verdict).toMatchObject({
    verdict: "fail",
    machine: { cpus: 2 },
    image: { path: expect.stringMatching(/-image-other\.raw$/) },
  });
  expect(newest.commandLine.join(" ")).toContain("restrict=on");
});
