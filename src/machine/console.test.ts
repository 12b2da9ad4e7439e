import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { boundedLog, type ConsoleLine, consoleReader, formatStamp, LINE_MAX } from "./console.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const latin1 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"));

/** Lines and what is unfinished, of chunks that come one millisecond after another. */
function read(...chunks: readonly (string | Uint8Array)[]): readonly string[] {
  const reader = consoleReader();
  const lines = chunks.flatMap((chunk, index) => reader.push(typeof chunk === "string" ? bytes(chunk) : chunk, index));
  return [...lines.map((line) => line.text), `<${reader.partial?.text ?? ""}>`];
}

describe("the reader", () => {
  test.each([
    ["line feeds", "one\ntwo\n\nthree", ["one", "two", "", "<three>"]],
    ["carriage returns before them, also two", "one\r\ntwo\r\r\n\r\n", ["one", "two", "", "<>"]],
    ["a progress bar", " 10%\r 20%\r100%\r\n", [" 10%", " 20%", "100%", "<>"]],
    ["a spinner that clears its line", "\r\x1b[K[*  ] wait\r\x1b[K[ * ] wait\r\n", ["[*  ] wait", "[ * ] wait", "<>"]],
    ["a prompt", "Debian\r\n\r\nlogin: ", ["Debian", "", "<login: >"]],
    ["colours", "\x1b[0;32m[  OK  ]\x1b[0m done\n", ["[  OK  ] done", "<>"]],
    ["titles, ended both ways", "\x1b]0;a title\x07one\n\x1b]0;a title\x1b\\two\n", ["one", "two", "<>"]],
    ["a title that another sequence ends", "\x1b]0;a title\x1b[1mone\n", ["one", "<>"]],
    ["device control strings", "\x1bP+q544e\x1b\\one\n", ["one", "<>"]],
    ["character sets and keypads", "\x1b(B\x1b)0\x1b=\x1b>\x1b7\x1b8one\x1bc\n", ["one", "<>"]],
    ["private modes and intermediates", "\x1b[?25l\x1b[2 q\x1b[>c\x1b#8one\n", ["one", "<>"]],
    ["a sequence that the end of a line cuts", "\x1b[12\none\x1b]0;title\r\ntwo\x1b\n", ["", "one", "two", "<>"]],
    ["a sequence that is called off", "\x1b[12\x18one\x1b[3\x1atwo\n", ["onetwo", "<>"]],
    ["a sequence within a sequence", "\x1b[12\x1b[1mone\n", ["one", "<>"]],
    ["what is no sequence", "\x1b\u00e9one\x1b[1\u00e9two\n", ["\u00e9one\u00e9two", "<>"]],
    ["other controls", "\x00a\x07b\x0bc\x0cd\x7fe\u0085f\u009bg\n", ["abcdefg", "<>"]],
    ["tabs", "a\tb\n", ["a\tb", "<>"]],
    ["backspace", "passwf\bord\b \b\b\u{1f600}\b!\n\b\bx\n", ["passwo!", "x", "<>"]],
    ["backspace at the beginning of the line", "abc\r\bxyz\n", ["abc", "xyz", "<>"]],
    ["a byte order mark is a character", "\ufeffone\n", ["\ufeffone", "<>"]],
  ])("%s", (_name, text, lines) => {
    expect(read(text)).toEqual(lines);
  });

  test("what is not UTF-8 is shown as such, and hides nothing", () => {
    expect(read(latin1("a\xffb\xe2\x82\nc\xe2"))).toEqual(["a\ufffdb\ufffd", "<c>"]);
    const reader = consoleReader();
    reader.push(latin1("c\xe2"), 0);
    expect(reader.end().map((line) => line.text)).toEqual(["c\ufffd"]);
    expect(reader.end()).toEqual([]);
  });

  test("a line has the time of its first character and of its end", () => {
    const reader = consoleReader();
    const lines: ConsoleLine[] = [];
    for (const [text, atMs] of [
      ["\x1b[0m", 10],
      ["boo", 20],
      ["ting\r", 30],
      ["\n", 40],
      ["\n", 50],
      ["10%\r", 60],
      ["20%", 70],
    ] as const)
      lines.push(...reader.push(bytes(text), atMs));
    expect(reader.partial).toEqual({ atMs: 70, endedAtMs: 70, text: "20%" });
    expect([...lines, ...reader.end()]).toEqual([
      { atMs: 20, endedAtMs: 40, text: "booting" },
      { atMs: 50, endedAtMs: 50, text: "" },
      { atMs: 60, endedAtMs: 60, text: "10%" },
      { atMs: 70, endedAtMs: 70, text: "20%" },
    ]);
  });

  test("a line without end is broken, never within a character", () => {
    const whole = "x".repeat(LINE_MAX);
    expect(read(`${whole}\n`)).toEqual([whole, "<>"]);
    expect(read(`${whole}y\n`)).toEqual([whole, "y", "<>"]);
    expect(read(`${whole.slice(1)}\u{1f600}y`)).toEqual([whole.slice(1), "<\u{1f600}y>"]);
    expect(read(whole.repeat(3))).toEqual([whole, whole, `<${whole}>`]);
  });

  test("a sequence without end hides a bounded part", () => {
    const [line] = read(`\x1b]${"x".repeat(10_000)}\n`);
    expect(line?.length).toBeGreaterThan(5_000);
    const [pairs] = read(`\x1b]x${"\u{1f600}".repeat(5_000)}\n`);
    expect(pairs?.isWellFormed()).toBe(true);
    expect(pairs?.length).toBeGreaterThan(5_000);
  });

  const piece = fc.oneof(
    fc.string({ unit: "grapheme" }).map(bytes),
    fc.constantFrom("\r\n", "\n", "\r", "\b", "\t", "\x1b", "\x1b[", "\x1b]0;t", "\x1b\\", "\x07", "\x18").map(bytes),
    fc.constantFrom("\x1b[1;31m", "\x1b[K", "\x1b(B", "\x1b]0;title\x07", "[0m", "\u{1f600}", "\u009b").map(bytes),
    fc.uint8Array({ maxLength: 6 }),
    fc.constantFrom(LINE_MAX - 3, LINE_MAX, 5_000).map((length) => bytes("z".repeat(length))),
  );

  test("any split of the bytes gives the same lines", () => {
    fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 20 }).map((pieces) => new Uint8Array(Buffer.concat(pieces))),
        fc.array(fc.nat(), { maxLength: 30 }),
        (all, cuts) => {
          const places = [0, ...cuts.map((cut) => cut % (all.length + 1)), all.length].toSorted((a, b) => a - b);
          const split = places.slice(1).map((place, index) => all.subarray(places[index], place));
          const whole = read(all);
          expect(read(...split)).toEqual(whole);
          if (all.length < 300) expect(read(...[...all].map((byte) => Uint8Array.of(byte)))).toEqual(whole);
        },
      ),
      { numRuns: 400 },
    );
  });

  test("text with well-formed sequences is what the runtime's own reader leaves of it", () => {
    const sequence = fc.oneof(
      fc
        .tuple(fc.array(fc.nat({ max: 255 }), { maxLength: 4 }), fc.constantFrom(..."ABCDHJKSTfhlmnsu"))
        .map(([numbers, final]) => `\x1b[${numbers.join(";")}${final}`),
      fc.constantFrom("\x1b]0;a title\x07", "\x1b]8;;http://localhost/\x1b\\"),
    );
    const text = fc.string({ unit: "grapheme-ascii" }).filter((run) => !run.includes("\x7f"));
    fc.assert(
      fc.property(fc.array(fc.oneof(text, sequence)), (parts) => {
        const printed = parts.join("");
        expect(read(printed)).toEqual([`<${Bun.stripANSI(printed)}>`]);
      }),
    );
  });
});

test("stamps", () => {
  expect([0, 999.9, 61_001, 3_600_000 * 123 + 59_999].map(formatStamp)).toEqual([
    "00:00:00.000",
    "00:00:00.999",
    "00:01:01.001",
    "123:00:59.999",
  ]);
});

describe("the bounded log", () => {
  test("keeps both ends and says what is left out", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 20 })),
        fc.nat({ max: 30 }),
        fc.nat({ max: 30 }),
        (chunks, headBytes, tailBytes) => {
          const all = Buffer.concat(chunks);
          const log = boundedLog({ headBytes, tailBytes });
          for (const chunk of chunks) log.add(chunk);
          expect(log.totalBytes).toBe(all.length);
          const leftOut = all.length - headBytes - tailBytes;
          const kept = Buffer.from(log.bytes());
          if (leftOut <= 0) return expect(kept.equals(all)).toBe(true);
          const between = `\n[garth: ${leftOut} bytes (${leftOut} B) are left out here]\n`;
          const meant = Buffer.concat([all.subarray(0, headBytes), Buffer.from(between), all.subarray(all.length - tailBytes)]);
          expect(kept.toString("latin1")).toBe(meant.toString("latin1"));
        },
      ),
    );
  });

  test("does not hold on to a chunk that is used again", () => {
    const log = boundedLog({ headBytes: 2, tailBytes: 2 });
    const chunk = bytes("abcd");
    log.add(chunk);
    chunk.fill(0);
    expect(Buffer.from(log.bytes()).toString()).toBe("abcd");
  });
});
