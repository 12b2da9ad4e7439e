/** A guest that stands still for longer than anything here waits. */
import { expect, test } from "bun:test";
import { openTestGuest } from "../../guest/testing.ts";
import { allOf, callStream, serveEnvd } from "./envd.testing.ts";

test("a time that is over while the guest is paused: its client is told, and the process goes when the guest goes on", async () => {
  await using paused = await openTestGuest({ name: "paused" });
  await paused.guest.connect();
  const served = await serveEnvd(paused.guest, { limits: { killGraceMs: 500 } });
  const words = `sleep 88${process.pid}`;
  const stream = await callStream(
    served,
    "process.Process/Start",
    { process: { cmd: "sh", args: ["-c", `${words} & wait`] } },
    {
      headers: { "connect-timeout-ms": "200" },
    },
  );
  await stream.next();
  paused.freeze();
  expect(await allOf(stream)).toMatchObject([{ flags: 2, document: { error: { code: "deadline_exceeded" } } }]);
  // Longer than a signal is waited for.
  await Bun.sleep(12_000);
  paused.thaw();
  const { code } = await paused.guest.run({
    argv: ["sh", "-c", `while pgrep -f -x '${words}' >/dev/null; do sleep 0.05; done`],
    timeoutMs: 60_000,
  });
  expect(code).toBe(0);
  await served.close();
}, 90_000);
