import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import fc from "fast-check";
import { Problem } from "../base/index.ts";
import { localHost } from "../host/index.ts";
import { openReceipts, parseReceipt, renderReceipt, writeReceiptFile } from "./index.ts";

const host = localHost();
let directory = "";
beforeAll(() => {
  directory = mkdtempSync(`${tmpdir()}/garth-receipt-`);
});
afterAll(() => host.files.removeTree(directory));

const key = fc.stringMatching(/^[a-z][a-z0-9_]{0,12}$/);

test("what was written is read back, whatever the value", () => {
  fc.assert(
    fc.property(fc.dictionary(key, fc.string({ unit: "grapheme" }), { noNullPrototype: true }), (fields) => {
      const text = renderReceipt(fields);
      expect(parseReceipt(text, "memory")).toEqual(fields);
      expect(text.split("\n").length).toBe(Object.keys(fields).length + 1);
    }),
  );
});

test("a damaged receipt names the line", () => {
  const failure = (text: string) => {
    try {
      parseReceipt(text, "r.txt");
    } catch (error) {
      if (error instanceof Problem) return error.where;
    }
    return "accepted";
  };
  expect(failure("a=1\nno equals sign\n")).toBe("r.txt:2");
  expect(failure("a=1\na=2\n")).toBe("r.txt:2");
});

test("the file and its JSON say the same", () => {
  writeReceiptFile(host, `${directory}/r.txt`, { out_path: "/frx/store/x", runtime_output: "two\nlines" });
  expect(readFileSync(`${directory}/r.txt`, "utf8")).toBe("out_path=/frx/store/x\nruntime_output=two\\nlines\n");
  expect(JSON.parse(readFileSync(`${directory}/r.txt.json`, "utf8"))).toEqual({
    out_path: "/frx/store/x",
    runtime_output: "two\nlines",
  });
});

test("receipts are kept by content, listed, and shown by the beginning of a name", () => {
  const receipts = openReceipts(host, `${directory}/receipts`);
  expect(receipts.list()).toEqual([]);
  const first = receipts.keep("build", "hello-2.10", { out_path: "a" });
  const again = receipts.keep("build", "hello-2.10", { out_path: "a" });
  const other = receipts.keep("package", "hello-2.10", { pkg_path: "b" });
  expect(again).toBe(first);
  expect(
    receipts
      .list()
      .map((receipt) => receipt.name)
      .toSorted(),
  ).toEqual([first, other].toSorted());
  expect(receipts.show("build-").fields).toEqual({ out_path: "a" });
  expect(receipts.show(other).subject).toBe("hello-2.10");
  expect(() => receipts.show("nothing")).toThrow("no receipt");
  receipts.keep("build", "hello-2.10", { out_path: "c" });
  expect(() => receipts.show("build-")).toThrow("2 receipts");
});
