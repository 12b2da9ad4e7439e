import { describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { type JsonValue, Problem } from "../base/index.ts";
import {
  parseCatalogueEntry,
  parseCompactManifest,
  parseManifest,
  renderCatalogueEntry,
  renderCompactManifest,
  renderManifest,
  validateCompactManifest,
  validateManifest,
} from "./index.ts";
import { anyManifest, MINIMAL } from "./testing.ts";

const DATA = join(import.meta.dir, "../repository/testdata");

function member(archive: string, name: string): string {
  return execFileSync("bsdtar", ["-xOf", join(DATA, archive), name], { encoding: "utf8" });
}

describe("manifests of the real pkg", () => {
  for (const version of ["2.4.2", "2.8.4"]) {
    for (const name of ["demo-1.0_2,1", "demo-dep-2.3"]) {
      test(`${name} of ${version}: read, and written again byte for byte`, () => {
        const compact = member(`${version}/pubkey/All/${name}.pkg`, "+COMPACT_MANIFEST");
        expect(renderCompactManifest(parseCompactManifest(compact, name))).toBe(compact);
        const full = member(`${version}/pubkey/All/${name}.pkg`, "+MANIFEST");
        // 2.4 writes file flags that are always 0 and that 2.8 does not read; nothing else is lost.
        expect(renderManifest(parseManifest(full, name))).toBe(full.replaceAll(',"fflags":0', ""));
      });
    }
    test(`catalogue entries of ${version}`, () => {
      const lines = member(`${version}/pubkey/packagesite.pkg`, "packagesite.yaml").trimEnd().split("\n");
      expect(lines.length).toBe(2);
      for (const line of lines) {
        const json: JsonValue = JSON.parse(line);
        expect(renderCatalogueEntry(parseCatalogueEntry(json, "packagesite"))).toBe(line);
      }
    });
  }
});

test("any manifest comes back", () => {
  fc.assert(
    fc.property(anyManifest, (manifest) => {
      const written = renderManifest(manifest);
      expect(written).not.toContain("\n");
      expect(parseManifest(written, "x")).toEqual(manifest);
      expect(renderManifest(parseManifest(written, "x"))).toBe(written);
    }),
  );
});

test("keys nobody knows are kept", () => {
  const text = renderCompactManifest({ ...MINIMAL, others: { dep_formula: "a >= 1", lua_scripts: { "post-install": ["x"] } } });
  expect(renderCompactManifest(parseCompactManifest(text, "x"))).toBe(text);
});

describe("a manifest that is wrong names its field", () => {
  const wrong = (change: Record<string, unknown>): string => {
    try {
      parseManifest(JSON.stringify({ ...JSON.parse(renderManifest(MINIMAL)), ...change }), "x.pkg");
      return "nothing was refused";
    } catch (error) {
      return error instanceof Problem ? `${error.code} ${error.message}` : String(error);
    }
  };
  for (const [field, change] of [
    ["name", { name: undefined }],
    ["version", { version: ["1"] }],
    ["flatsize", { flatsize: -1 }],
    ["licenses", { licenses: "MIT" }],
    ["deps.a", { deps: { a: "1" } }],
    ["deps.a.version", { deps: { a: { origin: "b/a" } } }],
    ["options.A", { options: { A: "maybe" } }],
    ["files./x.perm", { files: { "/x": { sum: "-", perm: "rwx" } } }],
    ["files./x.sum", { files: { "/x": { perm: "0644" } } }],
    ["files", { files: { "/x%ff": "-" } }],
    ["scripts.pre-install", { scripts: { "pre-install": 1 } }],
    ["messages", { messages: ["x"] }],
  ] as const) {
    test(field, () => expect(wrong(change)).toMatch(new RegExp(`^E_BAD_MANIFEST.*\\b${field.replaceAll(/[./]/g, "\\$&")}\\b`)));
  }
  test("or is not JSON, or not an object", () => {
    expect(() => parseManifest("{", "x")).toThrow("not JSON");
    expect(() => parseManifest("[]", "x")).toThrow("not an object");
  });
  test("whatever JSON it is, it is read or refused by name", () => {
    const keys = Object.keys(JSON.parse(readFileSync(join(import.meta.dir, "golden/goal.json"), "utf8")));
    fc.assert(
      fc.property(fc.constantFrom(...keys), fc.jsonValue(), (key, value) => {
        expect(wrong({ [key]: value })).toMatch(/^nothing|^E_BAD_MANIFEST/);
      }),
    );
  });
});

describe("what clients trip over", () => {
  const fields = (change: Partial<typeof MINIMAL>): readonly string[] =>
    validateManifest({ ...MINIMAL, ...change }).map(({ field }) => field);
  test("a good one has no findings", () => expect(fields({})).toEqual([]));
  for (const field of ["name", "origin", "version", "comment", "desc", "maintainer", "prefix", "abi", "arch"] as const) {
    test(`no ${field}`, () =>
      expect(validateCompactManifest({ ...MINIMAL, [field]: "" })[0]).toMatchObject({ field, severity: "error" }));
  }
  test("names, versions, origins and ABIs that are none", () => {
    expect(fields({ name: "a b" })).toEqual(["name"]);
    expect(fields({ version: "1-2" })).toEqual(["version"]);
    expect(fields({ origin: "hello" })).toEqual(["origin"]);
    expect(fields({ abi: "FreeBSD" })).toEqual(["abi"]);
  });
  test("a system version that does not belong to the ABI poisons a repository", () => {
    expect(fields({ annotations: { FreeBSD_version: "1500068" } })).toEqual([]);
    expect(fields({ annotations: { FreeBSD_version: "1600000" } })).toEqual(["annotations.FreeBSD_version"]);
    expect(fields({ annotations: { FreeBSD_version: "15.0" } })).toEqual(["annotations.FreeBSD_version"]);
  });
  test("files that climb, come twice or have no sum; configuration that is no file", () => {
    const file = { type: "file", sum: "1$x", uname: "root", gname: "wheel", mode: 0o644, sizeBytes: 0 } as const;
    expect(fields({ files: [{ ...file, path: "/a/../b" }] })).toEqual(["files./a/../b"]);
    expect(fields({ files: [{ ...file, path: "a" }] })).toEqual(["files.a"]);
    expect(
      fields({
        files: [
          { ...file, path: "/a" },
          { ...file, path: "/a" },
        ],
      }),
    ).toEqual(["files./a"]);
    expect(fields({ files: [{ ...file, path: "/a", sum: "" }] })).toEqual(["files./a"]);
    expect(fields({ config: ["/etc/x"] })).toEqual(["config./etc/x"]);
  });
});
