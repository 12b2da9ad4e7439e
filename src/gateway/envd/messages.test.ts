import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import type { Channel } from "../../guest/index.ts";
import { RpcError } from "./codes.ts";
import { entryInfo, permissionsText, watchEvent } from "./filesystem-messages.ts";
import { resolvePath } from "./paths.ts";
import { dataEvent, endEvent, signalOf, startRequest, terminalSize } from "./process-messages.ts";
import { byteRange } from "./range.ts";
import { openTail } from "./tail.ts";

const exit = { code: 0, signal: undefined, lost: false };

describe("the end of a process, in the words of envd", () => {
  test.each([
    ["a success leaves its exit code out", exit, { exited: true, status: "exit status 0" }],
    ["a failure", { ...exit, code: 3 }, { exitCode: 3, exited: true, status: "exit status 3", error: "exit status 3" }],
    ["a signal", { ...exit, code: -1, signal: "SIGKILL" }, { exitCode: -1, status: "signal: killed", error: "signal: killed" }],
    [
      "another",
      { ...exit, code: -1, signal: "SIGSEGV" },
      { exitCode: -1, status: "signal: segmentation fault", error: "signal: segmentation fault" },
    ],
  ])("%s", (_name, how, end) => {
    expect(endEvent(how)).toEqual({ event: { end } });
  });
});

test("output is base64 under the name of its channel", () => {
  const bytes = new Uint8Array([0, 255, 10, 128]).subarray(1, 3);
  expect(dataEvent(bytes, "pty")).toEqual({ event: { data: { pty: "/wo=" } } });
});

describe("requests in the JSON of proto3", () => {
  const taken = (message: unknown) => startRequest.safeParse(message).success;

  test("fields that are absent, null or unknown are fine", () => {
    expect(taken({ process: { cmd: "true" } })).toBe(true);
    expect(
      taken({ process: { cmd: "true", args: null, envs: null, cwd: null, later: 1 }, pty: null, tag: null, stdin: null }),
    ).toBe(true);
  });

  test.each([
    ["no process", {}],
    ["no program", { process: { cmd: "" } }],
    ["a NUL in an argument", { process: { cmd: "true", args: ["a\0b"] } }],
    ["a NUL in a variable", { process: { cmd: "true", envs: { A: "\0" } } }],
    ["a name that is none", { process: { cmd: "true", envs: { "A=B": "1" } } }],
    ["an argument that is a number", { process: { cmd: "true", args: [1] } }],
    ["a list", []],
    ["nothing", null],
  ])("refused: %s", (_name, message) => {
    expect(taken(message)).toBe(false);
  });

  test("numbers may be text, and a size of nothing is the usual one", () => {
    const { pty } = startRequest.parse({ process: { cmd: "sh" }, pty: { size: { cols: "120", rows: 0 } } });
    expect(pty === null || pty === undefined ? undefined : terminalSize(pty)).toEqual({ columns: 120, rows: 24 });
  });

  test("signals by name and by number, and no others", () => {
    expect(signalOf("SIGNAL_SIGKILL")).toBe("SIGKILL");
    expect(signalOf(15)).toBe("SIGTERM");
    for (const signal of ["SIGNAL_UNSPECIFIED", "SIGKILL", 0, 2, undefined, "constructor"])
      expect(() => signalOf(signal)).toThrow(RpcError);
  });
});

describe("paths", () => {
  test.each([
    ["", "/home/user"],
    ["~", "/home/user"],
    ["~/a", "/home/user/a"],
    ["a/b/", "/home/user/a/b"],
    ["../other/x", "/home/other/x"],
    ["/tmp//x/./y/..", "/tmp/x"],
    ["../../../../etc/passwd", "/etc/passwd"],
    ["/", "/"],
    ["a~", "/home/user/a~"],
  ])("%j is %s", (path, absolute) => {
    expect(resolvePath(path, "/home/user")).toBe(absolute);
  });

  test.each(["a\0b", "\0", "~root/x", "~x"])("%j is refused", (path) => {
    expect(() => resolvePath(path, "/home/user")).toThrow(RpcError);
  });

  test("whatever is asked for, it is absolute and has no steps up in it", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom("..", ".", "", "a", "b c")), (parts) => {
        expect(resolvePath(parts.join("/"), "/home/user")).toMatch(/^\/$|^(\/(?!\.\.?(\/|$))[^/]+)+$/);
      }),
    );
  });
});

describe("entries", () => {
  const entry = {
    name: "a",
    path: "/d/a",
    kind: "file",
    sizeBytes: 5,
    mode: 0o644,
    owner: "user",
    group: "users",
    modifiedMs: 1_700_000_000_123,
    target: undefined,
  } as const;

  test("a file: its size is text", () => {
    expect(entryInfo(entry)).toEqual({
      name: "a",
      type: "FILE_TYPE_FILE",
      path: "/d/a",
      size: "5",
      mode: 0o644,
      permissions: "-rw-r--r--",
      owner: "user",
      group: "users",
      modifiedTime: "2023-11-14T22:13:20.123Z",
    });
  });

  test("what is zero is left out, and a device has no type", () => {
    expect(entryInfo({ ...entry, sizeBytes: 0, mode: 0, kind: "other" })).toEqual({
      name: "a",
      path: "/d/a",
      permissions: "----------",
      owner: "user",
      group: "users",
      modifiedTime: "2023-11-14T22:13:20.123Z",
    });
  });

  test("a link is of its target's type, and says where it leads", () => {
    expect(entryInfo({ ...entry, target: "../x/b" })).toMatchObject({
      type: "FILE_TYPE_FILE",
      permissions: "Lrwxrwxrwx",
      symlinkTarget: "/x/b",
    });
  });

  // As Go's fs.FileMode.String prints them.
  test.each([
    ["directory", 0o755, "drwxr-xr-x"],
    ["directory", 0o1777, "dtrwxrwxrwx"],
    ["file", 0o4755, "urwxr-xr-x"],
    ["file", 0o2750, "grwxr-x---"],
    ["file", 0o600, "-rw-------"],
  ] as const)("%s %o is %s", (kind, mode, text) => {
    expect(permissionsText({ kind, mode, target: undefined })).toBe(text);
  });

  test("an event, with and without its entry", () => {
    expect(watchEvent({ kind: "chmod", name: "a" }, undefined)).toEqual({ name: "a", type: "EVENT_TYPE_CHMOD" });
    expect(watchEvent({ kind: "create", name: "a" }, entry)).toMatchObject({ type: "EVENT_TYPE_CREATE", entry: { size: "5" } });
  });
});

test.each([
  [null, undefined],
  ["bytes=0-3", { from: 0, to: 4 }],
  ["bytes=4-", { from: 4, to: 10 }],
  ["bytes=-3", { from: 7, to: 10 }],
  ["bytes=-30", { from: 0, to: 10 }],
  ["bytes=8-100", { from: 8, to: 10 }],
  ["bytes=10-", "unsatisfiable"],
  ["bytes=-0", "unsatisfiable"],
  ["bytes=5-4", undefined],
  ["bytes=0-1,3-4", undefined],
  ["bytes=-", undefined],
  ["lines=1-2", undefined],
])("of ten bytes, Range: %s", (header, range) => {
  expect<unknown>(byteRange(header, 10)).toEqual(range);
});

test("a tail is the end of all that came, channel by channel", () => {
  const piece = fc.tuple(fc.uint8Array({ maxLength: 40 }), fc.constantFrom<Channel>("stdout", "stderr"));
  fc.assert(
    fc.property(fc.array(piece), fc.integer({ min: 1, max: 64 }), (pieces, maxBytes) => {
      const tail = openTail(maxBytes);
      for (const [chunk, channel] of pieces) tail.push(chunk, channel);
      const flat = (all: readonly (readonly [Uint8Array, Channel])[]) =>
        all.flatMap(([chunk, channel]) => [...chunk].map((byte) => `${channel} ${byte}`));
      const kept = flat(tail.pieces.map(({ chunk, channel }) => [chunk, channel]));
      expect(kept).toEqual(flat(pieces).slice(-maxBytes));
    }),
  );
});

test("a process that changes its channel at each byte does not fill the memory", () => {
  const tail = openTail(1024 * 1024);
  for (let count = 0; count < 20_000; count += 1) tail.push(Uint8Array.of(count & 255), count % 2 === 0 ? "stdout" : "stderr");
  expect(tail.pieces.length).toBeLessThanOrEqual(4096);
});
