import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type JsonValue, Problem } from "../base/index.ts";
import { parseUcl, renderUcl } from "./index.ts";

const line = (text: string): string => {
  try {
    parseUcl(text, "x.conf");
    return "nothing was refused";
  } catch (error) {
    return error instanceof Problem ? `${error.code} ${error.where}` : String(error);
  }
};

describe("reading", () => {
  test("meta.conf as pkg writes it", () => {
    const text = 'version = 2;\npacking_format = "tzst";\nmanifests = "packagesite.yaml";\ndata = "data";\n';
    expect(parseUcl(text, "meta.conf")).toEqual({
      version: 2,
      packing_format: "tzst",
      manifests: "packagesite.yaml",
      data: "data",
    });
  });
  test("client configuration as people write it", () => {
    const text = `
      # ours
      FreeBSD-ports: { enabled: no }
      ours {
        url = "https://pkg.example.org/\${ABI}", mirror_type: none; /* no SRV */
        priority 10
        pubkey: '/usr/share/keys/a.pub'
        env: { A: "b\\n" }, list: [ a, "b", 3 ]
      }`;
    expect(parseUcl(text, "repos.conf")).toEqual({
      "FreeBSD-ports": { enabled: false },
      ours: {
        // Quoted text is left as it is; variables are for pkg to fill in.
        url: "https://pkg.example.org/${ABI}",
        mirror_type: "none",
        priority: 10,
        pubkey: "/usr/share/keys/a.pub",
        env: { A: "b\n" },
        list: ["a", "b", 3],
      },
    });
  });
  test("JSON", () => expect(parseUcl('{"a":{"b":[1,true,null]}}', "x")).toEqual({ a: { b: [1, true, null] } }));
  test("keys that are also names of the language's own", () => {
    const read = parseUcl('{"__proto__": {"x": 1}, "constructor": constructor}', "x");
    expect(Object.hasOwn(read, "__proto__")).toBe(true);
    expect(read["constructor"]).toBe("constructor");
    expect(({} as { x?: number }).x).toBeUndefined();
  });
});

describe("refusing, with the line", () => {
  for (const [text, where] of [
    ["a = 1;\nb = \n;", "3"],
    ["a {\n b = 1;\n", "3"],
    ['a = "no end', "1"],
    ['\n\n.include "x"', "3"],
    ["a = [1, 2", "1"],
    ["a = <<EOD\nx\nEOD", "1"],
    ["a = ${ABI}", "1"],
    ["{ a = 1 } b", "1"],
    ['a = "\\q"', "1"],
    ["a = " + "[".repeat(100), "1"],
  ] as const) {
    test(JSON.stringify(text.slice(0, 30)), () => expect(line(text)).toBe(`E_BAD_UCL x.conf:${where}`));
  }
  test("any text is read or refused, never anything else", () => {
    const text = fc.string({ unit: fc.constantFrom(..."ab=:;,{}[]\"'\\#/*\n 01.<$"), maxLength: 60 });
    fc.assert(fc.property(text, (noise) => expect(line(noise)).toMatch(/^nothing|^E_BAD_UCL/)));
  });
});

test("what is written is read back", () => {
  const scalar = fc.oneof(fc.string(), fc.integer(), fc.boolean());
  const key = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_-]{0,8}$/).filter((name) => name !== "__proto__");
  const { object } = fc.letrec<{ object: Record<string, JsonValue>; value: JsonValue }>((tie) => ({
    object: fc.dictionary(key, tie("value"), { maxKeys: 4, noNullPrototype: true }),
    value: fc.oneof({ maxDepth: 3, withCrossShrink: true }, scalar, fc.array(scalar, { maxLength: 3 }), tie("object")),
  }));
  fc.assert(fc.property(object, (value) => expect(parseUcl(renderUcl(value), "x")).toEqual(value)));
});
