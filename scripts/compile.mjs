/**
 * `npm run compile [-- TARGET...]`: Garth as one file for each of linux-x64, linux-arm64, freebsd-x64 and freebsd-arm64 (or those that
 * are named), as dist/garth-TARGET, with their sums in dist/SHA256. The same sources give the same bytes, wherever they lie. Beside them
 * what the port in packaging/freebsd/sysutils/garth fetches from there, too, and its distinfo.
 *
 * The runtimes come from npm, in the version that Garth runs on, and are held against package-lock.json each time. Plain Node 20.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
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

/** A directory that goes with this process, however it ends by itself. */
function temporary(prefix) {
  const directory = mkdtempSync(prefix);
  process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
  return directory;
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
  const fresh = temporary(join(cache, "new."));
  console.error(`compile: fetching ${name} ${version}`);
  must(["npm", "pack", "--silent", `--pack-destination=${fresh}`, `${name}@${version}`], { stdio: ["ignore", "ignore", 2] });
  const fetched = join(fresh, `${name.slice(1).replace("/", "-")}-${version}.tgz`);
  if (!hasIntegrity(fetched, integrity)) fail(`${name} ${version} is not what package-lock.json says; nothing of it was used`);
  renameSync(fetched, archive);
  return archive;
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

function sumsOf(names) {
  return names
    .filter((name) => existsSync(join(dist, name)))
    .map((name) => {
      const bytes = readFileSync(join(dist, name));
      return { name, size: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
    });
}

/** As `make makesum` of the port writes it. */
function distinfo(sums) {
  const { name, version } = JSON.parse(readFileSync(join(home, "package.json"), "utf8"));
  const lines = sums.flatMap(({ name: file, size, sha256 }) => {
    const path = `${name}/${version}/${file}`;
    return [`SHA256 (${path}) = ${sha256}`, `SIZE (${path}) = ${size}`];
  });
  return `${[`TIMESTAMP = ${Math.floor(Date.now() / 1000)}`, ...lines].join("\n")}\n`;
}

const asked = process.argv.slice(2);
const unknown = asked.filter((target) => !TARGETS.includes(target));
if (unknown.length > 0) {
  console.error(`compile: no such target: ${unknown.join(", ")}; there are ${TARGETS.join(", ")}`);
  process.exit(2);
}
setUp();
mkdirSync(dist, { recursive: true });
const scratch = temporary(join(dist, ".runtimes-"));
for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(130));
for (const target of asked.length === 0 ? TARGETS : asked) compile(target, scratch);
copyFileSync(join(home, "man/garth.1"), join(dist, "garth.1"));
copyFileSync(join(home, "packaging/garth.toml.sample"), join(dist, "garth.toml.sample"));
const made = sumsOf(TARGETS.map((target) => `garth-${target}`));
writeFileSync(join(dist, "SHA256"), made.map(({ name, sha256 }) => `${sha256}  ${name}\n`).join(""));
const ported = made.filter(({ name }) => name.startsWith("garth-freebsd-"));
writeFileSync(join(dist, "distinfo"), distinfo([...ported, ...sumsOf(["garth.1", "garth.toml.sample"])]));
for (const { name, size, sha256 } of made) console.log(`${sha256}  ${(size / 1e6).toFixed(1).padStart(6)} MB  dist/${name}`);
