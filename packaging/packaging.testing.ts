/** For tests of what is handed out: a checkout of its own, which nobody changes meanwhile, and the one file made of it. */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const checkout = join(import.meta.dir, "..");
const FILES = ["garth", "man", "package-lock.json", "package.json", "packaging", "scripts", "src", "tsconfig.json"];
const BUNDLED: ReadonlySet<string> = new Set([
  "@opentelemetry",
  "bintrees",
  "hono",
  "prom-client",
  "smol-toml",
  "tdigest",
  "zod",
]);
const THIS_MACHINE = `${process.platform}-${process.arch}`;

/** A directory for a test, by its topic. */
export function scratch(topic: string): string {
  return mkdtempSync(join(tmpdir(), `garth-${topic}-`));
}

/** The sources as they are now, at `directory`; what they import is shared. `from`: such a copy, or this checkout. */
export function copyCheckout(directory: string, from: string = checkout): void {
  // With its time, or setup would find the packages older than their lock.
  for (const name of FILES) cpSync(join(from, name), join(directory, name), { recursive: true, preserveTimestamps: true });
  // Of packages, those that are in the program lie where they belong: a bundler takes a link for where it leads, and what it writes
  // depends on how modules lie to each other.
  const modules = join(directory, "node_modules");
  mkdirSync(modules);
  for (const name of readdirSync(join(checkout, "node_modules"))) {
    const source = join(checkout, "node_modules", name);
    if (BUNDLED.has(name)) cpSync(source, join(modules, name), { recursive: true });
    else symlinkSync(source, join(modules, name));
  }
}

/** Makes Garth of a checkout one file; without a runtime of another machine, for this one. */
export function compile(home: string, file: string, target: string = THIS_MACHINE, runtime: string = process.execPath): void {
  const argv = ["sh", join(home, "packaging/compile.sh"), process.execPath, runtime, target, file];
  const { exitCode, stderr } = Bun.spawnSync(argv, { cwd: "/", stdin: "ignore", stderr: "pipe" });
  if (exitCode !== 0) throw new Error(`compiling ${target}: ${stderr.toString()}`);
}

export function sha256Of(file: string): string {
  return new Bun.CryptoHasher("sha256").update(readFileSync(file)).digest("hex");
}
