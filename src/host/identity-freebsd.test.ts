import { expect, test } from "bun:test";
import { bootOfFreebsd, isSameStart, startOfFreebsd } from "./identity-freebsd.ts";

const BOOTTIME = "{ sec = 1796040000, usec = 600000 } Sun Nov 29 14:00:00 2026";

test("a process is named by when it started after the boot", () => {
  expect(
    startOfFreebsd("Ss   Sun Nov 29 12:00:10 2026\n", "{ sec = 1795953600, usec = 250000 } Sun Nov 29 12:00:00 2026\n"),
  ).toBe("9750");
  expect(startOfFreebsd("I+J  Tue Dec  1 12:00:10 2026", "{ sec = 1795953600, usec = 0 } x")).toBe(
    String(2 * 86_400_000 + 10_000),
  );
});

test("it keeps its name when the clock is set, though all that is printed moves, and ps cuts parts of seconds off", () => {
  // Started 9.5 s after the boot.
  const startOf = (bootMs: number) => {
    const printed = new Date(Math.floor((bootMs + 9_500) / 1000) * 1000).toUTCString();
    const [, day = "", month = "", year = "", time = ""] = /^\w+, (\d+) (\w+) (\d+) ([\d:]+)/.exec(printed) ?? [];
    const boottime = `{ sec = ${Math.floor(bootMs / 1000)}, usec = ${(bootMs % 1000) * 1000} } x`;
    return startOfFreebsd(`S    Sun ${month} ${day} ${time} ${year}`, boottime) ?? "";
  };
  const first = startOf(1_795_953_600_000);
  for (const stepMs of [0, 1, 499, 500, 501, 999, 3_600_250, -86_400_999]) {
    expect([stepMs, isSameStart(startOf(1_795_953_600_000 + stepMs), first)]).toEqual([stepMs, true]);
  }
  expect(isSameStart("9500", "12000")).toBe(false);
});

test("the dead have no name, whether they are gone, unburied, or never were", () => {
  expect(startOfFreebsd("Z    Sun Nov 29 12:00:10 2026\n", BOOTTIME)).toBeUndefined();
  expect(startOfFreebsd("", BOOTTIME)).toBeUndefined();
  expect(startOfFreebsd("Ss   Sun Nov 29 12:00:10 2026\n", "")).toBeUndefined();
  expect(isSameStart("", "")).toBe(false);
  expect(isSameStart("500", "0")).toBe(true);
  expect(isSameStart("500", "")).toBe(false);
});

test("a boot is named by its random bytes", () => {
  expect(bootOfFreebsd(Uint8Array.of(0, 1, 0xfe, 0x3a))).toBe("0001fe3a");
  expect(bootOfFreebsd(undefined)).toBe("unknown-boot");
});
