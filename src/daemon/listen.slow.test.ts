/** Streams may be silent for longer than the runtime lets a connection be by default: ten seconds. */
import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { listen, listenSocket } from "./listen.ts";

const SILENT_MS = 16_000;

test("a stream that pauses goes on, by the port and by the socket", async () => {
  const directory = mkdtempSync(join(tmpdir(), "garth-listen-"));
  const handle = (): Response =>
    new Response(
      new ReadableStream({
        start: (controller) => {
          controller.enqueue("one ");
          setTimeout(() => {
            controller.enqueue("two");
            controller.close();
          }, SILENT_MS);
        },
      }),
    );
  const socket = join(directory, "socket");
  const port = listen({ address: "127.0.0.1", port: 0, idleTimeoutS: 0, handle });
  const listener = listenSocket({ socket, handle });
  const texts = await Promise.all([
    fetch(port.url).then((answer) => answer.text()),
    fetch("http://localhost/", { unix: socket }).then((answer) => answer.text()),
  ]);
  expect(texts).toEqual(["one two", "one two"]);
  await Promise.all([port.close(), listener.close()]);
  rmSync(directory, { recursive: true });
}, 60_000);
