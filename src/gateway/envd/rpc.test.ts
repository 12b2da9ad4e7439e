/** The Connect protocol at its edges, request by request: https://connectrpc.com/docs/protocol. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { Problem } from "../../base/index.ts";
import { openTestGuest, type TestGuest } from "../../guest/testing.ts";
import { allOf, callStream, callUnary, serveEnvd, type ServedEnvd } from "./envd.testing.ts";
import { endEnvelope, messageEnvelope } from "./envelope.ts";

const LIST = "process.Process/List";
const START = "process.Process/Start";

let guest: TestGuest;
let served: ServedEnvd;

beforeAll(async () => {
  guest = await openTestGuest();
  await guest.guest.connect();
  served = await serveEnvd(guest.guest, { limits: { messageMaxBytes: 4096, processesMax: 3, tailMaxBytes: 1000 } });
});

afterAll(async () => {
  await served.close();
  await guest.close();
});

async function post(
  path: string,
  headers: Readonly<Record<string, string>>,
  body: string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> = "{}",
): Promise<Response> {
  return await fetch(`${served.url}/${path}`, { method: "POST", headers, body });
}

const json = { "content-type": "application/json" };

describe("requests", () => {
  test("an answer of nothing is an empty document", async () => {
    expect(await callUnary(served, LIST, {})).toEqual({ status: 200, document: {} });
    expect(await callUnary(served, LIST, "")).toEqual({ status: 200, document: {} });
    expect((await post(LIST, { "content-type": "application/json; charset=utf-8" })).status).toBe(200);
  });

  test("an unknown method is unimplemented, in the form that was asked in", async () => {
    for (const method of ["process.Process/Nothing", "process.Process/constructor", "other.Service/List"]) {
      const response = await post(method.startsWith("other") ? "process.Process/Other" : method, json);
      expect(response.status).toBe(501);
      expect(await response.json()).toMatchObject({ code: "unimplemented" });
    }
    const [end] = await allOf(await callStream(served, "process.Process/Nothing", {}));
    expect(end).toMatchObject({ flags: 2, document: { error: { code: "unimplemented" } } });
  });

  test.each([
    [LIST, "application/proto", "application/json"],
    [LIST, "application/connect+json", "application/json"],
    [LIST, "", "application/json"],
    [START, "application/json", "application/connect+json"],
    [START, "application/grpc-web", "application/connect+json"],
  ])("%s as %j is 415, with what it takes", async (method, type, accepted) => {
    const response = await post(method, { "content-type": type }, new Uint8Array([123, 125]));
    expect(response.status).toBe(415);
    expect(response.headers.get("accept-post")).toBe(accepted);
  });

  test("a GET is 405", async () => {
    expect((await fetch(`${served.url}/${LIST}`)).status).toBe(405);
  });

  test.each([
    ["JSON that is none", "{", {}],
    ["another protocol", "{}", { "connect-protocol-version": "2" }],
    ["a time limit that is no number", "{}", { "connect-timeout-ms": "soon" }],
    ["a time limit of eleven digits", "{}", { "connect-timeout-ms": "10000000000" }],
  ])("refused: %s", async (_name, body, headers) => {
    expect(await callUnary(served, LIST, body, headers)).toMatchObject({ status: 400, document: { code: "invalid_argument" } });
  });

  test("compression is refused: in a header, and in an envelope", async () => {
    const gzip = Bun.gzipSync("{}");
    const unary = await post(LIST, { ...json, "content-encoding": "gzip" }, gzip);
    expect([unary.status, await unary.json()]).toEqual([
      501,
      { code: "unimplemented", message: expect.stringContaining("gzip") },
    ]);
    const [named] = await allOf(await callStream(served, START, {}, { headers: { "connect-content-encoding": "br" } }));
    expect(named?.document).toMatchObject({ error: { code: "unimplemented" } });
    const flagged = messageEnvelope({});
    flagged[0] = 1;
    const [end] = await allOf(await callStream(served, START, flagged));
    expect(end?.document).toMatchObject({ error: { code: "internal" } });
  });

  test("a message that is too large is refused before it is read, and while", async () => {
    const large = JSON.stringify({ x: "x".repeat(5000) });
    expect(await callUnary(served, LIST, large)).toMatchObject({ status: 429, document: { code: "resource_exhausted" } });
    const [end] = await allOf(await callStream(served, START, messageEnvelope({ x: large })));
    expect(end?.document).toMatchObject({ error: { code: "resource_exhausted" } });
    const chunked = new ReadableStream({
      start: (controller) => {
        for (let count = 0; count < 10; count += 1) controller.enqueue(new Uint8Array(1000).fill(0x20));
        controller.close();
      },
    });
    expect((await post(LIST, json, chunked)).status).toBe(429);
  });

  test.each([
    ["no message", new Uint8Array(), "unimplemented"],
    ["two messages", new Uint8Array(Buffer.concat([messageEnvelope({}), messageEnvelope({})])), "unimplemented"],
    ["half a message", messageEnvelope({ process: { cmd: "true" } }).slice(0, 9), "invalid_argument"],
    ["an end", endEnvelope(), "invalid_argument"],
    ["a message of another kind", messageEnvelope({ process: { cmd: 1 } }), "invalid_argument"],
  ])("a stream is asked for with one message: %s is refused in the last envelope", async (_name, body, code) => {
    const events = await allOf(await callStream(served, START, body));
    expect(events).toEqual([{ flags: 2, document: { error: { code, message: expect.any(String) } } }]);
  });

  test("what is selected has to be there, and to be selected", async () => {
    const process = { pid: 4_000_000 };
    expect(await callUnary(served, "process.Process/SendSignal", { process, signal: "SIGNAL_SIGKILL" })).toEqual({
      status: 404,
      document: { code: "not_found", message: "process with pid 4000000 not found" },
    });
    expect(await callUnary(served, "process.Process/CloseStdin", { process: { tag: "none" } })).toMatchObject({ status: 404 });
    expect(await callUnary(served, "process.Process/CloseStdin", {})).toMatchObject({ status: 400 });
    const events = await allOf(await callStream(served, "process.Process/Connect", { process }));
    expect(events).toMatchObject([{ flags: 2, document: { error: { code: "not_found" } } }]);
  });
});

test("StreamInput: a start that selects, data, signs of life; the answer is one message and the end", async () => {
  const stream = await callStream(served, START, { process: { cmd: "head", args: ["-n", "2"] }, tag: "fed" });
  await stream.next();
  const process = { tag: "fed" };
  const body = Buffer.concat(
    [
      { start: { process } },
      { data: { input: { stdin: Buffer.from("one\n").toString("base64") } } },
      { keepalive: {} },
      { data: { input: { stdin: Buffer.from("two\n").toString("base64") } } },
    ].map(messageEnvelope),
  );
  expect(await allOf(await callStream(served, "process.Process/StreamInput", new Uint8Array(body)))).toEqual([
    { flags: 0, document: {} },
    { flags: 2, document: {} },
  ]);
  const output = (await allOf(stream)).flatMap(({ document }) => JSON.stringify(document).match(/"stdout":"([^"]*)"/)?.[1] ?? []);
  expect(output.map((text) => Buffer.from(text, "base64").toString()).join("")).toBe("one\ntwo\n");
  const data = { data: { input: { stdin: "eA==" } } };
  const [failed] = await allOf(await callStream(served, "process.Process/StreamInput", data));
  expect(failed?.document).toMatchObject({ error: { code: "invalid_argument" } });
});

test("only so many processes run at once", async () => {
  const running = [];
  for (let count = 0; count < 3; count += 1) {
    const stream = await callStream(served, START, { process: { cmd: "cat" }, tag: `cat${count}` });
    await stream.next();
    running.push(stream);
  }
  const [refused] = await allOf(await callStream(served, START, { process: { cmd: "true" } }));
  expect(refused?.document).toMatchObject({ error: { code: "resource_exhausted" } });
  for (const [count, stream] of running.entries()) {
    await callUnary(served, "process.Process/CloseStdin", { process: { tag: `cat${count}` } });
    await allOf(stream);
  }
  expect((await allOf(await callStream(served, START, { process: { cmd: "true" } }))).length).toBe(3);
});

/** A client that asks and then reads nothing until it is told to. */
async function lazyClient(envd: ServedEnvd, message: object): Promise<Socket> {
  const { hostname, port } = new URL(envd.url);
  const body = messageEnvelope(message);
  const socket = connect(Number(port), hostname);
  socket.pause();
  const lines = [
    `POST /${START} HTTP/1.1`,
    `Host: ${hostname}`,
    "Content-Type: application/connect+json",
    `Content-Length: ${body.byteLength}`,
  ];
  socket.write(`${lines.join("\r\n")}\r\n\r\n`);
  socket.write(body);
  await new Promise((resolve) => socket.once("connect", resolve));
  return socket;
}

describe("clients that read slowly, or not any more", () => {
  const command = (words: string, tag: string) => ({ process: { cmd: "/bin/sh", args: ["-c", words] }, tag });

  test("a process waits for a client that does not read, and goes on when it has gone", async () => {
    const done = `${guest.directory}/done`;
    const socket = await lazyClient(
      served,
      command(`echo $$ > ${done}.pid; head -c 60000000 /dev/zero; echo x > ${done}`, "waiting"),
    );
    // Of `head`: what it has written, when that has not changed for half a second.
    const stuck = `until [ -s ${done}.pid ] && pid=$(pgrep -P $(cat ${done}.pid)); do sleep 0.02; done
      same=0; last=
      while [ $same -lt 10 ]; do
        now=$(sed -n 's/wchar: //p' /proc/$pid/io)
        if [ "$now" = "$last" ]; then same=$((same + 1)); else same=0; last=$now; fi
        sleep 0.05
      done
      echo $last`;
    const written = await guest.guest.run({ argv: ["sh", "-c", stuck], timeoutMs: 20_000 });
    const writtenBytes = Number(Buffer.from(written.stdout).toString());
    expect(writtenBytes).toBeGreaterThan(0);
    expect(writtenBytes).toBeLessThan(30_000_000);
    socket.destroy();
    const { stdout } = await guest.guest.run({
      argv: ["sh", "-c", `until [ -e ${done} ]; do sleep 0.02; done; cat ${done}`],
      timeoutMs: 20_000,
    });
    expect(Buffer.from(stdout).toString()).toBe("x\n");
  });

  test("a client that leaves its output unread too long is cut, and told so when it reads", async () => {
    const impatient = await serveEnvd(guest.guest, { limits: { stallMs: 200 } });
    const socket = await lazyClient(impatient, command("head -c 60000000 /dev/zero; echo end", "stalled"));
    const end = await waitForEnd(impatient, "stalled");
    expect(end).toMatchObject({ exited: true });
    let text = "";
    socket.on("data", (chunk: Buffer) => {
      text = (text + chunk.toString("latin1")).slice(-500);
    });
    socket.resume();
    await new Promise((resolve) => {
      socket.on("data", () => {
        if (text.includes("resource_exhausted")) resolve(undefined);
      });
    });
    socket.destroy();
    await impatient.close();
  });
});

/** By a connection of its own, which may come before the process or after it. */
async function waitForEnd(envd: ServedEnvd, tag: string): Promise<unknown> {
  for (;;) {
    const events = await allOf(await callStream(envd, "process.Process/Connect", { process: { tag } }));
    for (const { document } of events) {
      const event = document["event"];
      if (typeof event === "object" && event !== null && "end" in event) return event.end;
    }
  }
}

describe("sandboxes that end", () => {
  test("killed in mid-stream: every stream ends with unavailable, and the reason", async () => {
    const doomed = await serveEnvd(guest.guest);
    const running = await callStream(doomed, START, { process: { cmd: "sleep", args: ["1000"] } });
    await running.next();
    doomed.kill(new Problem({ code: "E_SANDBOX_GONE", message: "the sandbox reached the end of its time" }));
    expect(await allOf(running)).toEqual([
      { flags: 2, document: { error: { code: "unavailable", message: "the sandbox reached the end of its time" } } },
    ]);
    expect(await callUnary(doomed, LIST, {})).toMatchObject({ status: 503, document: { code: "unavailable" } });
    const [late] = await allOf(await callStream(doomed, START, { process: { cmd: "true" } }));
    expect(late?.document).toMatchObject({ error: { code: "unavailable" } });
    await doomed.close();
  });

  test("a guest that dies ends its streams as well, and what is asked afterwards", async () => {
    await using dying = await openTestGuest({ name: "dying" });
    await dying.guest.connect();
    const there = await serveEnvd(dying.guest);
    const running = await callStream(there, START, { process: { cmd: "sleep", args: ["1000"] } });
    await running.next();
    dying.kill();
    expect(await allOf(running)).toMatchObject([{ flags: 2, document: { error: { code: "unavailable" } } }]);
    const [late] = await allOf(await callStream(there, START, { process: { cmd: "true" } }));
    expect(late?.document).toMatchObject({ error: { code: "unavailable" } });
    await there.close();
  });

  test("a gateway that closes ends them too", async () => {
    const closing = await serveEnvd(guest.guest);
    const running = await callStream(closing, START, { process: { cmd: "sleep", args: ["1000"] } });
    await running.next();
    await closing.close();
    expect((await allOf(running).catch(() => [])).at(0)?.document ?? { error: { code: "unavailable" } }).toMatchObject({
      error: { code: "unavailable" },
    });
  });
});
