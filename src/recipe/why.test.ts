import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { autotools, type Derivation, derivationText, fetchurl, instantiate, resolve, script, whyRebuild } from "./index.ts";
import { diffLines } from "./linediff.ts";
import { derivations, pathOf, resolutionFor } from "./testing.ts";

const source = fetchurl({ urls: ["https://example.org/a-1.tar.gz"], sha256: "0".repeat(64) });
const zlib = script({ name: "zlib", version: "1.3", script: "true", outputs: ["out", "dev"] });
const options = { name: "tool", version: "1.0", source, inputs: [zlib], env: { LANG: "C" } };

function derive(
  change: Partial<Parameters<typeof autotools>[0]> = {},
  contents: Readonly<Record<string, string>> = {},
): Derivation {
  const graph = instantiate(autotools({ ...options, ...change }), { system: "x86_64-linux", directory: "/project" });
  const step = graph.byKey.get(graph.goals[0] ?? "");
  if (step === undefined) throw new Error("no goal");
  return resolve(step, resolutionFor(step, contents));
}

const fields = (after: Derivation) => whyRebuild(derive(), after).map(({ field }) => field);

describe("only what was changed is a reason", () => {
  test("nothing", () => expect(fields(derive())).toEqual([]));
  test("a rebuilt input, though its path is in many variables", () => {
    const [reason, ...more] = whyRebuild(derive(), derive({}, { zlib: "other" }));
    expect(more).toEqual([]);
    expect(reason?.field).toBe("inputs.zlib");
    expect(reason?.before).toMatch(/^[0-9a-f]{12}…-zlib$/);
    expect(reason?.after).not.toBe(reason?.before);
  });
  test("one output of an input", () => expect(fields(derive({}, { "zlib-dev": "other" }))).toEqual(["inputs.zlib_dev"]));
  test("a source", () => expect(fields(derive({}, { src: "other" }))).toEqual(["sources.src"]));
  test("the world", () => expect(fields(derive({}, { world: "other" }))).toEqual(["buildRoot"]));
  test("a variable", () => {
    expect(whyRebuild(derive(), derive({ env: { LANG: "de" } }))).toEqual([
      { field: "builder.env.LANG", before: "C", after: "de" },
    ]);
  });
  test("a new variable and one that is gone", () => {
    expect(whyRebuild(derive(), derive({ env: { LANGUAGE: "de" } }))).toEqual([
      { field: "builder.env.LANG", before: "C", after: undefined },
      { field: "builder.env.LANGUAGE", before: undefined, after: "de" },
    ]);
  });
  test("a limit", () => expect(fields(derive({ limits: { memoryBytes: 5 } }))).toEqual(["limits.memoryBytes"]));
  test("the version", () => expect(fields(derive({ version: "2" }))).toEqual(["version"]));
  test("metadata never", () =>
    expect(fields(derive({ metadata: { comment: "other" }, probe: { argv: ["bin/x"] } }))).toEqual([]));
  test("lines of the script", () => {
    const [reason, ...more] = whyRebuild(derive(), derive({ configureFlags: ["--with-zlib=$zlib"] }));
    expect(more).toEqual([]);
    expect(reason?.field).toBe("builder.argv[2]");
    expect(reason?.diff).toEqual([
      " do_configure() {",
      `-  ./configure --prefix="$out"`,
      `+  ./configure --prefix="$out" --with-zlib="\${zlib}"`,
      " }",
    ]);
  });
  test("an input more", () => {
    const more = derive({ inputs: [zlib, script({ name: "extra", script: "true" })] });
    expect(fields(more)).toContain("inputs.extra");
  });
});

test("the caller's names go before those of the environment", () => {
  const after = derive({}, { zlib: "other" });
  const names = new Map([pathOf("zlib"), pathOf("zlib", "other")].map((path) => [path, "compression"]));
  expect(whyRebuild(derive(), after, names).map(({ field }) => field)).toEqual(["inputs.compression"]);
});

test("two derivations with one text have no reason, and with two texts have one", () => {
  fc.assert(
    fc.property(derivations, derivations, (one, other) => {
      expect(whyRebuild(one, one)).toEqual([]);
      if (derivationText(one) !== derivationText(other)) expect(whyRebuild(one, other)).not.toEqual([]);
    }),
  );
});

describe("a difference of lines", () => {
  const line = fc.constantFrom("a", "b", "c", "d");
  const text = fc.array(line, { maxLength: 12 }).map((lines) => lines.join("\n"));

  test("holds every line that went and every line that came, in order", () => {
    fc.assert(
      fc.property(text, text, (before, after) => {
        const diff = diffLines(before, after);
        const gone = diff.filter((each) => each.startsWith("-")).length;
        const come = diff.filter((each) => each.startsWith("+")).length;
        expect(after.split("\n").length - before.split("\n").length).toBe(come - gone);
        if (before === after) expect(diff).toEqual([]);
        else expect(gone + come).toBeGreaterThan(0);
      }),
    );
  });

  test("has a line of context, and a mark between pieces", () => {
    expect(diffLines("a\nb\nc\nd\ne\nf\ng", "a\nB\nc\nd\ne\nf\nG")).toEqual([" a", "-b", "+B", " c", "...", " f", "-g", "+G"]);
  });
});
