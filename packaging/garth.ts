/**
 * Garth, built by Garth: one file for each system, made in the sandbox from the sources beside this file, and packages of it in signed
 * repositories. Nothing comes over the network while it builds: runtimes and dependencies are tarballs of npm, as locked.
 *
 *     garth build packaging/garth.ts#linux      the program and its manual, to unpack and run
 *     garth ship packaging                      that and FreeBSD's, as packages in repositories for pkg(8)
 *
 * Building needs no machine of the system that it is for. The programs are byte for byte those of `npm run compile`.
 */
import { debianWorld, hostView, localTree, npmTarball, package_, repository, script } from "garth";
import lock from "../package-lock.json";
import { dependencies, version } from "../package.json";

interface Locked {
  readonly version?: string;
  readonly integrity?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

const locked: Readonly<Record<string, Locked>> = lock.packages;

function tarball(name: string) {
  const entry = locked[`node_modules/${name}`];
  if (entry?.version === undefined || entry.integrity === undefined) throw new Error(`package-lock.json does not lock ${name}`);
  return npmTarball({ package: name, version: entry.version, integrity: entry.integrity });
}

/** What the program imports, with what that needs, by name. Bun is what it runs on: no part of the bundle. */
function runtimeDependencies(): readonly string[] {
  const found = new Set<string>();
  const pending = Object.keys(dependencies).filter((name) => name !== "bun");
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (found.has(name)) continue;
    found.add(name);
    pending.push(...Object.keys(locked[`node_modules/${name}`]?.dependencies ?? {}));
  }
  return [...found].toSorted();
}

const modules = runtimeDependencies().map((name, index) => ({ name, variable: `module_${index + 1}`, source: tarball(name) }));

/** Tests and what only they read stay behind: a change of them builds nothing anew. */
const sources = {
  program: localTree({
    path: "../src",
    name: "garth-src",
    exclude: ["**/*.test.ts", "**/*.testing.ts", "**/testing.ts", "**/*.child.ts", "**/golden", "**/testdata"],
  }),
  manifest: localTree("../package.json"),
  tsconfig: localTree("../tsconfig.json"),
  compile: localTree("compile.sh"),
  manual: localTree("../man/garth.1"),
  settings: localTree("garth.toml.sample"),
  rc_script: localTree({ path: "freebsd/garth.in", name: "garth.in" }),
  newsyslog: localTree("freebsd/newsyslog.conf"),
  unit: localTree("systemd/garth.service"),
  ...Object.fromEntries(modules.map(({ variable, source }) => [variable, source])),
};

/** Puts the sources where a checkout has them. A copy: what a bundler finds behind a link it looks up where the link leads. */
const layOut = `
mkdir -p garth/packaging garth/node_modules
cp -R "$program" garth/src
cp "$manifest" garth/package.json
cp "$tsconfig" garth/tsconfig.json
cp "$compile" garth/packaging/compile.sh
unpack() {
  mkdir -p "garth/node_modules/$1"
  tar -xzf "$2" -C "garth/node_modules/$1" --strip-components 1
}
${modules.map(({ name, variable }) => `unpack ${name} "$${variable}"`).join("\n")}
tar -xzOf "$bun" package/bin/bun >bun
tar -xzOf "$runtime" package/bin/bun >runtime
chmod 755 bun runtime
`;

const install = `
mkdir -p "$out/bin" "$out/share/man/man1" "$out/etc/garth"
sh garth/packaging/compile.sh ./bun ./runtime "$TARGET" "$out/bin/garth"
cp "$manual" "$out/share/man/man1/garth.1"
cp "$settings" "$out/etc/garth/garth.toml.sample"
`;

const SERVICES = {
  freebsd: `
mkdir -p "$out/etc/rc.d" "$out/etc/newsyslog.conf.d"
sed 's|%%PREFIX%%|/usr/local|g' "$rc_script" >"$out/etc/rc.d/garth"
chmod 755 "$out/etc/rc.d/garth"
cp "$newsyslog" "$out/etc/newsyslog.conf.d/garth.conf"
`,
  linux: `
mkdir -p "$out/lib/systemd/system"
cp "$unit" "$out/lib/systemd/system/garth.service"
`,
} as const;

const world = debianWorld({ name: "garth-build", suite: "bookworm", packages: [], lock: "./debian.lock", policy: "refresh" });

type Machine = "x64" | "arm64";

const runtimeOf = (system: keyof typeof SERVICES, machine: Machine) =>
  tarball(`@oven/bun-${system}-${machine === "x64" ? "x64" : "aarch64"}`);

function garthFor(system: keyof typeof SERVICES, machine: Machine) {
  const builder = (on: keyof typeof SERVICES, of: Machine) => ({
    sources: { ...sources, bun: runtimeOf(on, of), runtime: runtimeOf(system, machine) },
  });
  return script({
    name: "garth",
    version,
    script: layOut + install + SERVICES[system],
    env: { TARGET: `${system}-${machine}` },
    buildRoot: world,
    ...builder("linux", "x64"),
    perSystem: {
      freebsd: { buildRoot: hostView() },
      "aarch64-linux": builder("linux", "arm64"),
      "x86_64-freebsd": builder("freebsd", "x64"),
      "aarch64-freebsd": builder("freebsd", "arm64"),
    },
    metadata: {
      comment: "Hermetic builds, signed packages, images and machines from source",
      description:
        "Garth takes a machine from source to running, inside the fence: one\ndeclaration in TypeScript becomes hermetic builds, packages in signed\nrepositories, bootable images, a boot test with evidence, and a pool of\nwarm machines to hand out.",
      licenses: ["BSD2CLAUSE", "LGPL20", "MIT"],
      categories: ["sysutils"],
      maintainer: "ports@FreeBSD.org",
    },
  });
}

export const linux = garthFor("linux", "x64");
export const linux_arm64 = garthFor("linux", "arm64");
export const freebsd = garthFor("freebsd", "x64");
export const freebsd_arm64 = garthFor("freebsd", "arm64");

/** The runtime is linked for FreeBSD 14.4 and runs on what is newer; the package is for the release that Garth is tried on. */
const onFreebsd = {
  config: {
    "etc/garth/garth.toml": "etc/garth/garth.toml.sample",
    "etc/newsyslog.conf.d/garth.conf": "etc/newsyslog.conf.d/garth.conf",
  },
  messages: [
    { type: "install", message: "`garth doctor` says what is missing. `sysrc garth_enable=YES` starts the daemon at boot." },
  ],
} as const;

export const freebsd_amd64_packages = repository({
  name: "garth-freebsd-amd64",
  packages: [package_(freebsd, { ...onFreebsd, abi: "FreeBSD:15:amd64" })],
});
export const freebsd_aarch64_packages = repository({
  name: "garth-freebsd-aarch64",
  packages: [package_(freebsd_arm64, { ...onFreebsd, abi: "FreeBSD:15:aarch64" })],
});
export const linux_packages = repository({
  name: "garth-linux",
  packages: [package_(linux, { config: { "etc/garth/garth.toml": "etc/garth/garth.toml.sample" } })],
});
