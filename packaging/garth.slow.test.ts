/** Garth, built by Garth, packaged, published, read by somebody else's tools, unpacked and run. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sha256 } from "../src/base/index.ts";
import { readAtOf, readElf } from "../src/formats/index.ts";
import { compile, copyCheckout, scratch, sha256Of } from "./packaging.testing.ts";

setDefaultTimeout(900_000);
let directory = "";
let sources = "";
let said = { status: 0 as number | null, stdout: "", stderr: "" };

function garth(...words: readonly string[]) {
  const env = { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "/", GARTH_ROOT: join(directory, "root") };
  const { status, stdout, stderr } = spawnSync(join(sources, "garth"), words, { cwd: directory, env, encoding: "utf8" });
  return { status, stdout, stderr };
}

beforeAll(() => {
  directory = scratch("itself");
  sources = join(directory, "sources");
  copyCheckout(sources);
  said = garth("ship", join(sources, "packaging"));
});
afterAll(() => {
  Bun.spawnSync(["chmod", "-R", "u+w", directory]);
  rmSync(directory, { recursive: true, force: true });
});

const repository = (name: string): string => join(directory, "root/frx/var/garth/repos", name);
/** Of a repository: the package that people install, and the one that carries the files. */
const packages = (name: string): readonly [string, string] => {
  const files = readdirSync(join(repository(name), "All")).filter((file) => file.endsWith(".pkg"));
  const find = (isItem: boolean) => files.find((file) => file.startsWith("garth-item-") === isItem) ?? "";
  return [join(repository(name), "All", find(false)), join(repository(name), "All", find(true))];
};
const bsdtar = (...words: readonly string[]) => execFileSync("bsdtar", words, { encoding: "utf8", maxBuffer: 2 ** 30 });

/** Unpacks the package that carries the files; answers where its item lies. */
function unpacked(name: string): string {
  const root = join(directory, "unpacked", name);
  mkdirSync(root, { recursive: true });
  // Its names are absolute; bsdtar does not take them so.
  for (const file of packages(name)) bsdtar("-xf", file, "-C", root);
  const item = readdirSync(join(root, "frx/store")).find((name) => !name.startsWith("."));
  return join(root, "frx/store", item ?? "");
}

/** The runtime that the recipe fetched, out of the store. */
function runtimeOf(machine: string): string {
  const store = join(directory, "root/frx/store");
  const archive = readdirSync(store).find((name) => new RegExp(`-oven-bun-${machine}-[0-9.]+\\.tgz$`).test(name)) ?? "";
  const file = join(directory, `bun-${machine}`);
  writeFileSync(file, execFileSync("tar", ["-xzOf", join(store, archive), "package/bin/bun"], { maxBuffer: 2 ** 30 }));
  chmodSync(file, 0o755);
  return file;
}

test("ships itself, for three systems, in a root that held nothing", () => {
  expect(said).toMatchObject({ status: 0 });
  expect(said.stdout).toEndWith("PASS packaging\n");
  for (const name of ["garth-freebsd-amd64", "garth-freebsd-aarch64", "garth-linux"]) {
    expect(garth("repo", "verify", name)).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^2 packages, .* signature good\n$/),
    });
  }
});

test("its catalogue is signed, by openssl's judgement", () => {
  const out = join(directory, "catalogue");
  mkdirSync(out);
  bsdtar("-xf", join(repository("garth-freebsd-amd64"), "data.pkg"), "-C", out);
  writeFileSync(join(out, "sum"), sha256(readFileSync(join(out, "data"))));
  const words = ["-sha256", "-verify", join(out, "data.pub"), "-signature", join(out, "data.sig"), join(out, "sum")];
  expect(execFileSync("openssl", ["dgst", ...words], { encoding: "utf8" })).toBe("Verified OK\n");
  const { packages: entries } = JSON.parse(readFileSync(join(out, "data"), "utf8"));
  expect(entries).toMatchObject([
    { name: "garth", abi: "FreeBSD:15:amd64", arch: "freebsd:15:x86:64", origin: "sysutils/garth", licenselogic: "and" },
    {
      name: expect.stringMatching(/^garth-item-/),
      abi: "FreeBSD:15:amd64",
      shlibs_required: expect.arrayContaining(["libc.so.7"]),
    },
  ]);
});

describe("the package for FreeBSD", () => {
  const NAME = "garth-freebsd-amd64";

  test("has everything where FreeBSD looks for it", () => {
    const [goal] = packages(NAME);
    const members = bsdtar("-tf", goal).trim().split("\n");
    expect(members.filter((member) => member.startsWith("/"))).toEqual([
      "/usr/local/bin/garth",
      "/usr/local/etc/garth/garth.toml",
      "/usr/local/etc/garth/garth.toml.sample",
      "/usr/local/etc/newsyslog.conf.d/garth.conf",
      "/usr/local/etc/rc.d/garth",
      "/usr/local/share/man/man1/garth.1",
    ]);
    expect(JSON.parse(bsdtar("-xOf", goal, "+MANIFEST")).config).toEqual([
      "/usr/local/etc/garth/garth.toml",
      "/usr/local/etc/newsyslog.conf.d/garth.conf",
    ]);
  });

  test("carries the program that `npm run compile` makes, to the byte, and the rc.d script, ready to run", () => {
    const item = unpacked(NAME);
    compile(sources, join(directory, "compiled"), "freebsd-x64", runtimeOf("freebsd-x64"));
    expect(sha256Of(join(item, "bin/garth"))).toBe(sha256Of(join(directory, "compiled")));
    expect(readElf(readAtOf(readFileSync(join(item, "bin/garth"))))).toMatchObject({
      machine: 62,
      osAbi: 9,
      abiTag: { system: "FreeBSD" },
    });
    expect(readFileSync(join(item, "etc/rc.d/garth"), "utf8")).toBe(
      readFileSync(join(import.meta.dir, "golden/rc.d-garth"), "utf8"),
    );
    expect(bsdtar("-tvf", packages(NAME)[1])).toMatch(/^-r-xr-xr-x .*\/etc\/rc\.d\/garth$/m);
    expect(readFileSync(join(item, "share/man/man1/garth.1"))).toEqual(readFileSync(join(sources, "man/garth.1")));
  });
});

test("the package for Linux is unpacked and runs, with nothing of a checkout to be seen", () => {
  const item = unpacked("garth-linux");
  const root = join(directory, "unpacked/garth-linux");
  writeFileSync(
    join(root, "garth.ts"),
    `import { hostView, script } from "garth";\nexport const it = script({ name: "it", buildRoot: hostView(), script: "true" });\n`,
  );
  const view = ["--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"];
  const more = ["--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"];
  const own = ["--bind", join(root, "frx"), "/frx", "--ro-bind", join(root, "usr/local"), "/usr/local"];
  const project = ["--ro-bind", join(root, "garth.ts"), "/tmp/garth.ts", "--chdir", "/tmp"];
  const inside = (...words: readonly string[]) => {
    const argv = ["--unshare-all", "--clearenv", ...view, ...more, ...own, ...project, "/usr/local/bin/garth", ...words];
    const { status, stdout, stderr } = spawnSync("bwrap", argv, { encoding: "utf8" });
    return { status, stdout, stderr };
  };
  const { version } = JSON.parse(readFileSync(join(sources, "package.json"), "utf8"));
  expect(inside("--version")).toEqual({ status: 0, stdout: `garth ${version}\n`, stderr: "" });
  expect(inside("drv", "graph", "#it", "--root", "/tmp/root")).toMatchObject({ status: 0, stdout: "it\n" });
  // The store is its own, too: that it is not taken for rubbish is what the package says.
  expect(inside("gc")).toMatchObject({ status: 0 });
  expect(inside("store", "verify")).toMatchObject({ status: 0, stdout: expect.stringContaining(" 0 damaged") });
  expect(inside("--version").status).toBe(0);
  compile(sources, join(directory, "compiled"), "linux-x64", runtimeOf("linux-x64"));
  expect(sha256Of(join(item, "bin/garth"))).toBe(sha256Of(join(directory, "compiled")));
});
