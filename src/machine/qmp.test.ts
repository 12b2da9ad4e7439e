/** The monitor's client: what a server that misbehaves makes of it. That it speaks to QEMU is tested with machines. */
import { afterAll, afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { openQmp, type QmpEvent } from "./qmp.ts";

const host = localHost();
const directory = mkdtempSync(join(tmpdir(), "garth-qmp-"));
const socket = join(directory, "qmp.sock");
let stop = (): void => undefined;
afterEach(() => stop());
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const GREETING = `{"QMP": {"version": {}, "capabilities": []}}\r\n`;

/** A server that greets and answers each request, sent in pieces of three bytes. */
function serve(
  answer: (request: { execute: string; id: string; arguments: unknown }) => string | undefined,
  greeting = GREETING,
): void {
  let said = "";
  const send = (socket: Bun.Socket, text: string): void => {
    for (let at = 0; at < text.length; at += 3) socket.write(text.slice(at, at + 3));
  };
  const server = Bun.listen({
    unix: socket,
    socket: {
      open: (socket) => send(socket, greeting),
      data: (socket, chunk) => {
        said += chunk.toString();
        for (let end = said.indexOf("\n"); end >= 0; end = said.indexOf("\n")) {
          const request = JSON.parse(said.slice(0, end));
          said = said.slice(end + 1);
          if (request.execute === "qmp_capabilities") send(socket, `{"return": {}, "id": "${request.id}"}\r\n`);
          else {
            const text = answer(request);
            if (text === undefined) socket.end();
            else send(socket, text);
          }
        }
      },
    },
  });
  stop = () => server.stop(true);
}

test("answers go to those who asked, in whatever order, and events to who listens", async () => {
  const held: string[] = [];
  serve(({ execute, id, arguments: args }) => {
    held.unshift(`{"return": ${JSON.stringify({ execute, args })}, "id": "${id}"}\r\n`);
    if (held.length < 3) return "";
    return `${held.join("")}{"event": "STOP", "timestamp": {}}\r\n{"event": "SHUTDOWN", "data": {"reason": "guest-reset"}}\n`;
  });
  const events: QmpEvent[] = [];
  const seen = Promise.withResolvers<void>();
  const monitor = await openQmp(host, socket, { name: "web", onEvent: (event) => events.push(event) === 2 && seen.resolve() });
  const answers = await Promise.all(["a", "b", "c"].map((name) => monitor.execute(name, { name })));
  expect(answers).toEqual(["a", "b", "c"].map((name) => ({ execute: name, args: { name } })));
  await seen.promise;
  expect(events).toEqual([
    { event: "STOP", data: {} },
    { event: "SHUTDOWN", data: { reason: "guest-reset" } },
  ]);
  monitor.close();
  await monitor.closed;
});

test("an error is a problem with what the other side said", async () => {
  serve(({ id }) => `{"error": {"class": "GenericError", "desc": "no such device"}, "id": "${id}"}\n`);
  const monitor = await openQmp(host, socket, { name: "web" });
  const problem = await problemOf(monitor.execute("device_del", { id: "x" }));
  expect([problem.code, problem.message]).toEqual(["E_QMP", "asking the machine web: no such device"]);
  monitor.close();
});

test("the end of the connection refuses all that waits, and what comes after", async () => {
  let asked = 0;
  serve(() => (++asked === 2 ? undefined : ""));
  const monitor = await openQmp(host, socket, { name: "web" });
  const waiting = [monitor.execute("a"), monitor.execute("b")].map((work) => problemOf(work));
  for (const problem of await Promise.all(waiting))
    expect(problem.message).toBe("asking the machine web: the connection was closed");
  await monitor.closed;
  expect((await problemOf(monitor.execute("c"))).message).toContain("c was not sent");
});

test("no answer in time is a problem, and a late one harms nobody", async () => {
  let first = "";
  serve(({ execute, id }) => {
    if (execute === "slow") first = id;
    return execute === "slow" ? "" : `{"return": "late", "id": "${first}"}\n{"return": "in time", "id": "${id}"}\n`;
  });
  const monitor = await openQmp(host, socket, { name: "web" });
  expect((await problemOf(monitor.execute("slow", {}, { timeoutMs: 20 }))).message).toContain("no answer to slow in 20ms");
  expect(await monitor.execute("quick")).toBe("in time");
  monitor.close();
});

test.each([
  ["no greeting", "", "no answer to a greeting in 50ms"],
  ["what is no JSON", "<html>\n", "the connection was closed"],
])("%s is a problem", async (_name, greeting, message) => {
  serve(() => "", greeting);
  expect((await problemOf(openQmp(host, socket, { name: "web", timeoutMs: 50 }))).message).toContain(message);
});
