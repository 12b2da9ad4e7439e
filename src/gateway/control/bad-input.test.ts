/** What clients send that they should not: nothing of it stays, and nothing of it stops anybody else. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { type TestGateway, testGateway } from "../testing.ts";

let place: TestGateway;
beforeEach(async () => {
  place = await testGateway({ configuration: { bodyMaxBytes: 10_000, bodyTimeoutMs: 200 } });
});
afterEach(async () => {
  expect(place.faults).toEqual([]);
  await place.close();
});

const status = async (work: Promise<Response>): Promise<number> => (await work).status;
const create = (body: unknown) => place.call("POST", "/v2/sandboxes", body);

/** Bytes on a connection, and what comes back until it is closed or says what is waited for. */
function raw(text: string, until = "\r\n\r\n"): Promise<string> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(place.url);
    let answer = "";
    const socket = connect(Number(port), hostname, () => socket.write(text));
    socket.on("data", (chunk) => {
      answer += chunk.toString("latin1");
      if (answer.includes(until)) socket.destroy();
    });
    socket.on("error", reject);
    socket.on("close", () => resolve(answer));
  });
}

function request(line: string, headers: readonly string[] = [], body = ""): string {
  return [`${line} HTTP/1.1`, "Host: 127.0.0.1", `X-API-KEY: ${place.apiKey}`, ...headers, "", body].join("\r\n");
}

describe("bodies", () => {
  test("arrive in chunks without a length, as the SDK sends them", async () => {
    const body = JSON.stringify({ templateID: "base", metadata: { a: "ü" } });
    const bytes = Buffer.from(body);
    const chunks = [bytes.subarray(0, 35), bytes.subarray(35)].map(
      (one) => `${one.length.toString(16)}\r\n${one.toString("latin1")}\r\n`,
    );
    const { hostname, port } = new URL(place.url);
    const text = request("POST /v2/sandboxes", ["Transfer-Encoding: chunked"], `${chunks.join("")}0\r\n\r\n`);
    const answer = await new Promise<string>((resolve) => {
      const socket = connect(Number(port), hostname, () => socket.write(Buffer.from(text, "latin1")));
      socket.once("data", (chunk) => {
        socket.destroy();
        resolve(chunk.toString("latin1"));
      });
    });
    expect(answer).toStartWith("HTTP/1.1 201");
    expect(await (await place.call("GET", "/v2/sandboxes")).json()).toMatchObject([{ metadata: { a: "ü" } }]);
  });

  test.each(["{", "[1,", '"x', "nothing", "\u0000", "{}x"])("%j is not JSON", async (body) => {
    expect(await status(create(body))).toBe(400);
  });

  test.each([
    [null],
    [[]],
    ["text"],
    [7],
    [{}],
    [{ templateID: "" }],
    [{ templateID: 7 }],
    [{ templateID: "base", timeout: "10" }],
    [{ templateID: "base", timeout: -1 }],
    [{ templateID: "base", timeout: 1.5 }],
    [{ templateID: "base", timeout: 1e300 }],
    [{ templateID: "base", metadata: { a: 1 } }],
    [{ templateID: "base", metadata: [] }],
    [{ templateID: "base", envVars: { "A=B": "1" } }],
    [{ templateID: "base", envVars: { A: "a\0b" } }],
    [{ templateID: "base", network: { allowOut: ["1.2.3.4/33"] } }],
    [{ templateID: "base", network: { allowOut: ["1.2.3.4/8/8"] } }],
    [{ templateID: "base", network: { denyOut: ["::1/129"] } }],
    [{ templateID: "base", network: { denyOut: ["$(reboot)"] } }],
    [{ templateID: "base", network: { maskRequestHost: "a\r\nX-Evil: 1" } }],
    [{ templateID: "base", lifecycle: { onTimeout: "explode" } }],
    [{ templateID: "base", metadata: Object.fromEntries(Array.from({ length: 300 }, (_, index) => [String(index), ""])) }],
  ])("%j is 400 and touches no machine", async (body) => {
    const answer = await create(body === "text" ? '"text"' : body);
    expect([answer.status, (await answer.json()) as { code: number }]).toEqual([400, expect.objectContaining({ code: 400 })]);
    expect(place.pools.calls).toEqual([]);
  });

  test("that are not UTF-8 are 400", async () => {
    const answer = await raw(request("POST /v2/sandboxes", ["Content-Length: 2"], "\u00ff\u00fe"));
    expect(answer).toStartWith("HTTP/1.1 400");
  });

  test("too large are 413: by their length, and by their chunks", async () => {
    expect(await status(create({ templateID: "base", metadata: { a: "x".repeat(10_000) } }))).toBe(413);
    let sent = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        sent += 1;
        controller.enqueue(new Uint8Array(4000).fill(32));
      },
    });
    const answer = await fetch(`${place.url}/v2/sandboxes`, {
      method: "POST",
      headers: { "X-API-KEY": place.apiKey },
      body: endless,
    });
    expect(answer.status).toBe(413);
    expect(sent).toBeGreaterThan(2);
    expect(await raw(request("POST /v2/sandboxes", ["Content-Length: 1099511627776"]))).toStartWith("HTTP/1.1 413");
  });

  test("that never come whole are 408", async () => {
    expect(await raw(request("POST /v2/sandboxes", ["Content-Length: 100"], '{"templateID":'))).toStartWith("HTTP/1.1 408");
  });

  test("nobody is let in to send one without a key", async () => {
    const answer = await fetch(`${place.url}/v2/sandboxes`, { method: "POST", body: "{".repeat(100) });
    expect(answer.status).toBe(401);
  });

  test("names of Object's prototype are metadata, templates and aliases like others", async () => {
    const answer = await create('{"templateID":"base","metadata":{"__proto__":"x","constructor":"y"}}');
    expect(answer.status).toBe(201);
    for (const templateID of ["__proto__", "constructor", "toString", "hasOwnProperty"])
      expect(await status(create({ templateID }))).toBe(404);
  });
});

describe("names", () => {
  const NAMES = [
    "..",
    "../../etc/passwd",
    "..%2f..%2fetc",
    "%00",
    "a".repeat(5000),
    "%0d%0aSet-Cookie:x=1",
    "Z".repeat(20),
    "💥",
    "%ff",
  ];

  test.each(NAMES)("%s is no sandbox", async (name) => {
    for (const [method, verb] of [
      ["GET", ""],
      ["DELETE", ""],
      ["POST", "/pause"],
      ["GET", "/logs"],
      ["PUT", "/network"],
    ] as const) {
      const answer = await place.call(method, `/sandboxes/${encodeURIComponent(name)}${verb}`);
      expect([answer.status, (await answer.json()) as { code: number }]).toEqual([404, expect.objectContaining({ code: 404 })]);
      expect(answer.headers.get("set-cookie")).toBeNull();
    }
    expect(await raw(request(`GET /sandboxes/${encodeURI(name)}`))).toMatch(/^HTTP\/1.1 40[04]/);
    expect(place.pools.calls).toEqual([]);
  });

  test.each(NAMES)("%s is no template, no snapshot and no webhook", async (name) => {
    expect(await status(create({ templateID: name.slice(0, 200) }))).toBe(404);
    expect(await status(place.call("DELETE", `/templates/${encodeURIComponent(name)}`))).toBe(404);
    expect(await status(place.call("GET", `/events/webhooks/${encodeURIComponent(name)}`))).toBe(404);
  });

  test("of snapshots cannot be ids, nor carry anything along", async () => {
    const made = (await (await create({ templateID: "base" })).json()) as { sandboxID: string };
    for (const name of ["snap0123456789ab", "a b", "../x", "-x", "a:b:c", "a\nb"]) {
      expect(await status(place.call("POST", `/sandboxes/${made.sandboxID}/snapshots`, { name }))).toBe(400);
    }
  });

  test("header lines stay one", async () => {
    const answer = await raw(request("GET /v2/sandboxes?nextToken=%0d%0aX-Evil:1&limit=1"));
    expect([answer.split("\r\n\r\n")[0]?.toLowerCase().includes("x-evil"), answer.startsWith("HTTP/1.1 400")]).toEqual([
      false,
      true,
    ]);
  });
});

test("what is not offered is 501, what is unknown 404, and both say it in JSON", async () => {
  const asked = [
    ["GET", "/volumes", 501],
    ["POST", "/secrets", 501],
    ["POST", "/v3/templates", 501],
    ["GET", "/templates/base/builds/x/status", 501],
    ["GET", "/nothing", 404],
    ["PATCH", "/v2/sandboxes", 404],
  ] as const;
  for (const [method, path, code] of asked) {
    const answer = await place.call(method, path);
    expect([path, answer.status, (await answer.json()) as { code: number }]).toEqual([
      path,
      code,
      expect.objectContaining({ code }),
    ]);
  }
  expect(await status(place.call("DELETE", "/templates/base"))).toBe(403);
});

test("ten thousand requests for sandboxes that are not there leave nothing behind", async () => {
  const figures = async (): Promise<number> => (await (await fetch(`${place.url}/metrics`)).text()).split("\n").length;
  const ask = async (index: number): Promise<number> => {
    const id = index.toString(36).padStart(20, "0");
    const which = index % 4;
    const init = {
      method: "POST",
      headers: { "X-API-KEY": place.apiKey, ...(which < 2 ? { "E2b-Sandbox-Id": which === 0 ? id : `${id}/..` } : {}) },
    };
    const path =
      which < 2 ? "/process.Process/Start" : which === 2 ? `/sandboxes/${id}/pause` : `/files?path=/${id}&signature=v1_${id}`;
    // The listener is not what is asked about here.
    return (await place.gateway.handle(new Request(`${place.url}${path}`, init))).status;
  };
  const round = async (from: number, count: number): Promise<ReadonlySet<number>> => {
    const statuses = new Set<number>();
    for (let index = from; index < from + count; index += 1) statuses.add(await ask(index));
    return statuses;
  };
  const memory = (): number => {
    Bun.gc(true);
    return process.memoryUsage().heapUsed;
  };
  expect(await round(0, 3000)).toEqual(new Set([502, 404, 401]));
  // Asking for the figures is a figure, too.
  await figures();
  const [lines, before] = [await figures(), memory()];
  await round(3000, 7000);
  expect(await figures()).toBe(lines);
  // The audit log's ring is full before and after; 7000 of anything that were kept would be more than this.
  expect(memory() - before).toBeLessThan(2 * 1024 * 1024);
  expect(place.ledger.statement("SELECT count(*) AS n FROM gateway_sandbox").get()).toEqual({ n: 0 });
  expect(place.pools.calls).toEqual([]);
});

describe("a client that goes away", () => {
  test("while its sandbox is being made leaves no machine behind", async () => {
    const { pools } = place;
    const held = pools.hold("checkout");
    const controller = new AbortController();
    const gone = fetch(`${place.url}/v2/sandboxes`, {
      method: "POST",
      headers: { "X-API-KEY": place.apiKey },
      body: '{"templateID":"base"}',
      signal: controller.signal,
    }).catch(() => "gone");
    await held.reached;
    const over = pools.ended("checkout");
    controller.abort();
    expect(await gone).toBe("gone");
    await over;
    // The answer that nobody reads is the end of it.
    while ((await audited()).length === 0) await Promise.resolve();
    expect(await audited()).toMatchObject([{ status: 499, path: "/v2/sandboxes" }]);
    expect([pools.list(), (await (await place.call("GET", "/v2/sandboxes")).json()) as unknown]).toEqual([[], []]);
    expect(place.ledger.statement("SELECT count(*) AS n FROM gateway_sandbox").get()).toEqual({ n: 0 });
  });

  test("while a machine is coming that does not stop coming gives it back", async () => {
    const { pools, gateway } = place;
    const held = pools.hold("checkout", "deaf");
    const controller = new AbortController();
    const headers = { "X-API-KEY": place.apiKey };
    const init = { method: "POST", headers, body: '{"templateID":"base"}', signal: controller.signal };
    const answer = gateway.handle(new Request(`${place.url}/v2/sandboxes`, init));
    await held.reached;
    controller.abort();
    held.release();
    expect((await answer).status).toBe(499);
    expect([pools.calls.map((call) => call.split(" ")[0]), pools.list()]).toEqual([["checkout", "return"], []]);
    expect(place.ledger.statement("SELECT count(*) AS n FROM gateway_sandbox").get()).toEqual({ n: 0 });
  });

  test("in the middle of its body leaves nothing", async () => {
    const { hostname, port } = new URL(place.url);
    await new Promise<void>((resolve) => {
      const socket = connect(Number(port), hostname, () => {
        socket.write(request("POST /v2/sandboxes", ["Content-Length: 100"], '{"templateID":'), () => {
          socket.destroy();
          resolve();
        });
      });
    });
    while ((await audited()).length === 0) await Promise.resolve();
    expect((await audited()).map((one) => [400, 408, 499].includes(one.status))).toEqual([true]);
    expect(place.pools.calls).toEqual([]);
  });

  const audited = async (): Promise<readonly { readonly status: number }[]> =>
    (await (await place.call("GET", "/audit/events?pathPrefix=/v2/sandboxes")).json()) as { status: number }[];
});
