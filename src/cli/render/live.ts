/**
 * The live tree: collects events, draws at most ten times a second, and leaves the terminal as it was.
 *
 * Lines that should stay (a failure, a change of a lock, a stage that is done) are written above the tree and scroll away.
 */
import { EMPTY_TREE, reduce, type TimedEvent, type Tree } from "../../api/index.ts";
import type { BuildEvent } from "../../build/index.ts";
import { type Style, type Screen } from "../terminal.ts";
import { frame } from "./frame.ts";
import { plainLines } from "./plain.ts";
import { harmless, widthOf } from "./text.ts";

const FRAME_MS = 100;
const HIDE_CURSOR = "\u001b[?25l";
const SHOW_CURSOR = "\u001b[?25h";
const CLEAR_BELOW = "\u001b[J";

export interface LiveTerminal {
  readonly write: (text: string) => void;
  readonly screen: () => Screen;
  readonly now: () => number;
  readonly style: Style;
}

export interface Live {
  emit(event: BuildEvent): void;
  /** Draws now. */
  draw(): void;
  /** Erases the tree, lets `print` write to the same terminal, and draws it again below at the next turn. */
  around(print: () => void): void;
  /** Erases the tree and shows the cursor. Safe to call again. */
  close(): void;
}

/** Events whose plain lines are worth keeping when the tree is gone. */
const LASTING: ReadonlySet<BuildEvent["kind"]> = new Set([
  "alternative",
  "awaited",
  "checked",
  "failed",
  "fetch-failed",
  "kept",
  "limit",
  "moved",
  "world-changed",
] as const);

export function openLive(terminal: LiveTerminal): Live {
  const toLines = plainLines({ verbose: false });
  let tree: Tree = EMPTY_TREE;
  let pending: TimedEvent[] = [];
  let lasting: string[] = [];
  let drawn: readonly number[] = [];
  let shown = { text: "", columns: 0 };
  let closed = false;
  let started = false;

  // A terminal that got narrower since has wrapped what was drawn.
  const erase = () => {
    const { columns } = terminal.screen();
    const rows = drawn.reduce((sum, width) => sum + Math.max(1, Math.ceil(width / columns)), 0);
    return rows === 0 ? "" : `\r\u001b[${rows}A${CLEAR_BELOW}`;
  };
  const draw = () => {
    if (closed) return;
    tree = reduce(tree, pending);
    pending = [];
    const rows = frame(tree, terminal.now(), terminal.screen(), terminal.style);
    const text = [...lasting, ...rows].map((line) => `${line}\n`).join("");
    const { columns } = terminal.screen();
    // Most of ten frames a second are the same: the clock shows whole seconds.
    const same = lasting.length === 0 && text === shown.text && columns === shown.columns;
    lasting = [];
    if (same || (text === "" && drawn.length === 0)) return;
    shown = { text: rows.map((line) => `${line}\n`).join(""), columns };
    terminal.write(`${started ? "" : HIDE_CURSOR}${erase()}${text}`);
    started = true;
    drawn = rows.map((line) => widthOf(harmless(line)));
  };
  const timer = setInterval(draw, FRAME_MS);
  timer.unref();
  return {
    emit: (event) => {
      pending.push({ atMs: terminal.now(), event });
      const lines = toLines(event);
      if (LASTING.has(event.kind)) lasting.push(...lines);
    },
    draw,
    around: (print) => {
      const text = erase();
      drawn = [];
      shown = { text: "", columns: 0 };
      if (text !== "") terminal.write(text);
      print();
    },
    close: () => {
      if (closed) return;
      clearInterval(timer);
      closed = true;
      const text = lasting.map((line) => `${line}\n`).join("");
      if (started || text !== "") terminal.write(`${erase()}${text}${started ? SHOW_CURSOR : ""}`);
    },
  };
}
