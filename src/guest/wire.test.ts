import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  decodeAttributes,
  decodeName,
  decodeReply,
  decodeStrings,
  decodeVersion,
  encodeAttributes,
  encodeName,
  encodeNumbers,
  encodeRequest,
} from "./sftp-wire.ts";
import { frame, framer, readerOf, string, u32, u64, u8 } from "./wire.ts";

describe("packets", () => {
  test("however a stream is cut, the same packets come out, and none of them twice", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 })), fc.array(fc.nat({ max: 30 })), (packets, cuts) => {
        const stream = Buffer.concat(packets.map((packet) => frame(packet)));
        const found: Uint8Array[] = [];
        const feed = framer(
          64,
          (packet) => found.push(packet),
          () => expect.unreachable(),
        );
        let at = 0;
        for (const cut of cuts) feed(stream.subarray(at, (at += cut)));
        feed(stream.subarray(at));
        expect(found.map((packet) => [...packet])).toEqual(packets.map((packet) => [...packet]));
      }),
    );
  });

  test("a length that nobody would send ends it", () => {
    let over = 0;
    const found: Uint8Array[] = [];
    const feed = framer(
      16,
      (packet) => found.push(packet),
      () => (over += 1),
    );
    feed(frame(Uint8Array.of(1, 2)));
    feed(Uint8Array.of(0, 0, 0));
    feed(Uint8Array.of(17, 1, 2, 3));
    feed(frame(Uint8Array.of(3)));
    expect([found.map((packet) => [...packet]), over]).toEqual([[[1, 2]], 1]);
  });

  test("numbers and strings", () => {
    // RFC 4251, 5: the examples of string and uint32.
    expect([...u32(699_921_578)]).toEqual([0x29, 0xb7, 0xf4, 0xaa]);
    expect([...string("testing")]).toEqual([0, 0, 0, 7, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]);
    const reader = readerOf(frame(u8(7), u64(2 ** 52 + 1), string("é"), u32(5)), 4);
    expect([reader.u8(), reader.u64(), reader.text(), reader.left, reader.u32()]).toEqual([7, 2 ** 52 + 1, "é", 4, 5]);
    expect(() => reader.u8()).toThrow(RangeError);
    expect(() => readerOf(Uint8Array.of(0, 0, 0, 9, 1)).bytes()).toThrow(RangeError);
  });
});

describe("SFTP", () => {
  test("names are the bytes they were, and text where they are text", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        expect([...encodeName(decodeName(bytes))]).toEqual([...bytes]);
      }),
    );
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        fc.pre(text.isWellFormed());
        expect(decodeName(Buffer.from(text))).toBe(text);
      }),
    );
    expect(decodeName(Uint8Array.of(0x61, 0xff, 0xc3, 0xa9, 0xe2, 0x82)).toWellFormed()).toBe("a\ufffdé\ufffd\ufffd");
    expect(decodeName(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61))).toBe("\ufeffa");
  });

  test("attributes", () => {
    const whole = {
      sizeBytes: fc.maxSafeNat(),
      uid: fc.nat({ max: 2 ** 32 - 1 }),
      gid: fc.nat({ max: 2 ** 32 - 1 }),
      mode: fc.nat({ max: 0o177777 }),
      accessedS: fc.nat({ max: 2 ** 32 - 1 }),
      modifiedS: fc.nat({ max: 2 ** 32 - 1 }),
    };
    const parts = fc.record(whole).chain((all) => {
      const { sizeBytes, uid, gid, mode, accessedS, modifiedS } = all;
      const groups = [{ sizeBytes }, { uid, gid }, { mode }, { accessedS, modifiedS }];
      return fc.subarray(groups).map((some): object => Object.assign({}, ...some));
    });
    fc.assert(
      fc.property(parts, (attributes) => {
        expect(decodeAttributes(readerOf(encodeAttributes(attributes)))).toEqual(attributes);
      }),
    );
    // What a later server may add is passed over.
    const more = frame(u32(0x80000004), u32(0o644), u32(1), string("name"), string("value")).subarray(4);
    expect(decodeAttributes(readerOf(more))).toEqual({ mode: 0o644 });
  });

  test("replies, and what is none", () => {
    const packet = (...parts: Uint8Array[]): Uint8Array => frame(...parts).subarray(4);
    const ends = packet(u8(101), u32(9), u32(1), string("EOF"), string("en"));
    expect(decodeReply(ends)).toEqual({ id: 9, reply: { kind: "status", status: 1, message: "EOF" } });
    const names = packet(u8(104), u32(2), u32(1), string("f"), string("-rw- f"), encodeAttributes({ sizeBytes: 3 }));
    const expected = { id: 2, reply: { kind: "names", names: [{ name: "f", attributes: { sizeBytes: 3 } }] } } as const;
    expect(decodeReply(names)).toEqual(expected);
    expect(() => decodeReply(packet(u8(200), u32(1)))).toThrow("type 200");
    for (let size = 0; size < names.byteLength; size += 1) expect(() => decodeReply(names.subarray(0, size))).toThrow();
    expect(decodeVersion(packet(u8(2), u32(3), string("fsync@openssh.com"), string("1")))).toEqual({
      version: 3,
      extensions: new Map([["fsync@openssh.com", "1"]]),
    });
    expect(decodeVersion(Buffer.from("Welcome to Debian"))).toBeUndefined();
    expect([...encodeRequest(12, 1, [string("h")])]).toEqual([0, 0, 0, 10, 12, 0, 0, 0, 1, 0, 0, 0, 1, 0x68]);
    expect([...encodeNumbers([1])]).toEqual([0, 0, 0, 4, 0, 0, 0, 1]);
    expect(decodeStrings(Buffer.concat([string("a"), string("")]))).toEqual(["a", ""]);
  });
});
