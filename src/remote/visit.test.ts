/** A machine that is reached by its address alone, for once. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { openVisit, type VisitOptions } from "./index.ts";
import { openTestHost, type TestHost } from "./testing.ts";

let there: TestHost;
let options: VisitOptions;
const wish = () => ({ url: there.wish.url, identityFile: there.identityFile });
const WRONG = `SHA256:${"A".repeat(43)}`;

beforeAll(async () => {
  there = await openTestHost({ kind: "linux" });
  const runtimeDirectory = join(there.directory, "run");
  options = { host: localHost(), runtimeDirectory, environment: {}, configFile: "/dev/null" };
});
afterAll(async () => there.close());

const left = (): readonly string[] => fs.readdirSync(options.runtimeDirectory);

test("its key is accepted by its fingerprint, or whichever it is, and nothing is left here", async () => {
  for (const hostKey of [there.hostKey, "new"]) {
    const connection = await openVisit(options, { ...wish(), hostKey });
    expect(connection.name).toBe(`127.0.0.1:${there.port}`);
    const { events } = await connection.run({ doing: "trying", body: "echo garth: here >&2" });
    expect(events.map(({ name }) => name)).toEqual(["here"]);
    await connection.close();
    expect(left()).toEqual([]);
  }
});

test("it is found again, by its key, when it was started anew meanwhile", async () => {
  const connection = await openVisit(options, { ...wish(), hostKey: "new" });
  await connection.run({ doing: "trying", body: "true" });
  await there.reboot();
  const gone = await connection.run({ doing: "trying", body: "true" }).catch(() => undefined);
  if (gone === undefined) await connection.run({ doing: "trying again", body: "true" });
  await connection.close();
});

test("a key that nobody knows, or another, is refused, with what would accept it", async () => {
  const unknown = await problemOf(openVisit({ ...options, environment: { HOME: there.directory } }, wish()));
  expect([unknown.code, unknown.exit]).toEqual(["E_HOST_KEY_UNKNOWN", 3]);
  expect(unknown.hint).toEndWith(`if it is the same: --host-key ${there.hostKey}`);
  const other = await problemOf(openVisit(options, { ...wish(), hostKey: WRONG }));
  expect(other.code).toBe("E_HOST_KEY");
  expect(other.details).toEqual([`expected ${WRONG}`, `offered  ${there.hostKey}`]);
  expect((await problemOf(openVisit(options, { ...wish(), hostKey: "sha" }))).code).toBe("E_BAD_HOST");
  expect((await problemOf(openVisit(options, { ...wish(), identityFile: "/nowhere" }))).code).toBe("E_BAD_HOST");
  expect((await problemOf(openVisit(options, { url: "http://x" }))).code).toBe("E_BAD_HOST");
  expect(left()).toEqual([]);
});
