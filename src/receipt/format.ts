/**
 * The text of a receipt: `key=value` lines, in the order the stage gives them.
 *
 * A value is one line. A newline in it becomes `\n` and a backslash `\\`, so that `grep ^key=` always shows the whole value and
 * reading gives back what was written.
 */
import { Problem } from "../base/index.ts";

/** Keys in the order given, which scripts may rely on; values are plain text, lists separated by one space. */
export type ReceiptFields = Readonly<Record<string, string>>;

const KEY = /^[a-z][a-z0-9_]*$/;

export function renderReceipt(fields: ReceiptFields): string {
  return Object.entries(fields)
    .map(([key, value]) => {
      if (!KEY.test(key)) throw new Error(`${JSON.stringify(key)} is not a receipt key`);
      return `${key}=${value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\r", "\\r")}\n`;
    })
    .join("");
}

const ESCAPES: Readonly<Record<string, string>> = { "\\\\": "\\", "\\n": "\n", "\\r": "\r" };

/** @throws Problem E_RECEIPT_INVALID with the line number */
export function parseReceipt(text: string, where: string): ReceiptFields {
  const fields: Record<string, string> = {};
  for (const [index, line] of text.split("\n").entries()) {
    if (line === "") continue;
    const equals = line.indexOf("=");
    const key = line.slice(0, Math.max(equals, 0));
    if (!KEY.test(key) || key in fields) {
      throw new Problem({
        code: "E_RECEIPT_INVALID",
        message: `reading a receipt: line ${index + 1} is not a new key=value`,
        where: `${where}:${index + 1}`,
        exit: 2,
      });
    }
    fields[key] = line.slice(equals + 1).replaceAll(/\\[\\nr]/g, (pair) => ESCAPES[pair] ?? pair);
  }
  return fields;
}
