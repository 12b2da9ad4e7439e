/** Scripts over a real sshd: bytes both ways, ends of every kind, and who waits for whom. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { problemOf } from "../base/testing.ts";
import { treeOf } from "../guest/testing.ts";
import { localHost, type ScriptEvent, shellQuote } from "../host/index.ts";
import { type Connection, openConnection } from "./index.ts";
import { openTestHost, type TestHost } from "./testing.ts";

const host = localHost();
const SAY = `event() { printf 'garth: %s\\n' "$*" >&2; }\n`;

let there: TestHost;
let connection: Connection;

export function connect(to: TestHost, more: Partial<Parameters<typeof openConnection>[0]> = {}): Connection {
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
  const left = fs.readdirSync(`${there.directory}/run`);
  await there.close();
  expect(left).toEqual([]);
});

/** The text of what a script prints, and its end. */
async function printed(to: Connection, body: string, input?: AsyncIterable<Uint8Array>) {
  let text = "";
  const end = await to.run(
    { doing: "trying", body },
    { onOutput: (chunk) => void (text += Buffer.from(chunk).toString()), ...(input === undefined ? {} : { input }) },
  );
  return { text, end };
}

/** Begins a script that says `here` when it runs, and waits for that. */
async function begun(to: Connection, body: string, signal?: AbortSignal) {
  const here = Promise.withResolvers<ScriptEvent>();
  const running = to.start(
    { doing: "waiting there", body: `${SAY}${body}` },
    { onEvent: (event) => event.name === "here" && here.resolve(event), ...(signal === undefined ? {} : { signal }) },
  );
  const event = await Promise.race([here.promise, running.ended]);
  if ("status" in event) throw new Error(`it ended: ${JSON.stringify(event)}`);
  return { running, event };
}

/** ssh(1) processes that this one started, by a word on their command line. */
function sshOf(word: string): readonly number[] {
  return treeOf(process.pid).filter((pid) => {
    const line = fs.existsSync(`/proc/${pid}/cmdline`) ? fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0") : [];
    return line[0]?.endsWith("ssh") && line.some((each) => each.includes(word)) && line.includes(word);
  });
}

describe("a script", () => {
  test("says events and words, prints, and ends with its status", async () => {
    const heard: ScriptEvent[] = [];
    let text = "";
    const end = await connection.start(
      { doing: "trying", body: `${SAY}event one; event two 2 'a b'; echo tool words >&2; echo printed; exit 7` },
      { onEvent: (event) => heard.push(event), onOutput: (chunk) => void (text += Buffer.from(chunk).toString()) },
    ).ended;
    expect(end.status).toBe(7);
    expect(end.words).toEqual(["tool words"]);
    expect(end.events.map(({ name, rest }) => [name, rest])).toEqual([
      ["one", ""],
      ["two", "2 a b"],
    ]);
    expect(heard).toEqual([...end.events]);
    expect(text).toBe("printed\n");
  });

  test("that fails is a problem for whoever wants it done", async () => {
    const problem = await problemOf(connection.run({ doing: "trying", body: "echo no such thing >&2; exit 3" }));
    expect(problem).toMatchObject({
      code: "E_SCRIPT_FAILED",
      message: "trying on the host test-linux: the script ended with status 3",
      details: ["no such thing"],
    });
  });

  test("of 200 KB, with every kind of word in it, is what it was", async () => {
    const words = ["a b", "it's", '"', "$HOME `id`", "\\n", "*", "~", "a\nb", "ü", "-n", "!x", "#"];
    const body = `printf '%s|' ${words.map(shellQuote).join(" ")}\n: ${shellQuote("x\n".repeat(100_000))}\n`;
    expect((await printed(connection, body)).text).toBe(`${words.join("|")}|`);
  });

  test("that loses its end does nothing", async () => {
    const mark = `${there.directory}/half`;
    const end = await connection.start({ doing: "trying", body: `: >${shellQuote(mark)}\nif true; then\n` }).ended;
    expect(end.status).not.toBe(0);
    expect(fs.existsSync(mark)).toBe(false);
  });

  test("takes lines as it asks for them, and the end of its leash", async () => {
    const { running } = await begun(
      connection,
      'event here; IFS= read -r line; event got "$line"; IFS= read -r line || event let go; exit 4',
    );
    running.send("a line of it");
    running.letGo();
    const { status, events } = await running.ended;
    expect(events.map(({ name, rest }) => `${name} ${rest}`)).toEqual(["here ", "got a line of it", "let go"]);
    expect(status).toBe(4);
  });

  test("keeps the last words, and no more of them", async () => {
    const { words } = await connection.run({
      doing: "trying",
      body: 'i=0; while [ $i -lt 500 ]; do i=$((i + 1)); echo "word $i" >&2; done',
    });
    expect(words).toHaveLength(40);
    expect(words.at(-1)).toBe("word 500");
  });
});

describe("data", () => {
  const MEBIBYTES = 24;
  async function* chunks(taken: { count: number }): AsyncGenerator<Uint8Array> {
    for (let index = 0; index < MEBIBYTES; index += 1) {
      taken.count += 1;
      yield new Uint8Array(1024 ** 2).fill(index);
    }
  }

  test("goes there after the script is ready, and comes back as it was", async () => {
    const here = new Bun.CryptoHasher("sha256");
    const back = new Bun.CryptoHasher("sha256");
    for await (const chunk of chunks({ count: 0 })) here.update(chunk);
    await connection.run(
      { doing: "copying", body: `${SAY}event ready; cat` },
      { input: chunks({ count: 0 }), onOutput: (chunk) => void back.update(chunk) },
    );
    expect(back.digest("hex")).toBe(here.digest("hex"));
  });

  test("waits where nobody takes it: there, and here", async () => {
    const taken = { count: 0 };
    const go = Promise.withResolvers<void>();
    let sizeBytes = 0;
    const { running } = await (async () => {
      const full = Promise.withResolvers<void>();
      const running = connection.start(
        { doing: "copying", body: `${SAY}event ready; cat` },
        {
          input: chunks(taken),
          onOutput: async (chunk) => {
            sizeBytes += chunk.byteLength;
            full.resolve();
            await go.promise;
          },
        },
      );
      await full.promise;
      return { running };
    })();
    // Whatever can be on the way is less than half of it: a script of another session ends meanwhile.
    await connection.run({ doing: "trying", body: "head -c 4194304 /dev/zero >/dev/null" });
    expect(taken.count).toBeLessThan(MEBIBYTES / 2);
    go.resolve();
    expect((await running.ended).status).toBe(0);
    expect([taken.count, sizeBytes]).toEqual([MEBIBYTES, MEBIBYTES * 1024 ** 2]);
  });

  test("is not asked for when the script ends without being ready", async () => {
    const taken = { count: 0 };
    const { status } = await connection.start({ doing: "trying", body: "exit 5" }, { input: chunks(taken) }).ended;
    expect([status, taken.count]).toEqual([5, 0]);
  });

  test("stops coming when the script ends before all of it", async () => {
    const { text } = await printed(connection, `${SAY}event ready; head -c 10 >/dev/null; echo enough`, chunks({ count: 0 }));
    expect(text).toBe("enough\n");
  });

  test("a fault of its source ends the script, and is what is told", async () => {
    async function* faulty(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(10);
      throw new Error("the disk here");
    }
    const mark = `${there.directory}/undone`;
    const ended = connection.run(
      { doing: "copying", body: `${SAY}event ready; cat >/dev/null; : >${shellQuote(mark)}` },
      { input: faulty() },
    );
    expect(ended).rejects.toThrow("the disk here");
    await ended.catch(() => undefined);
    expect(fs.existsSync(mark)).toBe(true);
  });

  test("a fault of whoever listens is told, too", async () => {
    const ended = connection.run(
      { doing: "trying", body: `${SAY}event one; echo two; cat` },
      {
        onOutput: () => Promise.reject(new Error("the listener")),
      },
    );
    expect(ended).rejects.toThrow("the listener");
    await ended.catch(() => undefined);
  });
});

describe("an end", () => {
  test("by the signal lets the leash go, and the script undoes what it did", async () => {
    const aborter = new AbortController();
    const { running } = await begun(connection, "event here; cat >/dev/null; event undone; exit 9", aborter.signal);
    aborter.abort();
    const { status, events } = await running.ended;
    expect([status, events.at(-1)?.name]).toEqual([9, "undone"]);
    const again = connection.run({ doing: "trying", body: "true" }, { signal: aborter.signal });
    expect(again).rejects.toBe(aborter.signal.reason);
    await again.catch(() => undefined);
  });

  test("by the signal of a script that does not care is an end nevertheless", async () => {
    const brief = connect(there, { undoLimitMs: 200 });
    const aborter = new AbortController();
    const { running, event } = await begun(brief, "event here $$; while :; do sleep 1000; done", aborter.signal);
    aborter.abort();
    const problem = await problemOf(running.ended);
    expect(problem).toMatchObject({ code: "E_HOST_LOST" });
    expect(problem.message).toContain("did not end within");
    there.look(`kill -9 ${event.fields[0]} 2>/dev/null; :`);
    await brief.close();
  });

  test("of a script by a signal there is no status of it", async () => {
    const problem = await problemOf(connection.run({ doing: "trying", body: "echo before >&2; kill -9 $$" }));
    expect(problem).toMatchObject({ code: "E_HOST_LOST", details: ["before"] });
    expect(problem.message).toEndWith("was lost: a signal ended the script there");
  });

  test("of ssh here by a signal: the host is lost, and the script there is let go", async () => {
    const mark = `${there.directory}/let-go`;
    fs.rmSync(mark, { force: true });
    const { running } = await begun(connection, `event here; cat >/dev/null; trap '' PIPE; mkfifo ${shellQuote(mark)}`);
    const [pid, ...others] = sshOf("ProxyCommand=false");
    expect(others).toEqual([]);
    process.kill(pid ?? 0, "SIGKILL");
    const problem = await problemOf(running.ended);
    expect(problem).toMatchObject({ code: "E_HOST_LOST" });
    expect(problem.message).toEndWith("ssh was ended here by SIGKILL");
    // Opening a fifo waits for it to be written to; the connection is good for another script, which does that.
    await connection.run({
      doing: "waiting",
      body: `until [ -p ${shellQuote(mark)} ]; do sleep 0.05; done; rm ${shellQuote(mark)}`,
    });
  });

  test("of the connection, and it is opened again at the next need", async () => {
    const own = connect(there);
    const { running } = await begun(own, "event here; cat >/dev/null");
    there.dropConnections();
    expect(await problemOf(running.ended)).toMatchObject({ code: "E_HOST_LOST" });
    expect((await printed(own, "echo again")).text).toBe("again\n");
    await own.close();
    // The one that others use went with it.
    expect((await printed(connection, "echo again")).text).toBe("again\n");
  });

  test("of the shared connection's process here", async () => {
    const own = connect(there);
    const { running } = await begun(own, "event here; cat >/dev/null");
    const all = sshOf("ControlMaster=yes");
    for (const pid of all) process.kill(pid, "SIGKILL");
    const problem = await problemOf(running.ended);
    expect(problem).toMatchObject({ code: "E_HOST_LOST" });
    expect(problem.message).toContain("ended by SIGKILL");
    expect((await printed(own, "echo again")).text).toBe("again\n");
    await own.close();
  });
});

describe("many", () => {
  test("a hundred scripts at once all end, with their own words", async () => {
    const ends = await Promise.all(
      Array.from({ length: 100 }, async (_, index) => (await printed(connection, `echo ${index}`)).text),
    );
    expect(ends).toEqual(Array.from({ length: 100 }, (_, index) => `${index}\n`));
  });

  test("scripts that hold their sessions do not keep others from theirs", async () => {
    const own = connect(there);
    const holders = await Promise.all(Array.from({ length: 9 }, () => begun(own, "event here; cat >/dev/null")));
    expect((await printed(own, "echo besides")).text).toBe("besides\n");
    for (const { running } of holders) running.letGo();
    expect((await Promise.all(holders.map(({ running }) => running.ended))).map(({ status }) => status)).toEqual(
      Array.from({ length: 9 }, () => 0),
    );
    await own.close();
  });

  test("a server that gives fewer sessions is taken at its word", async () => {
    await using few = await openTestHost({ kind: "linux", name: "few", config: ["MaxSessions 3"] });
    const to = connect(few);
    const texts = await Promise.all(Array.from({ length: 12 }, async (_, index) => (await printed(to, `echo ${index}`)).text));
    expect(texts).toEqual(Array.from({ length: 12 }, (_, index) => `${index}\n`));
    await to.close();
  });

  test("one that gives a single one is told so", async () => {
    await using single = await openTestHost({ kind: "linux", name: "single", config: ["MaxSessions 1"] });
    const to = connect(single);
    const problem = await problemOf(to.run({ doing: "trying", body: "true" }));
    expect(problem.code).toBe("E_HOST_DENIED");
    expect(problem.hint).toContain("MaxSessions");
    await to.close();
  });

  test("closing ends what runs, and leaves nobody", async () => {
    const own = connect(there);
    const { running } = await begun(own, "event here $$; cat >/dev/null; exit 6");
    await own.close();
    expect((await running.ended).status).toBe(6);
    expect(await problemOf(own.run({ doing: "trying", body: "true" }))).toMatchObject({ code: "E_HOST_LOST" });
  });
});
