import { afterAll, expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { problemOf } from "../base/testing.ts";
import { readSeen, seenFile, writeSeen } from "./seen.ts";
import { workshop } from "./testing.ts";

const shop = workshop();
afterAll(() => shop[Symbol.dispose]());
const { host } = shop;

test("what was seen comes back, for each repository by itself", () => {
  const directory = `${shop.directory("seen")}/below`;
  const [one, other] = [seenFile(directory, "http://one.example"), seenFile(directory, "/srv/other")];
  expect(readSeen(host, one)).toBeUndefined();
  const dated = { catalogueSha256: "a".repeat(64), issuedAtMs: 5, superseded: [] };
  const undated = { catalogueSha256: "b".repeat(64), issuedAtMs: undefined, superseded: ["c".repeat(64)] };
  writeSeen(host, one, "http://one.example", { ...dated, issuedAtMs: 4 });
  writeSeen(host, one, "http://one.example", dated);
  writeSeen(host, other, "/srv/other", undated);
  expect([readSeen(host, one), readSeen(host, other)]).toEqual([dated, undated]);
  expect(readdirSync(directory)).toHaveLength(2);
});

test("a file that is damaged is not forgotten in silence", async () => {
  const directory = shop.directory("damaged");
  host.files.makeDirectory(directory, { parents: true });
  const file = `${directory}/seen.json`;
  for (const text of ["", "{", "[]", "null", '{"catalogueSha256":"x"}', '{"catalogueSha256":"", "superseded":[1]}']) {
    writeFileSync(file, text);
    expect((await problemOf(() => readSeen(host, file))).code).toBe("E_SEEN_INVALID");
  }
});
