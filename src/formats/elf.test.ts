import { describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { type ElfInfo, readAtOf, readElf } from "./index.ts";

function readelf(file: string): Pick<ElfInfo, "needed" | "soname" | "abiTag"> & { readonly paths: readonly string[] } {
  const text = execFileSync("readelf", ["--wide", "--dynamic", "--notes", file], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const all = (pattern: RegExp): string[] => [...text.matchAll(pattern)].map((match) => match[1] ?? "");
  const tag = /OS: Linux, ABI: (\d+)\.(\d+)\.(\d+)/.exec(text);
  return {
    needed: all(/\(NEEDED\).*\[(.*)\]/g),
    soname: all(/\(SONAME\).*\[(.*)\]/g)[0],
    paths: all(/\((?:RPATH|RUNPATH)\).*\[(.*)\]/g).flatMap((path) => path.split(":")),
    abiTag: tag === null ? undefined : { system: "Linux", major: Number(tag[1]), minor: Number(tag[2]), patch: Number(tag[3]) },
  };
}

/** Programs and libraries of this machine, enough kinds to meet every case. */
function samples(): readonly string[] {
  const found: string[] = [];
  for (const directory of ["/usr/bin", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"]) {
    let taken = 0;
    let names: readonly string[] = [];
    try {
      names = readdirSync(directory).toSorted();
    } catch {
      continue;
    }
    for (const name of names) {
      const file = join(directory, name);
      if (taken >= 40 || !statSync(file, { throwIfNoEntry: false })?.isFile()) continue;
      const head = readFileSync(file).subarray(0, 18);
      // Object files have no program headers: they are never run or loaded.
      if (head.subarray(0, 4).toString("latin1") !== "\x7fELF" || head[16] === 1) continue;
      found.push(realpathSync(file));
      taken += 1;
    }
  }
  return [...new Set(found)];
}

/** A file of either class and byte order, made by hand: header, PT_LOAD, PT_DYNAMIC, PT_NOTE. */
function synthetic(bits: 32 | 64, endian: "little" | "big"): Uint8Array {
  const bytes = new Uint8Array(2048);
  const view = new DataView(bytes.buffer);
  const little = endian === "little";
  const word = (at: number, value: number): void => {
    if (bits === 64) view.setBigUint64(at, BigInt(value), little);
    else view.setUint32(at, value, little);
  };
  bytes.set([0x7f, 0x45, 0x4c, 0x46, bits / 32, little ? 1 : 2, 1, 9]);
  view.setUint16(16, 3, little);
  view.setUint16(18, 21, little);
  const [offsetAt, sizeAt, countAt, entry] = bits === 64 ? [32, 54, 56, 56] : [28, 42, 44, 32];
  word(offsetAt, 64);
  view.setUint16(sizeAt, entry, little);
  view.setUint16(countAt, 3, little);
  const segments = [
    [1, 0, 0x10000, 2048],
    [2, 512, 0x10000 + 512, 6 * (bits / 4)],
    [4, 1024, 0x10000 + 1024, 24],
  ] as const;
  segments.forEach(([type, offset, address, size], index) => {
    const at = 64 + index * entry;
    view.setUint32(at, type, little);
    word(at + (bits === 64 ? 8 : 4), offset);
    word(at + (bits === 64 ? 16 : 8), address);
    word(at + (bits === 64 ? 32 : 16), size);
  });
  const strings = "\0libone.so.1\0libself.so.2\0/frx/store/a:/frx/store/b\0";
  bytes.set(Buffer.from(strings), 1536);
  const dynamic = [
    [1, 1],
    [14, strings.indexOf("libself")],
    [29, strings.indexOf("/frx")],
    [5, 0x10000 + 1536],
    [10, strings.length],
    [0, 0],
  ];
  dynamic.forEach(([tag = 0, value = 0], index) => {
    word(512 + index * (bits / 4), tag);
    word(512 + index * (bits / 4) + bits / 8, value);
  });
  view.setUint32(1024, 8, little);
  view.setUint32(1028, 4, little);
  view.setUint32(1032, 1, little);
  bytes.set(Buffer.from("FreeBSD\0"), 1036);
  view.setUint32(1044, 1_500_068, little);
  return bytes;
}

describe("files of this machine", () => {
  const files = samples();
  test("there are enough of them", () => expect(files.length).toBeGreaterThan(30));
  test("say what readelf says", () => {
    for (const file of files) {
      const elf = readElf(readAtOf(readFileSync(file)));
      if (elf === undefined) throw new Error(`${file} was not read`);
      const { needed, soname, abiTag, rpath, runpath } = elf;
      const ours: unknown = { file, needed, soname, abiTag, paths: [...rpath, ...runpath] };
      expect(ours).toEqual({ file, ...readelf(file) });
    }
  }, 30_000);
});

describe("every class and byte order", () => {
  for (const bits of [32, 64] as const) {
    for (const endian of ["little", "big"] as const) {
      test(`${bits} bits, ${endian} endian`, () => {
        expect(readElf(readAtOf(synthetic(bits, endian)))).toEqual({
          bits,
          endian,
          machine: 21,
          type: 3,
          osAbi: 9,
          abiTag: { system: "FreeBSD", osVersion: 1_500_068 },
          interpreter: undefined,
          needed: ["libone.so.1"],
          soname: "libself.so.2",
          rpath: [],
          runpath: ["/frx/store/a", "/frx/store/b"],
        });
      });
    }
  }
});

describe("what is broken", () => {
  test("is not ELF at all", () => {
    expect(readElf(readAtOf(Buffer.from("#!/bin/sh\n")))).toBeUndefined();
    expect(readElf(readAtOf(new Uint8Array(0)))).toBeUndefined();
  });
  test("never throws, however it is cut or changed, and never reads out of bounds or without bound", () => {
    const source = fc.constantFrom(synthetic(64, "little"), synthetic(32, "big"), readFileSync("/bin/true").subarray(0, 8192));
    const changes = fc.array(fc.tuple(fc.nat(2047), fc.integer({ min: 0, max: 255 })), { maxLength: 24 });
    fc.assert(
      fc.property(source, fc.nat(4096), changes, (bytes, length, edits) => {
        const damaged = bytes.slice(0, length);
        for (const [at, value] of edits) if (at < damaged.length) damaged[at] = value;
        const readAt = readAtOf(damaged);
        readElf((offset, size) => {
          expect(Number.isSafeInteger(offset) && offset >= 0 && Number.isSafeInteger(size) && size >= 0 && size <= 1 << 20).toBe(
            true,
          );
          return readAt(offset, size);
        });
      }),
      { numRuns: 2000 },
    );
  });
  test("never throws on noise behind a good magic", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 60, maxLength: 400 }),
        fc.constantFrom(1, 2),
        fc.constantFrom(1, 2),
        (noise, bits, endian) => {
          noise.set([0x7f, 0x45, 0x4c, 0x46, bits, endian]);
          readElf(readAtOf(noise));
        },
      ),
      { numRuns: 1000 },
    );
  });
});
