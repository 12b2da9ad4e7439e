import { expect, test } from "bun:test";
import { join } from "node:path";
import { EMPTY_TREE, reduce } from "../../api/index.ts";
import { storePath } from "../../base/index.ts";
import { golden } from "../../base/testing.ts";
import type { BuildEvent } from "../../build/index.ts";
import { frame } from "./frame.ts";
import { openLive } from "./live.ts";
import { plainLines } from "./plain.ts";
import { fit, harmless, table, widthOf } from "./text.ts";

const out = storePath({ kind: "flat", sha256: "0".repeat(64), references: [] }, "zlib-1.3.1");
const style = { colour: false, unicode: true };

const story: readonly BuildEvent[] = [
  {
    kind: "graph",
    steps: [
      { key: "k-zlib", label: "zlib-1.3.1", inputs: [], expectedMs: 20_000 },
      { key: "k-png", label: "libpng-1.6", inputs: ["k-zlib"], expectedMs: 8000 },
      { key: "k-old", label: "old-1", inputs: [], expectedMs: 1000 },
      { key: "k-view", label: "viewer-2.0", inputs: ["k-png", "k-zlib", "k-old"], expectedMs: 4000 },
    ],
  },
  { kind: "present", key: "k-old", out },
  { kind: "world-started", key: "w", name: "bookworm", packages: 120 },
  { kind: "world-changed", key: "w", lines: ["libc6 2.36-9 -> 2.36-10"] },
  { kind: "world-finished", key: "w", path: out },
  { kind: "fetch-started", key: "k-zlib", what: "zlib.tar.gz", from: "https://one.example/" },
  { kind: "fetch-failed", key: "k-zlib", from: "https://one.example/", reason: "404" },
  { kind: "fetch-started", key: "k-zlib", what: "zlib.tar.gz", from: "https://two.example/" },
  { kind: "fetch-finished", key: "k-zlib", path: out, from: "https://two.example/" },
  { kind: "started", key: "k-zlib", drv: out, expectedMs: 20_000 },
  {
    kind: "output",
    key: "k-zlib",
    text: "checking for gcc...\n\u001b[31mred\u001b[0m \u0007and a very long line of a compiler that does not fit anywhere at all",
  },
  { kind: "phase", key: "k-zlib", phase: "check" },
  { kind: "fetch-started", key: "k-png", what: "png.tar.gz", from: "https://png.example/" },
  { kind: "built", key: "k-zlib", out, durationMs: 18_000 },
  { kind: "limit", key: "k-png", limit: "wallClockMs", value: 1000 },
  { kind: "failed", key: "k-png", code: "E_LIMIT", message: "the build ran longer than 1s" },
  { kind: "kept", key: "k-png", directory: "/tmp/kept", enter: "sh /tmp/kept/enter.sh" },
  { kind: "cancelled", key: "k-view" },
  {
    kind: "alternative",
    key: "k-png",
    took: "libpng-1.6",
    insteadOf: ["libpng-1.7"],
    reasons: ["libpng-1.7: https://one.example/: 404"],
    remembered: false,
  },
  {
    kind: "alternative",
    key: "k-old",
    took: "old-1",
    insteadOf: ["old-2"],
    reasons: ["old-2: https://one.example/: 404", "old-2: https://two.example/: refused"],
    remembered: true,
  },
];

/** A step whose host goes away, and which comes back to the one that is left. */
const moving: readonly BuildEvent[] = [
  { kind: "graph", steps: [{ key: "k-zlib", label: "zlib-1.3.1", inputs: [], expectedMs: 20_000 }] },
  { kind: "started", key: "k-zlib", drv: out, expectedMs: 20_000, on: "far" },
  { kind: "phase", key: "k-zlib", phase: "check" },
  { kind: "moved", key: "k-zlib", from: "far", to: undefined, code: "E_HOST_LOST", reason: "its connection \u001b[31mended" },
  { kind: "started", key: "k-zlib", drv: out, expectedMs: undefined },
  { kind: "awaited", key: "k-zlib", host: "far", reason: "it was lost", upToMs: 120_000 },
  { kind: "kept", key: "k-zlib", directory: "far:/x", enter: undefined },
];

const matches = (name: string, text: string) => expect(text).toBe(golden(join(import.meta.dir, "golden", name), text));

test("plain lines", () => {
  for (const verbose of [false, true]) {
    const lines = plainLines({ verbose });
    matches(verbose ? "plain-verbose.txt" : "plain.txt", `${story.flatMap((event) => lines(event)).join("\n")}\n`);
  }
});

test("a step that moves from host to host", () => {
  const lines = moving.flatMap((event) => plainLines({ verbose: false })(event));
  expect(lines).toEqual([
    "build    k-zlib on far (about 20s)",
    "moved    k-zlib from far to this machine: E_HOST_LOST: its connection ended",
    "build    k-zlib",
    "awaits   k-zlib: far, for up to 2m00s: it was lost",
    "kept     k-zlib: far:/x",
  ]);
  const drawn = moving.flatMap((_, index) => {
    const events = moving.slice(0, index + 1).map((event) => ({ atMs: 0, event }));
    return frame(reduce(EMPTY_TREE, events), 0, { columns: 80, rows: 24 }, style);
  });
  matches("tree-moving.txt", `${drawn.join("\n")}\n`);
});

test("the tree after each event, at 80 and at 40 columns", () => {
  for (const columns of [80, 40]) {
    let tree = EMPTY_TREE;
    let text = "";
    for (const [index, event] of story.entries()) {
      tree = reduce(tree, [{ atMs: index * 1000, event }]);
      const drawn = frame(tree, index * 1000 + 400, { columns, rows: 24 }, style);
      for (const line of drawn) expect(widthOf(line)).toBeLessThan(columns);
      text += `-- ${event.kind}\n${drawn.map((line) => `${line}\n`).join("")}`;
    }
    matches(`tree-${columns}.txt`, text);
  }
});

test("on a low screen only what is active is drawn, and never more than fits", () => {
  const steps = Array.from({ length: 40 }, (_, index) => ({
    key: `k${index}`,
    label: `step-${index}`,
    inputs: [],
    expectedMs: undefined,
  }));
  const events: readonly BuildEvent[] = [
    { kind: "graph", steps },
    ...steps.map((step) => ({ kind: "started", key: step.key, drv: out, expectedMs: undefined }) as const),
  ];
  const tree = reduce(
    EMPTY_TREE,
    events.map((event) => ({ atMs: 0, event })),
  );
  expect(frame(tree, 0, { columns: 80, rows: 10 }, style)).toHaveLength(9);
});

test("colours and plain ASCII by the style", () => {
  const tree = reduce(
    EMPTY_TREE,
    story.slice(0, 10).map((event) => ({ atMs: 0, event })),
  );
  const ascii = frame(tree, 0, { columns: 80, rows: 24 }, { colour: false, unicode: false }).join("\n");
  expect(ascii).toMatch(/^[\x20-\x7e\n]*$/);
  const coloured = frame(tree, 0, { columns: 80, rows: 24 }, { colour: true, unicode: false }).join("\n");
  expect(coloured).toContain("\u001b[33m*\u001b[0m zlib-1.3.1");
  expect(harmless(coloured.replaceAll("\n", ""))).toBe(ascii.replaceAll("\n", ""));
});

test("the live tree erases what it drew, keeps what should last, and gives the cursor back once", () => {
  let written = "";
  let columns = 80;
  const live = openLive({ write: (text) => (written += text), screen: () => ({ columns, rows: 24 }), now: () => 0, style });
  for (const event of story.slice(0, 10)) live.emit(event);
  live.draw();
  expect(written).toStartWith("\u001b[?25l");
  expect(written).toContain("404");
  const rows = written.split("\n").length - 1;
  expect(rows).toBe(2 + 4);
  written = "";
  live.draw();
  expect(written).toBe("");
  live.around(() => (written += "in between\n"));
  expect(written).toBe("\r\u001b[4A\u001b[Jin between\n");
  live.draw();
  expect(written.split("\n")).toHaveLength(1 + 1 + 4);
  for (const event of story.slice(10, 12)) live.emit(event);
  written = "";
  live.draw();
  expect(written).toStartWith("\r\u001b[4A\u001b[J");
  // A terminal of 20 columns has wrapped the tree; all of it is erased.
  columns = 20;
  written = "";
  live.close();
  const up = Number(written.slice("\r\u001b[".length, written.indexOf("A")));
  expect(up).toBeGreaterThan(4);
  expect(written).toEndWith("\u001b[?25h");
  written = "";
  live.close();
  live.draw();
  expect(written).toBe("");
});

test("text that does not fit is cut between characters", () => {
  expect(fit("abcdef", 6, "…")).toBe("abcdef");
  expect(fit("abcdefg", 6, "…")).toBe("abcde…");
  expect(fit("日本語日本語", 6, "…")).toBe("日本…");
  expect(fit("abc", 0, "…")).toBe("");
  expect(harmless("a\u001b[2Jb\u001b]0;title\u0007c\td\r\u0000")).toBe("abc d");
});

test("a table aligns by what is seen", () => {
  expect(
    table(
      [
        ["a", "1", "x"],
        ["日本", "200", ""],
      ],
      [1],
    ),
  ).toBe("a       1  x\n日本  200");
});
