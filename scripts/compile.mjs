/**
 * `npm run compile [-- TARGET...]`: Garth as one file for each of linux-x64, linux-arm64, freebsd-x64 and freebsd-arm64 (or those that
 * are named), as dist/garth-TARGET, with their sums in dist/SHA256. The same sources give the same bytes, wherever they lie.
 *
 * The runtimes come from npm, in the version that Garth runs on, and are held against package-lock.json each time. Plain Node 20.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bun, home, must, setUp } from "./setup.mjs";

const TARGETS = ["linux-x64", "linux-arm64", "freebsd-x64", "freebsd-arm64"];
const RUNTIME_MAX_BYTES = 512 * 1024 * 1024;

const dist = join(home, "dist");
const cache = join(home, ".cache/runtimes");

function fail(message) {
  console.error(`compile: ${message}`);
  process.exit(1);
}

/** What is locked of the runtime of a target. */
function lockedRuntime(target) {
  const name = `@oven/bun-${target.replace("arm64", "aarch64")}`;
  const { packages } = JSON.parse(readFileSync(join(home, "package-lock.json"), "utf8"));
  const { version, integrity } = packages[`node_modules/${name}`] ?? {};
  if (version === undefined || integrity === undefined) fail(`package-lock.json does not know ${name}`);
  return { name, version, integrity };
}

function hasIntegrity(file, integrity) {
  const [algorithm] = integrity.split("-", 1);
  return `${algorithm}-${createHash(algorithm).update(readFileSync(file)).digest("base64")}` === integrity;
}

/** The archive as npm has it; it stays in .cache. */
function archiveOf({ name, version, integrity }) {
  const archive = join(cache, `${name.slice(1).replace("/", "-")}-${version}.tgz`);
  if (existsSync(archive) && hasIntegrity(archive, integrity)) return archive;
  mkdirSync(cache, { recursive: true });
  const fresh = mkdtempSync(join(cache, "new."));
  try {
    console.error(`compile: fetching ${name} ${version}`);
    must(["npm", "pack", "--silent", `--pack-destination=${fresh}`, `${name}@${version}`], { stdio: ["ignore", "ignore", 2] });
    const fetched = join(fresh, `${name.slice(1).replace("/", "-")}-${version}.tgz`);
    if (!hasIntegrity(fetched, integrity)) fail(`${name} ${version} is not what package-lock.json says; nothing of it was used`);
    renameSync(fetched, archive);
    return archive;
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

function compile(target, scratch) {
  const archive = archiveOf(lockedRuntime(target));
  const { status, stdout, stderr } = spawnSync("tar", ["-xzOf", archive, "package/bin/bun"], { maxBuffer: RUNTIME_MAX_BYTES });
  if (status !== 0) fail(`${archive} cannot be read: ${stderr}`);
  const runtime = join(scratch, target);
  writeFileSync(runtime, stdout);
  chmodSync(runtime, 0o755);
  must(["sh", join(home, "packaging/compile.sh"), bun, runtime, target, join(dist, `garth-${target}`)]);
  rmSync(runtime);
}

/** One line for each that is there, as sha256sum(1) reads it. */
function sums() {
  const there = TARGETS.map((target) => `garth-${target}`).filter((name) => existsSync(join(dist, name)));
  return there.map((name) => {
    const bytes = readFileSync(join(dist, name));
    return { name, size: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
  });
}

const asked = process.argv.slice(2);
const unknown = asked.filter((target) => !TARGETS.includes(target));
if (unknown.length > 0) {
  console.error(`compile: no such target: ${unknown.join(", ")}; there are ${TARGETS.join(", ")}`);
  process.exit(2);
}
setUp();
mkdirSync(dist, { recursive: true });
const scratch = mkdtempSync(join(dist, ".runtimes-"));
process.on("exit", () => rmSync(scratch, { recursive: true, force: true }));
for (const target of asked.length === 0 ? TARGETS : asked) compile(target, scratch);
const made = sums();
writeFileSync(join(dist, "SHA256"), made.map(({ name, sha256 }) => `${sha256}  ${name}\n`).join(""));
for (const { name, size, sha256 } of made) console.log(`${sha256}  ${(size / 1e6).toFixed(1).padStart(6)} MB  dist/${name}`);
