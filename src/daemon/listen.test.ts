import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Problem } from "../base/index.ts";
import { listen, listenSocket } from "./listen.ts";

let directory = "";
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "garth-listen-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

/** Says "open", and then nothing until its client goes. */
function stream(onGone: () => void) {
  return (request: Request): Response => {
    request.signal.addEventListener("abort", onGone);
    return new Response(new ReadableStream({ start: (controller) => controller.enqueue("open\n") }));
  };
}

test("serves what the handler answers, on a free port, until it is closed", async () => {
  const listener = listen({ address: "127.0.0.1", port: 0, handle: (request) => new Response(new URL(request.url).pathname) });
  const answer = await fetch(new URL("/hello", listener.url));
  expect(await answer.text()).toBe("/hello");
  await listener.close();
  expect(fetch(new URL("/hello", listener.url))).rejects.toThrow();
});

test("an address that is taken is a problem with a hint", async () => {
  const first = listen({ address: "127.0.0.1", port: 0, handle: () => new Response() });
  const port = Number(new URL(first.url).port);
  expect(() => listen({ address: "127.0.0.1", port, handle: () => new Response() })).toThrow(Problem);
  await first.close();
});

test("the handler is told who asks; by the socket it is nobody", async () => {
  const handle = (_: Request, { address }: { readonly address: string | undefined }) => new Response(String(address));
  const [port, socket] = [
    listen({ address: "127.0.0.1", port: 0, handle }),
    listenSocket({ socket: join(directory, "who"), handle }),
  ];
  expect(await (await fetch(port.url)).text()).toBe("127.0.0.1");
  expect(await (await fetch("http://localhost/", { unix: join(directory, "who") })).text()).toBe("undefined");
  await Promise.all([port.close(), socket.close()]);
  expect(existsSync(join(directory, "who"))).toBe(false);
});

test("a socket that is there, and one that cannot be", async () => {
  const socket = join(directory, "taken");
  const first = listenSocket({ socket, handle: () => new Response() });
  expect(() => listenSocket({ socket, handle: () => new Response() })).toThrow(Problem);
  expect(() => listenSocket({ socket: join(directory, "x".repeat(200)), handle: () => new Response() })).toThrow(Problem);
  await first.close();
});

test("a body that is too long is 413, and does not come to the handler whole", async () => {
  const handle = async (request: Request) => new Response(String((await request.bytes()).byteLength));
  const listener = listen({ address: "127.0.0.1", port: 0, bodyMaxBytes: 1000, handle });
  const status = async (sizeBytes: number) => (await fetch(listener.url, { method: "POST", body: "x".repeat(sizeBytes) })).status;
  expect([await status(1000), await status(1001)]).toEqual([200, 413]);
  await listener.close();
});

test.each(["port", "socket"] as const)("a client that goes away is told to the handler (%s)", async (kind) => {
  const gone = Promise.withResolvers<void>();
  const handle = stream(gone.resolve);
  const socket = join(directory, "gone");
  const listener = kind === "port" ? listen({ address: "127.0.0.1", port: 0, handle }) : listenSocket({ socket, handle });
  const client = new AbortController();
  const url = kind === "port" ? listener.url : "http://localhost/";
  const answer = await fetch(url, { signal: client.signal, ...(kind === "port" ? {} : { unix: socket }) });
  const reader = answer.body?.getReader();
  expect(new TextDecoder().decode((await reader?.read())?.value)).toBe("open\n");
  client.abort();
  await gone.promise;
  await listener.close();
});

test("closing with a grace cuts what does not end", async () => {
  const listener = listen({ address: "127.0.0.1", port: 0, idleTimeoutS: 0, handle: stream(() => undefined) });
  const answer = await fetch(listener.url);
  const reader = answer.body?.getReader();
  await reader?.read();
  await listener.close(50);
  expect(reader?.read()).rejects.toThrow();
});

test("a handler that throws is a bug of which its client hears no more than that", async () => {
  const listener = listen({
    address: "127.0.0.1",
    port: 0,
    handle: () => {
      throw new Error("secret");
    },
  });
  const answer = await fetch(listener.url);
  expect([answer.status, await answer.text()]).toEqual([500, "internal error\n"]);
  await listener.close();
});

test("a request becomes a WebSocket where the handler wants it, and no other does", async () => {
  const upgraded: (boolean | undefined)[] = [];
  const listener = listen({
    address: "127.0.0.1",
    port: 0,
    handle: (_, { upgrade }) => {
      let answer: ((text: string | Uint8Array) => void) | undefined;
      const handlers = {
        open: (client: { send(data: string | Uint8Array): boolean }) => (answer = client.send),
        message: (data: string | Uint8Array) => answer?.(data),
        closed: () => undefined,
      };
      upgraded.push(upgrade?.(handlers, { "Sec-WebSocket-Protocol": "echo" }));
      return new Response("an answer");
    },
  });
  expect(await (await fetch(listener.url)).text()).toBe("an answer");
  const socket = new WebSocket(listener.url.replace("http", "ws"), ["echo"]);
  const heard = await new Promise<unknown>((resolve) => {
    socket.addEventListener("open", () => socket.send("hello"));
    socket.addEventListener("message", ({ data }) => resolve(data));
  });
  expect([heard, socket.protocol, upgraded]).toEqual(["hello", "echo", [false, true]]);
  socket.close();
  await listener.close();
});
