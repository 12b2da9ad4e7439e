import { describe, expect, test } from "bun:test";
import { crc32 as zlibCrc32 } from "node:zlib";
import fc from "fast-check";
import { crc32, crc32c } from "./crc.ts";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const published = (bytes: Uint8Array): number => (crc32c(bytes) ^ 0xffffffff) >>> 0;

describe("CRC-32C", () => {
  test("gives the check value of the CRC catalogue", () => {
    expect(published(text("123456789"))).toBe(0xe3069283);
  });

  test("gives the examples of RFC 3720, B.4", () => {
    const counting = Uint8Array.from({ length: 32 }, (_, index) => index);
    expect(published(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(published(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(published(counting)).toBe(0x46dd794e);
    expect(published(counting.toReversed())).toBe(0x113fdb5c);
  });

  test("is the bare register: nothing changes it by nothing, and it goes on where it stopped", () => {
    expect(crc32c(new Uint8Array(0))).toBe(0xffffffff);
    expect(crc32c(new Uint8Array(0), 5)).toBe(5);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.uint8Array({ maxLength: 100 }), (a, b) => {
        expect(crc32c(b, crc32c(a))).toBe(crc32c(Buffer.concat([a, b])));
      }),
    );
  });
});

describe("CRC-32", () => {
  test("is zlib's, at every length and alignment", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat({ max: 9 }), fc.nat({ max: 0xffffffff }), (bytes, skip, seed) => {
        const part = bytes.subarray(skip);
        expect(crc32(part)).toBe(zlibCrc32(part));
        expect(crc32(part, seed)).toBe(zlibCrc32(part, seed));
      }),
    );
  });
});
