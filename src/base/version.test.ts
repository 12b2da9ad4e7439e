import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { compareVersions } from "./version.ts";

/** Ascending; every pair is checked both ways. The relations are those that pkg-version(8) and pkg's own comments state. */
const ASCENDING: readonly (readonly string[])[] = [
  ["2.*", "2pl1", "2alpha3", "2.9f7", "3.*"],
  ["1.0.a", "1.0", "1.0.1"],
  ["10alpha", "10", "10a", "10b", "11"],
  ["1.0rc1", "1.0rc2", "1.0", "1.0_1", "1.0_2", "1.0_10", "1.0.1", "0.9,1", "0.9_1,1", "0.1,2"],
  ["0.1pl1", "0.1.alpha3", "0.1beta2", "0.1"],
  ["1.0.1:2003.09.16", "1.0:2003.09.16"],
  ["1.0+a1", "1.0+a2", "1.0"],
  ["2.9", "2.10", "2.12.3", "9007199254740993", "9007199254740994"],
];
const EQUAL: readonly (readonly [string, string])[] = [
  ["10", "10.0.0"],
  ["10..1", "10.1"],
  ["10a1b2", "10a1.b2"],
  ["1.d2", "1.Development2"],
  ["0.1beta2", "0.1.b2"],
  ["1.0", "1.00"],
  ["1.0_0", "1.0"],
  ["hello-2.10", "2.10"],
  ["1.0A", "1.0a"],
  ["1.constructor", "1.c"],
];

describe("order of versions", () => {
  for (const row of ASCENDING) {
    test(row.join(" < "), () => {
      row.forEach((left, i) =>
        row.forEach((right, j) =>
          expect([left, right, Number(compareVersions(left, right))]).toEqual([left, right, Math.sign(i - j)]),
        ),
      );
    });
  }
  for (const [left, right] of EQUAL) {
    test(`${left} equals ${right}`, () => {
      expect(compareVersions(left, right)).toBe(0);
      expect(compareVersions(right, left)).toBe(0);
    });
  }
  const text = fc.string({ unit: fc.constantFrom(..."0129abprclhet.+_,*-"), maxLength: 12 });
  test("is antisymmetric and transitive, whatever the text", () => {
    fc.assert(
      fc.property(text, text, text, (a, b, c) => {
        expect(compareVersions(a, b) + compareVersions(b, a)).toBe(0);
        expect(compareVersions(a, a)).toBe(0);
        if (compareVersions(a, b) <= 0 && compareVersions(b, c) <= 0) expect(compareVersions(a, c)).toBeLessThanOrEqual(0);
      }),
    );
  });
});
