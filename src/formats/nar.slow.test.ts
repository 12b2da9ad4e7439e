/** Against the format's own tool: Debian's Nix. */
import { describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { decodeNar, encodeNar } from "./nar.ts";

describe("NAR", () => {
  test("Debian's Nix reads and writes the same bytes", () => {
    const directory = fs.mkdtempSync(`${tmpdir()}/garth-nar-`);
    try {
      const root = `${directory}/root`;
      fs.mkdirSync(`${root}/empty`, { recursive: true });
      fs.mkdirSync(`${root}/${"deep/".repeat(40)}`, { recursive: true });
      fs.writeFileSync(`${root}/a.b`, "");
      fs.mkdirSync(`${root}/a`);
      fs.writeFileSync(`${root}/a/run`, "#!/bin/sh\n", { mode: 0o755 });
      fs.writeFileSync(`${root}/grüße`, "utf-8");
      fs.writeFileSync(Buffer.from(`${root}/\xff\xfe\x01`, "latin1"), "bytes");
      fs.symlinkSync("/nowhere/at all", `${root}/link`);
      const theirs = execFileSync("nix-store", ["--dump", root], { maxBuffer: 1 << 26 });
      const node = decodeNar(theirs);
      expect(Buffer.from(encodeNar(node)).equals(theirs)).toBeTrue();
      execFileSync("nix-store", ["--restore", `${directory}/copy`], { input: encodeNar(node) });
      expect(execFileSync("nix-store", ["--dump", `${directory}/copy`], { maxBuffer: 1 << 26 }).equals(theirs)).toBeTrue();
    } finally {
      fs.rmSync(directory, { recursive: true });
    }
  });
});
