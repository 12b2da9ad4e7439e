import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { Problem } from "../base/index.ts";
import { decodeNar, encodeNar, type NarNode } from "./nar.ts";
import { readNar } from "./nar-read.ts";

const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "latin1"));
const plain = (text: string): NarNode => ({ type: "regular", executable: false, contents: bytes(text) });

const nameBytes = fc
  .uint8Array({ minLength: 1, maxLength: 20 })
  .map((name) => name.map((byte) => (byte === 0 || byte === 0x2f ? 0x78 : byte)))
  .filter((name) => ![".", ".."].includes(Buffer.from(name).toString("latin1")));

const { node: anyNode } = fc.letrec<{ node: NarNode }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 4 },
    fc.record({ type: fc.constant("regular" as const), executable: fc.boolean(), contents: fc.uint8Array({ maxLength: 40 }) }),
    fc.record({ type: fc.constant("symlink" as const), target: nameBytes }),
    fc
      .uniqueArray(fc.record({ name: nameBytes, node: tie("node") }), {
        maxLength: 5,
        selector: ({ name }) => Buffer.from(name).toString("latin1"),
      })
      .map((entries) => ({ type: "directory" as const, entries: entries.toSorted((a, b) => Buffer.compare(a.name, b.name)) })),
  ),
}));

/** Buffers and typed arrays compare by their bytes. */
function plainly(node: NarNode): unknown {
  switch (node.type) {
    case "regular":
      return { ...node, contents: Buffer.from(node.contents).toString("hex") };
    case "symlink":
      return { ...node, target: Buffer.from(node.target).toString("hex") };
    case "directory":
      return { ...node, entries: node.entries.map(({ name, node }) => [Buffer.from(name).toString("hex"), plainly(node)]) };
  }
}

function refused(archive: Uint8Array): string {
  try {
    decodeNar(archive);
  } catch (error) {
    if (error instanceof Problem && error.code === "E_BAD_NAR") return error.message;
    throw error;
  }
  throw new Error("the archive was accepted");
}

/** Puts one byte string in the place of another of the same length. */
function swapped(archive: Uint8Array, from: string, to: string): Uint8Array {
  expect(from.length).toBe(to.length);
  const text = Buffer.from(archive).toString("latin1");
  expect(text).toContain(from);
  return bytes(text.replace(from, to));
}

describe("NAR", () => {
  test("an empty file is these bytes", () => {
    const word = (text: string): string => {
      const length = Buffer.alloc(8);
      length.writeUInt8(text.length);
      return length.toString("latin1") + text.padEnd(Math.ceil(text.length / 8) * 8, "\0");
    };
    const expected = ["nix-archive-1", "(", "type", "regular", "contents", "", ")"].map(word).join("");
    expect(Buffer.from(encodeNar(plain(""))).toString("latin1")).toBe(expected);
  });

  test("what is written is read back", () => {
    fc.assert(fc.property(anyNode, (node) => expect(plainly(decodeNar(encodeNar(node)))).toEqual(plainly(node))));
  });

  test("how the bytes are cut into chunks makes no difference", () => {
    fc.assert(
      fc.property(anyNode, fc.integer({ min: 1, max: 13 }), (node, size) => {
        const archive = encodeNar(node);
        const chunks: Uint8Array[] = [];
        for (let at = 0; at < archive.length; at += size) chunks.push(archive.subarray(at, at + size));
        const told = (parts: Iterable<Uint8Array>): string => {
          let text = "";
          for (const event of readNar(parts)) {
            if (event.type === "contents") text += Buffer.from(event.bytes).toString("hex");
            else text += `<${JSON.stringify(event)}>`;
          }
          return text;
        };
        expect(told(chunks)).toBe(told([archive]));
      }),
    );
  });

  test("every truncation is refused", () => {
    const archive = encodeNar({ type: "directory", entries: [{ name: bytes("a"), node: plain("hello") }] });
    for (let length = 0; length < archive.length; length += 1)
      expect(refused(archive.subarray(0, length))).toContain("truncated");
  });

  test("a changed archive is refused or says something else, and never breaks the reader", () => {
    fc.assert(
      fc.property(anyNode, fc.nat(), fc.integer({ min: 1, max: 255 }), (node, at, mask) => {
        const archive = encodeNar(node);
        const changed = Uint8Array.from(archive);
        changed[at % archive.length] = (changed[at % archive.length] ?? 0) ^ mask;
        try {
          expect(Buffer.from(encodeNar(decodeNar(changed))).equals(Buffer.from(changed))).toBeTrue();
        } catch (error) {
          expect(error).toBeInstanceOf(Problem);
        }
      }),
    );
  });

  test("bytes after the end, padding, and lengths that cannot be", () => {
    const archive = encodeNar(plain("hello"));
    expect(refused(Buffer.concat([archive, Buffer.alloc(8)]))).toContain("more after the end");
    expect(refused(swapped(archive, "hello\0\0\0", "hello\0\0x"))).toContain("padding");
    expect(refused(swapped(archive, "\x05\0\0\0\0\0\0\0hello", "\x05\0\0\0\0\0\0\xffhello"))).toContain("impossible length");
    expect(refused(swapped(archive, "\x07\0\0\0\0\0\0\0regular", "\xff\xff\0\0\0\0\0\0regular"))).toContain("65535");
    expect(refused(swapped(archive, "regular", "irregul"))).toContain("unknown type");
  });

  test.each([
    ["a/", "slash"],
    ["a\0", "zero byte"],
    ["..", "'.' or '..'"],
  ])("the name %j is refused", (name, reason) => {
    const archive = encodeNar({ type: "directory", entries: [{ name: bytes("ab"), node: plain("") }] });
    expect(refused(swapped(archive, "ab\0", `${name}\0`))).toContain(reason);
  });

  test("'..', an empty name, a name twice and names out of order are refused", () => {
    const two = encodeNar({
      type: "directory",
      entries: [
        { name: bytes("aa"), node: plain("") },
        { name: bytes("ab"), node: plain("") },
      ],
    });
    expect(refused(swapped(two, "ab\0", "aa\0"))).toContain("twice or out of order");
    expect(refused(swapped(two, "aa\0", "zz\0"))).toContain("twice or out of order");
    expect(refused(swapped(two, "aa\0", "..\0"))).toContain("'.' or '..'");
    const one = { type: "directory", entries: [{ name: bytes(""), node: plain("") }] } as const;
    expect(() => encodeNar(one)).toThrow("is empty");
  });
});
