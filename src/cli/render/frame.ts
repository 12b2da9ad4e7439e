/**
 * One picture of the tree: what is going on, below what it is for, and one line of totals. Pure.
 *
 *     hello-2.10
 *     └─ ● zlib-1.3.1  check  12s of ~20s  test_compress ok
 *     3 built, 1 present, 1 running, 1 waiting; about 15s left
 *
 * Only branches that lead to something active or failed are drawn; a step that several need is drawn once.
 */
import { isActive, remainingMs, type StepState, totals, type Tree, type TreeStep } from "../../api/index.ts";
import { formatDuration } from "../../base/index.ts";
import type { Screen, Style } from "../terminal.ts";
import { fit, harmless } from "./text.ts";

const MARKS: Readonly<Record<StepState, readonly [unicode: string, ascii: string, colour: number]>> = {
  waiting: ["◌", ".", 2],
  present: ["✓", "+", 32],
  fetching: ["↓", "v", 36],
  preparing: ["↓", "v", 36],
  locked: ["…", ":", 33],
  building: ["●", "*", 33],
  registering: ["●", "*", 33],
  probing: ["●", "*", 33],
  built: ["✓", "+", 32],
  failed: ["✗", "x", 31],
  cancelled: ["✗", "x", 31],
};

const DOING: Partial<Readonly<Record<StepState, string>>> = {
  locked: "waiting",
  preparing: "preparing",
  fetching: "fetching",
  registering: "registering",
  probing: "trying it out",
};

export interface Paint {
  (text: string, colour: number): string;
}

export function painter(style: Style): Paint {
  return style.colour ? (text, colour) => `\u001b[${colour}m${text}\u001b[0m` : (text) => text;
}

interface Line {
  readonly prefix: string;
  readonly step: TreeStep;
}

interface Branch {
  readonly step: TreeStep;
  readonly below: readonly Branch[];
}

/** Depth first from the steps nobody needs; branches without anything to see are left out. */
function lines(tree: Tree, style: Style): readonly Line[] {
  const needed = new Set<string>();
  for (const step of tree.steps.values()) for (const input of step.inputs) needed.add(input);
  const worth = new Map<string, boolean>();
  const isWorth = (key: string): boolean => {
    const known = worth.get(key);
    if (known !== undefined) return known;
    worth.set(key, false);
    const step = tree.steps.get(key);
    const here = step !== undefined && (isActive(step) || step.state === "failed" || step.inputs.some(isWorth));
    worth.set(key, here);
    return here;
  };
  const drawn = new Set<string>();
  const branch = (key: string): Branch | undefined => {
    const step = tree.steps.get(key);
    if (step === undefined || drawn.has(key) || !isWorth(key)) return undefined;
    drawn.add(key);
    return { step, below: step.inputs.map(branch).filter((one) => one !== undefined) };
  };
  const [tee, corner, bar, gap] = style.unicode ? ["├─ ", "└─ ", "│  ", "   "] : ["|- ", "`- ", "|  ", "   "];
  const found: Line[] = [];
  const draw = ({ step, below }: Branch, prefix: string, indent: string): void => {
    found.push({ prefix, step });
    for (const [index, one] of below.entries()) {
      const last = index === below.length - 1;
      draw(one, indent + (last ? corner : tee), indent + (last ? gap : bar));
    }
  };
  for (const step of tree.steps.values()) {
    const root = needed.has(step.key) ? undefined : branch(step.key);
    if (root !== undefined) draw(root, "", "");
  }
  return found;
}

/** Whole seconds: a digit that changes ten times a second only flickers. */
function seconds(ms: number): string {
  const whole = Math.floor(Math.max(0, ms) / 1000);
  return whole < 60 ? `${whole}s` : formatDuration(whole * 1000);
}

function clockOf(step: TreeStep, nowMs: number): string {
  if (step.sinceMs === undefined) return "";
  const elapsed = seconds(nowMs - step.sinceMs);
  return step.expectedMs === undefined || step.state === "fetching" || step.state === "preparing"
    ? elapsed
    : `${elapsed} of ~${seconds(step.expectedMs)}`;
}

function drawLine(line: Line, nowMs: number, columns: number, style: Style, paint: Paint): string {
  const { step, prefix } = line;
  const [unicode, ascii, colour] = MARKS[step.state];
  const head = `${prefix}${style.unicode ? unicode : ascii} ${step.label}`;
  const tail = [DOING[step.state], step.detail, clockOf(step, nowMs), step.lastLine]
    .filter((part) => part !== undefined && part !== "")
    .map((part) => harmless(part ?? ""));
  const ellipsis = style.unicode ? "…" : "...";
  const shown = fit([head, ...tail].join("  "), columns, ellipsis);
  if (!shown.startsWith(head)) return shown;
  const mark = head.slice(prefix.length, prefix.length + 1);
  return `${prefix}${paint(mark, colour)}${head.slice(prefix.length + 1)}${paint(shown.slice(head.length), 2)}`;
}

function totalsLine(tree: Tree, nowMs: number): string {
  const count = totals(tree);
  const parts = [
    [count.done, "built"],
    [count.present, "present"],
    [count.active, "running"],
    [count.waiting, "waiting"],
    [count.failed, "failed"],
  ] as const;
  const shown = parts.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`);
  const left = remainingMs(tree, nowMs);
  const estimate = left === undefined || left < 1000 ? "" : `; about ${seconds(left)} left`;
  return `${shown.join(", ")}${estimate}`;
}

/** Lines to draw; never more than the screen has rows, less one for the cursor. */
export function frame(tree: Tree, nowMs: number, screen: Screen, style: Style): readonly string[] {
  if (tree.steps.size === 0) return [];
  const paint = painter(style);
  const all = lines(tree, style);
  const room = Math.max(1, screen.rows - 2);
  // Where not all fits, what is active matters more than what it is for.
  const chosen = all.length <= room ? all : all.filter((line) => isActive(line.step)).slice(0, room);
  // The last column stays free: many terminals wrap once it is written.
  const columns = Math.max(1, screen.columns - 1);
  return [
    ...chosen.map((line) => drawLine(line, nowMs, columns, style, paint)),
    paint(fit(totalsLine(tree, nowMs), columns, style.unicode ? "…" : "..."), 1),
  ];
}
