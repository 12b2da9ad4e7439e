/** Waiting for a banner, against servers that behave as guests do on their way up. */
import { afterEach, describe, expect, test } from "bun:test";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { waitForSshBanner } from "./index.ts";

const host = localHost();
let server: { readonly port: number; stop(force: boolean): void } | undefined;
afterEach(() => server?.stop(true));

/** `answer` sees how many connections came before. */
function listen(answer: (socket: Bun.Socket, before: number) => void, port = 0): number {
  let before = 0;
  const listening = Bun.listen({
    hostname: "127.0.0.1",
    port,
    socket: { data: () => undefined, open: (socket) => answer(socket, before++) },
  });
  server = listening;
  return listening.port;
}

describe("the banner", () => {
  test("comes in pieces, after other lines, and is returned without its end", async () => {
    const port = listen((socket) => {
      socket.write("No entry without\r\na key: SSH-\r\nSSH-2.0-Open");
      socket.flush();
      setTimeout(() => socket.write("SSH_9.2p1 Debian-2\r\nrest"), 20);
    });
    expect(await waitForSshBanner(host, port, { timeoutMs: 5_000 })).toBe("SSH-2.0-OpenSSH_9.2p1 Debian-2");
  });

  test("is waited for through refusals, ends and silence", async () => {
    const port = host.freePort();
    const waited = waitForSshBanner(host, port, { timeoutMs: 20_000 });
    listen((socket, before) => {
      if (before === 0) socket.end("half a line");
      else if (before >= 2) socket.write("SSH-2.0-test\n");
    }, port);
    expect(await waited).toBe("SSH-2.0-test");
  });

  test("that never comes ends the wait, and no connection stays", async () => {
    const open = new Set<Bun.Socket>();
    const gone = Promise.withResolvers<void>();
    const listening = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        data: () => undefined,
        open: (socket) => void open.add(socket),
        close: (socket) => {
          open.delete(socket);
          if (open.size === 0) gone.resolve();
        },
      },
    });
    server = listening;
    const { port } = listening;
    const problem = await problemOf(waitForSshBanner(host, port, { timeoutMs: 600 }));
    expect([problem.code, problem.message]).toEqual([
      "E_NO_BANNER",
      `waiting for the SSH server behind 127.0.0.1:${port}: no banner came in 600ms`,
    ]);
    await gone.promise;
    expect(open.size).toBe(0);
  });

  test("is not waited for when nobody wants it any more", async () => {
    const port = listen(() => undefined);
    const abort = new AbortController();
    const waited = waitForSshBanner(host, port, { timeoutMs: 60_000, signal: abort.signal });
    abort.abort(new Error("enough"));
    await expect(waited).rejects.toThrow("enough");
    await expect(waitForSshBanner(host, port, { timeoutMs: 60_000, signal: abort.signal })).rejects.toThrow("enough");
  });
});
