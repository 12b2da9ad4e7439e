/** Against Debian's Nix: what is added is what it would archive. */
import { describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { oddTree, openTestStore } from "./testing.ts";

function nixDump(path: string): string {
  return execFileSync("sh", ["-c", 'nix-store --dump "$1" | openssl dgst -sha256 -r', "sh", path]).toString().slice(0, 64);
}

describe("add", () => {
  test("an odd tree has the archive that Nix makes of it, before and in the store", async () => {
    using test = openTestStore();
    const source = test.directory();
    oddTree(source);
    const expected = nixDump(source);
    const item = await test.store.add(source, "odd");
    expect(item.narSha256).toBe(expected);
    expect(nixDump(test.store.physical(item.path))).toBe(expected);
  });

  test("a sparse file of 4 GiB and a bit", async () => {
    using test = openTestStore();
    const source = `${test.directory()}/huge`;
    fs.writeFileSync(source, "begin");
    fs.truncateSync(source, 4 * 1024 ** 3 + 5);
    const expected = nixDump(source);
    const physical = `${test.store.temporaryDirectory}/huge`;
    fs.renameSync(source, physical);
    const item = await test.store.addFixed(physical, "huge", { form: "tree", sha256: expected });
    expect(item.narSizeBytes).toBe(4 * 1024 ** 3 + 5 + 3 + 112);
    expect(fs.statSync(test.store.physical(item.path)).blocks).toBeLessThan(64);
  }, 120_000);
});
