import { expect, test } from "bun:test";
import fc from "fast-check";
import { formatDuration, formatSize, parseDuration, parseSize, Problem } from "./index.ts";

test("sizes are powers of 1024, however they are written", () => {
  for (const text of ["10G", "10g", "10GiB", "10GB"]) expect(parseSize(text)).toBe(10 * 1024 ** 3);
  expect(parseSize("512")).toBe(512);
  expect(parseSize("1.5K")).toBe(1536);
});

test("durations", () => {
  expect(parseDuration("30d")).toBe(30 * 86_400_000);
  expect(parseDuration("1h30m")).toBe(5_400_000);
  expect(parseDuration("250ms")).toBe(250);
  expect(parseDuration("0s")).toBe(0);
});

test("what is neither is refused with a hint", () => {
  for (const text of ["", "G", "-1G", "10 G", "1e3", "10X", "99999999999P"]) expect(() => parseSize(text)).toThrow(Problem);
  for (const text of ["", "30", "d", "30m1h", "1h1h", "1h 30m", "-5s", "5S"]) expect(() => parseDuration(text)).toThrow(Problem);
});

test("sizes for people", () => {
  const cases = [
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1 KiB"],
    [1536, "1.5 KiB"],
    [1024 ** 2 - 1, "1 MiB"],
    [123 * 1024 ** 2, "123 MiB"],
    [10 * 1024 ** 3, "10 GiB"],
  ] as const;
  for (const [bytes, text] of cases) expect(formatSize(bytes)).toBe(text);
});

test("durations for people", () => {
  const cases = [
    [0, "0ms"],
    [999.4, "999ms"],
    [4200, "4.2s"],
    [9949, "9.9s"],
    [59_400, "59s"],
    [59_600, "1m00s"],
    [65_000, "1m05s"],
    [7_380_000, "2h03m"],
    [273_600_000, "3d04h"],
  ] as const;
  for (const [ms, text] of cases) expect(formatDuration(ms)).toBe(text);
});

test("a printed size reads back to within the digits that were shown", () => {
  fc.assert(
    fc.property(fc.nat(2 ** 50), (bytes) => {
      const back = parseSize(formatSize(bytes).replace(" ", ""));
      expect(Math.abs(back - bytes)).toBeLessThanOrEqual(bytes * 0.051);
    }),
  );
});

test("a printed duration reads back to within its last unit", () => {
  fc.assert(
    fc.property(fc.nat(400 * 86_400_000), (ms) => {
      expect(Math.abs(parseDuration(formatDuration(ms)) - ms)).toBeLessThanOrEqual(Math.max(ms * 0.05, 500));
    }),
  );
});
