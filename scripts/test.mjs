/**
 * `npm test`: sets up what is missing, runs every check the project has, and ends with one line: `N passed, N failed`.
 * `npm run test:fast` (`--fast`) leaves out `*.slow.test.ts`. Plain Node 20, no dependencies.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bun, home } from "./setup.mjs";

const startedMs = performance.now();
const fast = process.argv.includes("--fast");
let passed = 0;
let failed = 0;

function run(argv) {
  const [program, ...rest] = argv;
  return spawnSync(program, rest, { cwd: home, stdio: "inherit", env: { ...process.env, CI: "1" } });
}

/** One check that passes or fails as a whole; says which. */
function stage(name, argv) {
  console.log(`\n== ${name}`);
  const began = performance.now();
  const { status, error } = run(argv);
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  if (status === 0) passed += 1;
  else failed += 1;
  console.log(`${status === 0 ? "passed" : `FAILED${error === undefined ? "" : ` (${error.message})`}`} in ${seconds} s`);
  return status === 0;
}

function finish() {
  console.log(`\n${((performance.now() - startedMs) / 1000).toFixed(1)} s in all`);
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}

/** What bun's JUnit report says; undefined when it did not get as far as writing one. */
function totals(file) {
  try {
    const report = readFileSync(file, "utf8");
    const attributes = /<testsuites[^>]*>/.exec(report)?.[0] ?? "";
    const count = (name) => Number(new RegExp(`\\b${name}="(\\d+)"`).exec(attributes)?.[1] ?? Number.NaN);
    const [tests, failures, skipped] = [count("tests"), count("failures"), count("skipped")];
    const files = new Set([...report.matchAll(/<testsuite [^>]*\bfile="([^"]*)"/g)].map(([, name]) => name));
    return Number.isNaN(tests + failures + skipped) ? undefined : { tests, failures, skipped, files };
  } catch {
    return undefined;
  }
}

/** Every file of tests that has to be in the report. */
function testFiles() {
  return ["src", "suite", "examples", "packaging"].flatMap((directory) =>
    readdirSync(join(home, directory), { recursive: true })
      .filter((file) => file.endsWith(".test.ts") && !(fast && file.endsWith(".slow.test.ts")))
      .map((file) => `${directory}/${file}`),
  );
}

function tests() {
  console.log("\n== tests");
  const directory = mkdtempSync(join(tmpdir(), "garth-test-"));
  const report = join(directory, "junit.xml");
  const less = fast ? ["--path-ignore-patterns", "**/*.slow.test.ts"] : [];
  // Without CI=1 a missing snapshot would be written and pass.
  const { status } = run([
    bun,
    "test",
    "--only-failures",
    // Of one test, where it does not say another: a busy machine is slow, and no test is about that.
    "--timeout=120000",
    "--reporter=junit",
    `--reporter-outfile=${report}`,
    ...less,
    "src",
    "suite",
    "examples",
    "packaging",
  ]);
  const found = totals(report);
  rmSync(directory, { recursive: true });
  if (found === undefined || found.tests === 0) {
    console.log(`FAILED: the test runner ended with ${status} and no report`);
    failed += 1;
    return;
  }
  passed += found.tests - found.failures - found.skipped;
  failed += found.failures;
  if (found.skipped > 0) console.log(`${found.skipped} skipped`);
  // A file that does not load has no test that could fail: the report leaves it out.
  const unread = testFiles().filter((file) => !found.files.has(file));
  for (const file of unread) console.log(`FAILED: ${file} did not load`);
  failed += unread.length;
  if (status !== 0 && found.failures + unread.length === 0) {
    console.log(`FAILED: the test runner ended with ${status}`);
    failed += 1;
  }
}

if (!stage("npm packages", [process.execPath, join(home, "scripts/setup.mjs")])) finish();
stage("system packages", [join(home, "garth"), "doctor", "--install", "--tests"]);
stage("types", [join(home, "node_modules/.bin/tsc"), "--noEmit"]);
stage("lint", [join(home, "node_modules/.bin/oxlint"), "--deny-warnings"]);
stage("format", [join(home, "node_modules/.bin/oxfmt"), "--check"]);
stage("dead code", [bun, join(home, "node_modules/knip/bin/knip-bun.js"), "--no-progress"]);
stage("shell", ["shellcheck", "garth", ".ci/run"]);
stage("manual", ["mandoc", "-T", "lint", "-W", "warning", "man/garth.1"]);
tests();
finish();
