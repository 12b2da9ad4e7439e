import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import fc from "fast-check";
import { type StorePath } from "../base/index.ts";
import { localHost } from "../host/index.ts";
import { logPath, openLog, plain, readLog, TAIL_LINES } from "./log.ts";

const { files } = localHost();
const directory = fs.mkdtempSync(`${tmpdir()}/garth-log-`);
afterAll(() => files.removeTree(directory));

const DRV: StorePath = `/frx/store/${"ab".repeat(32)}-hello-2.10.drv`;
const SUBJECT = { drv: DRV, startedAtMs: 0, user: "35001:35001", hostname: "garth-hello-abababab" };
const bytes = (text: string) => new TextEncoder().encode(text);

function writeLog(chunks: readonly Uint8Array[]) {
  const texts: string[] = [];
  const phases: string[] = [];
  const path = logPath(directory, DRV);
  const log = openLog(files, path, SUBJECT, { onText: (text) => texts.push(text), onPhase: (phase) => phases.push(phase) });
  for (const chunk of chunks) log.write(chunk);
  const tail = log.tail();
  log.end("ended with status 0 after 5 ms");
  return { path, texts, phases, tail, text: readLog(files, path) };
}

test("header, what was printed, outcome; the system's zstd reads it too", () => {
  const { path, text } = writeLog([bytes("checking\nfor"), bytes(" gcc")]);
  expect(path).toBe(`${directory}/ab/${"ab".repeat(32)}-hello-2.10.drv.log.zst`);
  expect(text).toBe(
    [
      `# garth: log of ${DRV}`,
      "# garth: started 1970-01-01T00:00:00.000Z",
      "# garth: build user 35001:35001 on garth-hello-abababab",
      "checking",
      "for gcc",
      "# garth: ended with status 0 after 5 ms",
      "",
    ].join("\n"),
  );
  expect(execFileSync("zstd", ["-dcq", path]).toString()).toBe(text);
});

test("what is larger than memory allows comes back whole, over several frames", () => {
  const line = `${"0123456789abcdef".repeat(60)}\n`;
  const { text, path } = writeLog(Array.from({ length: 700 }, () => bytes(line)));
  expect(text.split("\n").filter((one) => `${one}\n` === line)).toHaveLength(700);
  expect(execFileSync("zstd", ["-dcq", path]).toString()).toBe(text);
  expect(fs.existsSync(`${path}.part`)).toBe(false);
});

test("a log that was cut off by a crash is read from its part", () => {
  const path = logPath(directory, DRV, ".crashed");
  const log = openLog(files, path, SUBJECT, { onText: () => undefined, onPhase: () => undefined });
  log.write(bytes("x".repeat(200_000)));
  expect(readLog(files, path)).toContain("x".repeat(200_000));
});

test("listeners get whole lines and the phases, however the chunks fall", () => {
  const printed = "one\n@garth phase configure\ntwo €\nnot @garth phase here\n@garth phase check\nlast";
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), (sizes) => {
      const all = bytes(printed);
      const chunks: Uint8Array[] = [];
      for (let at = 0, i = 0; at < all.length; i++) {
        const size = sizes[i % sizes.length] ?? 1;
        chunks.push(all.subarray(at, at + size));
        at += size;
      }
      const { texts, phases } = writeLog(chunks);
      expect(texts.join("\n")).toBe(printed);
      expect(phases).toEqual(["configure", "check"]);
    }),
    { numRuns: 50 },
  );
});

test("the tail is the last lines, plain", () => {
  const { tail } = writeLog([
    bytes(Array.from({ length: 100 }, (_, i) => `line ${i}\n`).join("")),
    bytes("\u001B[31mred\u001B[0m\n"),
  ]);
  expect(tail).toHaveLength(TAIL_LINES);
  expect(tail.at(-1)).toBe("red");
  expect(tail.at(-2)).toBe("line 99");
});

describe("plain", () => {
  test("what a carriage return overwrote is gone; tabs and text stay", () => {
    expect(plain("10%\r50%\r100%\nnext\ttab\r\n\u001B]0;title\u0007end\u0000")).toBe("100%\nnext\ttab\nend");
  });
});
