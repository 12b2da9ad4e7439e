import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  baseName,
  canonicalJson,
  hashPart,
  type Identity,
  isStorePath,
  namePart,
  parseStorePath,
  Problem,
  renderProblem,
  SCHEME,
  sha256,
  storePath,
} from "./index.ts";

describe("canonical JSON", () => {
  test("RFC 8785, section 3.2.2: the whole example", () => {
    const parsed = JSON.parse(String.raw`{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }`);
    // The euro sign is spliced in: Bun 1.4 escapes what is not ASCII in a raw template.
    const expected = String.raw`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"E$\u000f\nA'B\"\\\\\"/"}`;
    expect(canonicalJson(parsed)).toBe(expected.replace("E$", "\u20ac$"));
  });

  test("RFC 8785, section 3.2.3: keys sort by UTF-16 code units", () => {
    const keys = { "\u20ac": 5, "\r": 1, "\ufb33": 7, "1": 2, "\ud83d\ude00": 6, "\u0080": 3, "\u00f6": 4 };
    expect(Object.values(JSON.parse(canonicalJson(keys)))).toHaveLength(7);
    expect([...canonicalJson(keys).matchAll(/:(\d)/g)].map((match) => match[1]).join("")).toBe("1234567");
  });

  test("RFC 8785, appendix B: numbers by their bits", () => {
    const samples: readonly (readonly [string, string])[] = [
      ["0000000000000000", "0"],
      ["8000000000000000", "0"],
      ["0000000000000001", "5e-324"],
      ["8000000000000001", "-5e-324"],
      ["7fefffffffffffff", "1.7976931348623157e+308"],
      ["4340000000000000", "9007199254740992"],
      ["4430000000000000", "295147905179352830000"],
      ["44b52d02c7e14af5", "9.999999999999997e+22"],
      ["44b52d02c7e14af6", "1e+23"],
      ["444b1ae4d6e2ef4e", "999999999999999700000"],
      ["444b1ae4d6e2ef50", "1e+21"],
      ["41b3de4355555553", "333333333.3333332"],
    ];
    for (const [bits, text] of samples) expect(canonicalJson(Buffer.from(bits, "hex").readDoubleBE())).toBe(text);
  });

  test("what JSON cannot say is refused", () => {
    expect(() => canonicalJson(Number.NaN)).toThrow(TypeError);
    expect(() => canonicalJson(["\ud800"])).toThrow(TypeError);
  });

  test("any value reads back as itself and does not depend on the order of keys", () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string({ unit: "grapheme" }), fc.jsonValue({ noUnicodeString: false }), { noNullPrototype: true }),
        (value) => {
          const reversed = Object.fromEntries(Object.entries(value).toReversed());
          expect(canonicalJson(JSON.parse(JSON.stringify(reversed)))).toBe(canonicalJson(JSON.parse(JSON.stringify(value))));
          expect(JSON.parse(canonicalJson(JSON.parse(JSON.stringify(value))))).toEqual(JSON.parse(JSON.stringify(value)));
        },
      ),
    );
  });
});

describe("store paths", () => {
  const sha = "31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b";

  test("the scheme, pinned: a change here changes every path there is", () => {
    expect(storePath({ kind: "flat", sha256: sha, references: [] }, "hello-2.10.tar.gz")).toMatchInlineSnapshot(
      `"/frx/store/623003c13f11f58998b179042e78b5f0ce5c18386aaa49ada444ac0bc19cc0e2-hello-2.10.tar.gz"`,
    );
    expect(storePath({ kind: "tree", narSha256: sha, references: [] }, "tree")).toMatchInlineSnapshot(
      `"/frx/store/34368a0182f1423f8990f2c37c42fd311aa393fa98b4305bed194361aa509acc-tree"`,
    );
    expect(storePath({ kind: "output", modulo: sha, self: true, references: [] }, "hello-2.10")).toMatchInlineSnapshot(
      `"/frx/store/7c9ee1b1e23c94c4ae76a6416fcad2d9036263db3ef9bc69d9e1278903f509d7-hello-2.10"`,
    );
  });

  test("references count, their order does not", () => {
    const one = storePath({ kind: "flat", sha256: sha, references: [] }, "one");
    const two = storePath({ kind: "flat", sha256: sha, references: [one] }, "two");
    const with12 = storePath({ kind: "flat", sha256: sha, references: [one, two] }, "x");
    expect(storePath({ kind: "flat", sha256: sha, references: [two, one] }, "x")).toBe(with12);
    expect(storePath({ kind: "flat", sha256: sha, references: [one] }, "x")).not.toBe(with12);
  });

  test("the hash is of the canonical JSON of the identity, its name and the scheme", () => {
    const one = storePath({ kind: "flat", sha256: sha, references: [] }, "one.drv");
    const two = storePath({ kind: "flat", sha256: sha, references: [one] }, "two");
    const references = [one, two];
    const identities: readonly Identity[] = [
      { kind: "flat", sha256: sha, references },
      { kind: "tree", narSha256: sha, references },
      { kind: "output", modulo: sha, self: true, references },
      { kind: "output", modulo: sha, self: false, references: [] },
      { kind: "scratch", drv: one, output: `o"ut`, round: 3 },
    ];
    for (const identity of identities) {
      const sorted = "references" in identity ? { references: identity.references.toSorted() } : {};
      const text = canonicalJson({ ...identity, ...sorted, name: "x", scheme: SCHEME });
      expect(hashPart(storePath(identity, "x"))).toBe(sha256(text));
    }
  });

  test("its parts come apart again, for every name", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z0-9+_?=][A-Za-z0-9+._?=-]{0,40}$/), (name) => {
        const path = storePath({ kind: "tree", narSha256: sha, references: [] }, name);
        expect(isStorePath(path)).toBe(true);
        expect(`${hashPart(path)}-${namePart(path)}`).toBe(baseName(path));
        expect(namePart(path)).toBe(name);
      }),
    );
  });

  test("names that would leave the store, hide in it or break a shell are refused", () => {
    for (const name of ["", ".", "..", ".hidden", "-option", "a/b", "a b", "a\n", "ä", "a".repeat(192)]) {
      expect(() => storePath({ kind: "tree", narSha256: sha, references: [] }, name)).toThrow(Problem);
      expect(isStorePath(`/frx/store/${sha}-${name}`)).toBe(false);
    }
    expect(() => parseStorePath("/frx/store/short-name")).toThrow("not a store path");
  });
});

test("a problem is told whole: code, what, details, where, hint", () => {
  const problem = new Problem({
    code: "E_HASH_MISMATCH",
    message: "fetching hello-2.10.tar.gz: the content is not what was declared",
    details: ["declared  31e0", "found     0000\nfrom a mirror"],
    where: "garth.ts:4",
    hint: "ask upstream",
  });
  expect(renderProblem(problem)).toBe(
    [
      "error E_HASH_MISMATCH: fetching hello-2.10.tar.gz: the content is not what was declared",
      "    declared  31e0",
      "    found     0000",
      "    from a mirror",
      "  where: garth.ts:4",
      "  hint:  ask upstream",
    ].join("\n"),
  );
});
