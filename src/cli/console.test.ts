import { afterAll, describe, expect, test } from "bun:test";
import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { localHost } from "../host/index.ts";
import { consoleReader, formatStamp } from "../machine/index.ts";
import { consolePrinter, logOf } from "./console.ts";

const directory = mkdtempSync(join(tmpdir(), "garth-cli-console-"));
afterAll(() => rmSync(directory, { recursive: true }));

function printed(eager: boolean, chunks: readonly string[]): readonly string[] {
  const texts: string[] = [];
  const printer = consolePrinter({ reader: consoleReader(), stamp: formatStamp, eager, write: (text) => texts.push(text) });
  for (const [index, chunk] of chunks.entries()) printer.push(Buffer.from(chunk), index * 1000);
  printer.end();
  return texts.filter((text) => text !== "");
}

describe("a console", () => {
  const chunks = ["one\r\nlog", "in: ", "root\r\n# "];
  test("is printed a line at a time, with the time of its first character", () => {
    expect(printed(false, chunks)).toEqual(["00:00:00.000 one\n", "00:00:00.000 login: root\n", "00:00:02.000 # \n"]);
  });
  test("shows a prompt to somebody who waits for it, and comes to the same text", () => {
    const texts = printed(true, chunks);
    expect(texts).toEqual(["00:00:00.000 one\n", "00:00:00.000 log", "in: ", "root\n", "00:00:02.000 # ", "\n"]);
    expect(texts.join("")).toBe(printed(false, chunks).join(""));
  });
  test("shows a line that came out otherwise again", () => {
    expect(printed(true, ["abc", "\b\b\bxyz\r\n"]).join("")).toBe("00:00:00.000 abc\n00:00:00.000 xyz\n");
  });
});

describe("a log", () => {
  const host = localHost();
  const never = new AbortController().signal;
  const all = async (log: string, follow?: () => boolean, signal = never): Promise<string> => {
    let text = "";
    for await (const chunk of logOf(host, log, follow, signal)) text += Buffer.from(chunk).toString();
    return text;
  };

  test("is all that is there, the file before it first; and nothing where there is none", async () => {
    const log = join(directory, "whole.log");
    expect(await all(log)).toBe("");
    writeFileSync(`${log}.old`, "one\n");
    writeFileSync(log, "two\n");
    expect(await all(log)).toBe("one\ntwo\n");
  });
  test("is followed to the machine's end, also into a new file, and nothing comes twice", async () => {
    const log = join(directory, "growing.log");
    writeFileSync(log, "1\n");
    const steps = [
      () => appendFileSync(log, "2\n"),
      () => {
        appendFileSync(log, "3\n");
        renameSync(log, `${log}.old`);
        writeFileSync(log, "4\n");
      },
      () => appendFileSync(log, "5\n"),
    ];
    // What is written in the moment before the end is asked about is still read.
    const follow = (): boolean => {
      steps.shift()?.();
      return steps.length > 0;
    };
    expect(await all(log, follow)).toBe("1\n2\n3\n4\n5\n");
  });
  test("is followed no longer than the signal lets", async () => {
    const log = join(directory, "endless.log");
    writeFileSync(log, "still going\n");
    const controller = new AbortController();
    const follow = (): boolean => {
      controller.abort();
      return true;
    };
    expect(await all(log, follow, controller.signal)).toBe("still going\n");
  });
});
