/** Scripts over a real sshd. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { localHost, type ScriptEvent } from "../host/index.ts";
import { type Connection, openConnection } from "./index.ts";
import { openTestHost, type TestHost } from "./testing.ts";

const host = localHost();
const SAY = `event() { printf 'garth: %s\\n' "$*" >&2; }\n`;

let there: TestHost;
let connection: Connection;

function connect(to: TestHost, more: Partial<Parameters<typeof openConnection>[0]> = {}): Connection {
  const known = `${to.directory}/known`;
  fs.writeFileSync(known, `${to.wish.name} ${to.knownHostsLine.split(" ").slice(1).join(" ")}\n`);
  return openConnection({
    host,
    name: to.wish.name,
    url: to.wish.url,
    identityFile: to.identityFile,
    knownHostsFile: known,
    runtimeDirectory: `${to.directory}/run`,
    environment: {},
    configFile: "/dev/null",
    ...more,
  });
}

beforeAll(async () => {
  there = await openTestHost({ kind: "linux" });
  connection = connect(there);
});
afterAll(async () => {
  await connection.close();
  await there.close();
});

describe("a script", () => {
  test("says events and words, prints, and ends with its status", async () => {
    const heard: ScriptEvent[] = [];
    let printed = "";
    const end = await connection.start(
      { doing: "trying", body: `${SAY}event one; event two 2 'a b'; echo tool words >&2; echo printed; exit 7` },
      { onEvent: (event) => heard.push(event), onOutput: (chunk) => void (printed += Buffer.from(chunk).toString()) },
    ).ended;
    expect(end.status).toBe(7);
    expect(end.words).toEqual(["tool words"]);
    expect(end.events.map(({ name, rest }) => [name, rest])).toEqual([
      ["one", ""],
      ["two", "2 a b"],
    ]);
    expect(heard).toEqual([...end.events]);
    expect(printed).toBe("printed\n");
  });
});
