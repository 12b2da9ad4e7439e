import { expect, test } from "bun:test";
import fc from "fast-check";
import { formatLine } from "./log.ts";

const AT = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

test("a line has its time, its level, its event, and facts that a shell's cut and a reader's eye can tell apart", () => {
  const facts = { machine: "micro-1", holder: undefined, text: "two words\nand a line", n: 3, empty: "" };
  expect(formatLine({ level: "info", event: "machine", facts }, AT, "text")).toBe(
    '2026-01-02T03:04:05.678Z info machine machine=micro-1 text="two words\\nand a line" n=3 empty=""',
  );
  expect(JSON.parse(formatLine({ level: "error", event: "fault", facts }, AT, "json"))).toEqual({
    time: "2026-01-02T03:04:05.678Z",
    level: "error",
    event: "fault",
    machine: "micro-1",
    text: "two words\nand a line",
    n: 3,
    empty: "",
  });
});

test("whatever a fact holds, it is one line of harmless characters", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: "binary", maxLength: 40 }),
      fc.constantFrom("text" as const, "json" as const),
      (text, format) => {
        const line = formatLine({ level: "info", event: "x", facts: { text } }, AT, format);
        return !line.includes("\n") && !line.includes("\u001b");
      },
    ),
  );
  expect(formatLine({ level: "info", event: "x", facts: { text: "y".repeat(5000) } }, AT, "text").length).toBeLessThan(2100);
});
