import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { HASH_BYTES, hashTable, scanHashes } from "./scan.ts";

const hex = (length: number): fc.Arbitrary<string> =>
  fc.array(fc.constantFrom(..."0123456789abcdef"), { minLength: length, maxLength: length }).map((digits) => digits.join(""));

function scan(hashes: readonly string[], text: string): string[] {
  const buffer = Buffer.from(new ArrayBuffer(text.length + 3));
  buffer.write(text, "latin1");
  const found: string[] = [];
  scanHashes(hashTable(hashes), buffer, text.length, (hash, offset) => found.push(`${hash}@${offset}`));
  return found.toSorted();
}

/** The slow way. */
function search(hashes: readonly string[], text: string): string[] {
  return hashes
    .flatMap((hash, index) => {
      const found: string[] = [];
      for (let at = text.indexOf(hash); at >= 0; at = text.indexOf(hash, at + 1)) found.push(`${index}@${at}`);
      return found;
    })
    .toSorted();
}

describe("scanHashes", () => {
  test("finds what a plain search finds, wherever it lies in hex text", () => {
    const cases = fc.record({
      hashes: fc.uniqueArray(hex(HASH_BYTES), { minLength: 1, maxLength: 6 }),
      parts: fc.array(fc.oneof(fc.nat({ max: 5 }), fc.string({ maxLength: 90 }), hex(61)), { maxLength: 12 }),
    });
    fc.assert(
      fc.property(cases, ({ hashes, parts }) => {
        const text = parts.map((part) => (typeof part === "number" ? (hashes[part] ?? "") : part)).join("");
        const latin1 = Buffer.from(text, "latin1").toString("latin1");
        expect(scan(hashes, latin1)).toEqual(search(hashes, latin1));
      }),
      { numRuns: 500 },
    );
  });

  test("finds a hash at every offset, at both ends, and overlapping occurrences", () => {
    const hash = "0123456789abcdef".repeat(4);
    for (let at = 0; at < 130; at += 1) expect(scan([hash], "f".repeat(at) + hash)).toEqual([`0@${at}`]);
    const periodic = hash + "0123456789abcdef";
    expect(scan([hash], periodic)).toEqual(["0@0", "0@16"]);
    const uniform = "a".repeat(64);
    expect(scan([uniform], "a".repeat(130))).toEqual(search([uniform], "a".repeat(130)));
  });

  test("a hash cut short is none", () => {
    const hash = "89abcdef".repeat(8);
    expect(scan([hash], hash.slice(1))).toEqual([]);
    expect(scan([hash], `${hash.slice(0, 63)}g`)).toEqual([]);
    expect(scan([hash], hash.toUpperCase())).toEqual([]);
  });

  test("hex text that holds none passes the table in less than one window of 256", () => {
    const digits = new Uint8Array(1 << 22);
    let state = 88172645463325252n;
    for (let index = 0; index < digits.length; index += 1) {
      if (index % 16 === 0) {
        state ^= BigInt.asUintN(64, state << 13n);
        state ^= state >> 7n;
        state ^= BigInt.asUintN(64, state << 17n);
      }
      digits[index] = "0123456789abcdef".charCodeAt(Number((state >> BigInt((index % 16) * 4)) & 15n));
    }
    const hashes = Array.from({ length: 500 }, (_, index) => index.toString(16).padStart(4, "0").repeat(16));
    const { bits, shift, ...table } = hashTable(hashes);
    let passed = 0;
    const counting = new Map(table.places);
    Object.defineProperty(counting, "get", { value: (key: number) => ((passed += 1), table.places.get(key)) });
    scanHashes({ ...table, bits, shift, places: counting }, digits, digits.length, () => {});
    expect(passed).toBeLessThan(digits.length / 56 / 256);
  });

  test("what is no hash is a bug", () => {
    expect(() => hashTable(["xyz"])).toThrow(TypeError);
  });
});
