/** The builders run here by this machine's own sh, make and tar, outside any sandbox. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { gzipSync } from "node:zlib";
import { autotools, cargo, type Declaration, hostView, instantiate, localTree, make, script } from "./index.ts";
import { buildOutside, type Built } from "./testing.ts";

let root = "";
beforeAll(() => {
  root = mkdtempSync(`${tmpdir()}/garth-phases-`);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const build = (declared: Declaration): Built =>
  buildOutside(instantiate(declared, { system: "x86_64-linux", directory: root }), root);

/** A directory below the root, with these files. */
function tree(name: string, files: Readonly<Record<string, string>>): string {
  const directory = `${root}/${name}`;
  for (const [file, text] of Object.entries(files)) {
    const path = `${directory}/${file}`;
    mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    writeFileSync(path, text);
  }
  return directory;
}

const MAKEFILE = `all: greeting
greeting: word
\ttr a-z A-Z <word >greeting
check:
\ttest "$$(cat greeting)" = HELLO
install:
\tmkdir -p $(PREFIX)/share
\tcp greeting $(PREFIX)/share/
`;
const buildRoot = hostView();
const share = ({ out }: Built) => readFileSync(`${out}/share/greeting`, "utf8");

test("a directory goes through all phases, each announced", () => {
  const path = tree("plain", { Makefile: MAKEFILE, word: "hello\n" });
  const built = build(make({ name: "plain", source: localTree(path), check: true, keepSource: true, buildRoot }));
  expect(built).toMatchObject({ status: 0, phases: ["unpack", "build", "check", "install", "fixup"] });
  expect(share(built)).toBe("HELLO\n");
  expect(readFileSync(`${built.out}/share/garth/source`, "utf8")).toBe(`${path}\n`);
});

test("a test suite that fails, fails the build, and nothing is installed", () => {
  const path = tree("failing", { Makefile: MAKEFILE, word: "hullo\n" });
  const checked = build(make({ name: "failing", source: localTree(path), check: true, buildRoot }));
  expect(checked.status).not.toBe(0);
  expect(checked.phases).toEqual(["unpack", "build", "check"]);
  expect(readdirSync(checked.out)).toEqual([]);
  expect(build(make({ name: "failing", source: localTree(path), buildRoot })).status).toBe(0);
});

test("a read-only tree with equal times can be built and is not seen as out of date", () => {
  const path = tree("store", {
    Makefile: `${MAKEFILE}\nword: word.in\n\techo regenerated >&2; exit 1\n`,
    word: "hello\n",
    "word.in": "",
  });
  for (const name of readdirSync(path)) {
    chmodSync(`${path}/${name}`, 0o444);
    utimesSync(`${path}/${name}`, 1, 1);
  }
  chmodSync(path, 0o555);
  const built = build(make({ name: "store", source: localTree(path), postUnpack: "echo more >>word", buildRoot }));
  chmodSync(path, 0o755);
  expect(built.printed).not.toContain("regenerated");
  expect(share(built)).toBe("HELLO\nMORE\n");
});

test("a tarball is unpacked whatever its name, and its only directory entered", () => {
  tree("packed/thing-1.0", { Makefile: MAKEFILE, word: "hello\n" });
  execFileSync("tar", ["-cJf", `${root}/some-source`, "-C", `${root}/packed`, "thing-1.0"]);
  expect(share(build(make({ name: "packed", source: localTree(`${root}/some-source`), buildRoot })))).toBe("HELLO\n");
});

test("files beside each other stay where they are; sourceRoot goes further down", () => {
  tree("flat/below/deep", { Makefile: MAKEFILE, word: "hello\n" });
  writeFileSync(`${root}/flat/README`, "");
  execFileSync("tar", ["-czf", `${root}/flat.tgz`, "-C", `${root}/flat`, "."]);
  expect(share(build(make({ name: "flat", source: localTree(`${root}/flat.tgz`), sourceRoot: "below/deep", buildRoot })))).toBe(
    "HELLO\n",
  );
});

test("patches are applied in order, files and directories of them", () => {
  const hunk = (from: string, to: string) => `--- a/word\n+++ b/word\n@@ -1 +1 @@\n-${from}\n+${to}\n`;
  const path = tree("patched", { Makefile: MAKEFILE, word: "one\n" });
  tree("patches", { "1.patch": hunk("one", "two"), "2.patch": hunk("two", "three"), README: "no patch" });
  writeFileSync(`${root}/last.patch`, hunk("three", "four"));
  const patches = [localTree(`${root}/patches`), localTree(`${root}/last.patch`)];
  expect(share(build(make({ name: "patched", source: localTree(path), patches, buildRoot })))).toBe("FOUR\n");
  const wrong = build(make({ name: "patched", source: localTree(path), patches: patches.toReversed(), buildRoot }));
  expect(wrong.status).not.toBe(0);
  expect(wrong.phases).toEqual(["unpack", "patch"]);
});

test("hooks run in the phase and where it works; a command of theirs that fails ends it", () => {
  const path = tree("hooks", { Makefile: MAKEFILE, word: "hello\n" });
  const source = localTree(path);
  const built = build(
    make({ name: "hooks", source, preBuild: "echo changed >word", postInstall: `cat >"$out/note" <<END\nnote\nEND`, buildRoot }),
  );
  expect(share(built)).toBe("CHANGED\n");
  expect(readFileSync(`${built.out}/note`, "utf8")).toBe("note\n");
  const failing = build(make({ name: "hooks", source, preInstall: "false", buildRoot }));
  expect(failing.status).not.toBe(0);
  expect(existsSync(`${failing.out}/share`)).toBe(false);
});

test("what differs from build to build is taken away", () => {
  const lines = [
    `mkdir -p "$out/share/info" "$out/share/man/man1" "$out/lib"`,
    `: >"$out/share/info/dir"; : >"$out/share/info/a.info"; : >"$out/lib/liba.la"; : >"$out/lib/liba.a"`,
    `cp page.gz "$out/share/man/man1/a page.1.gz"`,
  ];
  const path = tree("fixup", { "page.gz": "" });
  const zipped = gzipSync("a page");
  zipped.writeUInt32LE(1_700_000_000, 4);
  writeFileSync(`${path}/page.gz`, zipped);
  const { out, status } = build(
    make({ name: "fixup", source: localTree(path), phases: { build: "", install: lines.join("\n") }, buildRoot }),
  );
  expect(status).toBe(0);
  expect(readdirSync(`${out}/share/info`)).toEqual(["a.info"]);
  expect(readdirSync(`${out}/lib`)).toEqual(["liba.a"]);
  const page = readFileSync(`${out}/share/man/man1/a page.1.gz`);
  expect(page.readUInt32LE(4)).toBe(0);
  expect(Buffer.from(Bun.gunzipSync(page)).toString()).toBe("a page");
});

test("flags come through word for word, with paths filled in", () => {
  const dependency = script({ name: "dep", script: ': >"$out/x"', buildRoot });
  const path = tree("flags", {
    configure: `#!/bin/sh\nfor flag; do printf '<%s>\\n' "$flag"; done >flags\n`,
    Makefile: "all:\ninstall:\n\tcp flags $(prefix)/\n",
  });
  chmodSync(`${path}/configure`, 0o755);
  const configureFlags = ["--dep=$dep", "a  b", "it's", "$$HOME", "`id`", '"', "", "--out=${out}/x"];
  const built = build(
    autotools({
      name: "flags",
      source: localTree(path),
      inputs: [dependency],
      configureFlags,
      installFlags: ["prefix=$out"],
      buildRoot,
    }),
  );
  const lines = readFileSync(`${built.out}/flags`, "utf8")
    .replaceAll(built.out, "OUT")
    .replaceAll(/\S*\/out-\w+/g, "DEP");
  expect(lines.split("\n")).toEqual([
    "<--prefix=OUT>",
    expect.stringMatching(/DEP>$/),
    "<a  b>",
    "<it's>",
    "<$HOME>",
    "<`id`>",
    '<">',
    "<>",
    "<--out=OUT/x>",
    "",
  ]);
});

test("an input may have the name of a program that the builder uses", () => {
  const inputs = Object.fromEntries(
    ["make", "top", "cores", "phase", "patch"].map((name) => [name, script({ name, script: `: >"$out/x"`, buildRoot })]),
  );
  const path = tree("names", { Makefile: MAKEFILE, word: "hello\n" });
  const built = build(
    make({
      name: "names",
      source: localTree(path),
      inputs,
      check: true,
      postInstall: `ls "$make/x" "$top/x" "$phase/x"`,
      buildRoot,
    }),
  );
  expect(built.status).toBe(0);
});

test("a script sees its sources and nothing is unpacked", () => {
  const path = tree("raw", { a: "text" });
  const built = build(
    script({ name: "raw", source: localTree(path), script: `cp "$src/a" "$out/b"; ls >"$out/cwd"`, buildRoot }),
  );
  expect(built.phases).toEqual([]);
  expect(readFileSync(`${built.out}/b`, "utf8")).toBe("text");
  expect(statSync(`${built.out}/cwd`).size).toBe(0);
});

/** Where a real cargo is, not the proxy that chooses one. */
function cargoDirectory(): string {
  const toolchains = `${homedir()}/.rustup/toolchains`;
  const installed = existsSync(toolchains) ? readdirSync(toolchains).map((name) => `${toolchains}/${name}/bin`) : [];
  const found = ["/usr/bin", "/usr/local/bin", ...installed].find((directory) => existsSync(`${directory}/cargo`));
  if (found === undefined) throw new Error("there is no cargo: `garth doctor --install --tests` brings it");
  return found;
}

test("a crate without dependencies, offline, with its tests", () => {
  const path = tree("crate", {
    "Cargo.toml": `[package]\nname = "crate"\nversion = "0.1.0"\nedition = "2021"\n`,
    "Cargo.lock": `version = 3\n\n[[package]]\nname = "crate"\nversion = "0.1.0"\n`,
    "src/main.rs": `fn word() -> &'static str { "hello" }\nfn main() { println!("{}", word()); }\n#[test]\nfn greets() { assert_eq!(word(), "hello"); }\n`,
  });
  const built = build(cargo({ name: "crate", source: localTree(path), check: true, buildRoot, env: { PATH: cargoDirectory() } }));
  expect(built.printed).toContain("test greets ... ok");
  expect(built.status).toBe(0);
  expect(execFileSync(`${built.out}/bin/crate`).toString()).toBe("hello\n");
  expect(readdirSync(built.out)).toEqual(["bin"]);
}, 60_000);

test("on FreeBSD the base system's make finds what automake names with ./ in front", () => {
  const path = tree("automade", {
    configure: "#!/bin/sh\ncp Makefile.in Makefile\n",
    "Makefile.in": `top_builddir = .
NAME = word
all: program
program: $(top_builddir)/lib/lib$(NAME).a $(top_builddir)/lib/liblt.la
\tcat lib/libword.a lib/liblt.la >program
lib/lib$(NAME).a:
\tmkdir -p lib && echo word >$@
lib/liblt.la:
\tmkdir -p lib && echo lt >$@
install:
\tmkdir -p $(DESTDIR)$(prefix)/share
\tcp program $(prefix)/share/greeting
`,
  });
  chmodSync(`${path}/configure`, 0o755);
  const tools = tree("tools-of-bsd", { README: "make" });
  symlinkSync("/usr/bin/bmake", `${tools}/make`);
  // It is the names, and not the make that GNU's is beside.
  const alone = spawnSync(`${tools}/make`, ["-f", "Makefile.in", "-n"], { cwd: path, encoding: "utf8" });
  expect(alone.stdout + alone.stderr).toContain("don't know how to make ./lib/libword.a");
  const declared = autotools({
    name: "automade",
    source: localTree(path),
    buildRoot,
    installFlags: ["prefix=$out"],
    env: { PATH: tools },
  });
  const graph = instantiate(declared, { system: "x86_64-freebsd", directory: root });
  // A Debian has gmake, too.
  const steps = graph.steps.map((step) => {
    const argv = step.recipe.builder.argv.map((text) =>
      typeof text === "string" ? text.replace("command -v gmake", "false") : text,
    );
    return { ...step, recipe: { ...step.recipe, builder: { ...step.recipe.builder, argv } } };
  });
  const built = buildOutside({ ...graph, steps }, root);
  expect(built.printed).not.toContain("don't know");
  expect(share(built)).toBe("word\nlt\n");
});
