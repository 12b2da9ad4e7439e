import { expect, test } from "bun:test";
import { lineOfField } from "./locate.ts";

const TEXT = `import { make, fetchurl } from "garth";
const flags = ["-O2"]; // make({ name: "not this one" })
export const a = make({
  name: "a", /* env: { } */
  "version": '1}',
  env: {
    A: \`\${[1, 2].join(",")} }\`, B: "\\"}", C: fn({ x: [1, { y: 2 }] }),
    "my var":
      3,
  },
  inputs: [
    one, ...more,
    fn(a, b), { x: 1 },
    // a comment, with a comma
    last,
  ],
  ratio: 6 / 2, regex: 4 / 2,
  check,
  perSystem: { freebsd: { makeFlags: ["a",
    "b"] } },
});
alternatives(first,
  second,
  third);
`;

test.each([
  [["name"], 4],
  [["version"], 5],
  [["env"], 6],
  [["env", "A"], 7],
  [["env", "C"], 7],
  [["env", "my var"], 9],
  [["inputs"], 11],
  [["inputs", 0], 12],
  [["inputs", 2], 13],
  [["inputs", 3, "x"], 13],
  [["inputs", 4], 15],
  [["ratio"], 17],
  [["regex"], 17],
  [["check"], 18],
  [["perSystem", "freebsd", "makeFlags", 0], 19],
  [["perSystem", "freebsd", "makeFlags", 1], 20],
  [["inputs", 9], 11],
  [["nowhere"], 3],
  [[], 3],
] as const)("%j is in line %d", (path, line) => {
  expect(lineOfField(TEXT, 3, "make", path)).toBe(line);
});

test("an argument of a call that takes several", () => {
  expect(lineOfField(TEXT, 22, "alternatives", [1])).toBe(23);
});

test("a call that is not where it was said to be: the line that was said", () => {
  expect(lineOfField(TEXT, 3, "cmake", ["name"])).toBe(3);
  expect(lineOfField("make({", 1, "make", ["name"])).toBe(1);
  expect(lineOfField(`make({ a: "`, 1, "make", ["b"])).toBe(1);
});
