/**
 * Makes a fresh checkout runnable: npm packages as locked, and Bun's binary in its place. Plain Node 20, no dependencies,
 * because it runs before anything is there. With `--system` also what `garth doctor --install` knows.
 *
 * Does nothing, in a few milliseconds, when nothing is missing.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const home = dirname(dirname(fileURLToPath(import.meta.url)));
export const bun = join(home, "node_modules/.bin/bun");

/** Runs a command with our terminal; ends this process with its status when it fails. */
export function must(argv, options = {}) {
  const [program, ...rest] = argv;
  const { status, error } = spawnSync(program, rest, { cwd: home, stdio: "inherit", ...options });
  if (status === 0) return;
  console.error(`failed: ${argv.join(" ")}: ${error === undefined ? `it ended with ${status}` : error.message}`);
  process.exit(status ?? 3);
}

/** npm writes node_modules/.package-lock.json last: older than the lock, or absent, means an unfinished or outdated tree. */
function packagesAreCurrent() {
  const installed = join(home, "node_modules/.package-lock.json");
  if (!existsSync(installed) || !existsSync(bun)) return false;
  return statSync(installed).mtimeMs >= statSync(join(home, "package-lock.json")).mtimeMs;
}

/** npm may be told not to run install scripts; Bun's package then holds a small script where the binary belongs. */
function bunIsInPlace() {
  const binary = join(home, "node_modules/bun/bin/bun.exe");
  return existsSync(binary) && statSync(binary).size > 1024 * 1024;
}

export function setUp() {
  if (!packagesAreCurrent()) {
    console.error("setup: installing the npm packages of package-lock.json");
    must(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], { stdio: ["ignore", 2, 2] });
  }
  if (!bunIsInPlace()) must([process.execPath, join(home, "node_modules/bun/install.js")]);
  const wanted = JSON.parse(readFileSync(join(home, "package.json"), "utf8")).dependencies.bun;
  const found = spawnSync(bun, ["--version"], { encoding: "utf8" });
  if (found.stdout?.trim() !== wanted) {
    const saw = found.error?.message ?? (found.stdout.trim() || found.stderr.trim());
    console.error(`setup: Bun ${wanted} should be at ${bun}, but it says: ${saw}`);
    process.exit(3);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  setUp();
  if (process.argv.includes("--system")) must([join(home, "garth"), "doctor", "--install"]);
}
