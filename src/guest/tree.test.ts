import { afterAll, beforeAll, expect, test } from "bun:test";
import * as fs from "node:fs";
import { localHost } from "../host/index.ts";
import { openTestGuest, type TestGuest } from "./testing.ts";
import { treeWords } from "./tree.ts";

const host = localHost();
let there: TestGuest;
beforeAll(async () => {
  there = await openTestGuest();
});
afterAll(() => there.close());

const text = (data: Uint8Array): string => Buffer.from(data).toString();
let seconds = 71_000;

/** Programs of one test that still run: each sleeps for a time of its own. */
async function alive(time: number): Promise<readonly string[]> {
  const found = await host.run({ argv: ["pgrep", "-fa", `^sleep ${time}[0-9]$`], okStatuses: [0, 1] });
  return found
    .text()
    .split("\n")
    .flatMap((line) => line.split(" ").slice(2));
}

/** Children, sessions of their own, daemons that nobody is the parent of, one without environment. */
const FAMILY = (time: number): string => `
  sleep ${time}1 & setsid sleep ${time}2 & (setsid sh -c 'sleep ${time}3 & exec sleep ${time}4' &)
  (setsid sh -c '(setsid sleep ${time}5 &) &' &)
  env -i sleep ${time}6 &
  for n in 1 2 3 4 5 6; do until pgrep -fx "sleep ${time}$n" >/dev/null; do :; done; done
  echo ready`;

async function family(
  then: string,
): Promise<{ readonly time: number; readonly process: Awaited<ReturnType<TestGuest["guest"]["spawn"]>> }> {
  seconds += 1;
  const time = seconds;
  const ready = Promise.withResolvers<void>();
  const process = await there.guest.spawn({ argv: ["bash", "-c", `${FAMILY(time)}; ${then}`] }, () => ready.resolve());
  await ready.promise;
  return { time, process };
}

test.each(["SIGKILL", "SIGTERM", "SIGHUP"] as const)("%s reaches everything that a command started", async (signal) => {
  const { time, process } = await family("wait");
  expect((await alive(time)).length).toBe(6);
  expect(await process.signal(signal)).toBe(true);
  expect(await process.exited).toEqual({ code: -1, signal, lost: false });
  expect(await alive(time)).toEqual([]);
  expect(await process.signal(signal)).toBe(false);
});

test("a leader that has ended leaves others behind, who hold its output and are reached as well", async () => {
  const { time, process } = await family("exit 5");
  const bystander = await there.guest.spawn({ argv: ["sleep", "72000"] }, () => undefined);
  // Its end is told before the end of its output; this command is answered later than it.
  await there.guest.run({ argv: ["sh", "-c", `while kill -0 ${process.pid} 2>/dev/null; do :; done`] });
  await there.guest.run({ argv: ["true"] });
  expect((await alive(time)).length).toBe(6);
  expect(await process.signal("SIGKILL")).toBe(true);
  expect(await process.exited).toEqual({ code: 5, signal: undefined, lost: false });
  // Without its environment, and without a parent, there is nothing to tell it by but the session: it had the leader's.
  expect(await alive(time)).toEqual([]);
  expect(await bystander.signal("SIGTERM")).toBe(true);
  expect((await bystander.exited).signal).toBe("SIGTERM");
});

test("a program that starts others as fast as it can is stopped first", async () => {
  seconds += 1;
  const ready = Promise.withResolvers<void>();
  const loop = `while :; do setsid sleep ${seconds}1 & sleep 0.01; [ "$x" ] || echo ready; x=1; done`;
  const process = await there.guest.spawn({ argv: ["bash", "-c", loop] }, () => ready.resolve());
  await ready.promise;
  expect(await process.signal("SIGKILL")).toBe(true);
  await process.exited;
  expect(await alive(seconds)).toEqual([]);
});

test("one who ignores it goes on", async () => {
  const ready = Promise.withResolvers<void>();
  const process = await there.guest.spawn(
    { argv: ["sh", "-c", "trap '' TERM; echo ready; read x; echo $x"], stdin: "open" },
    () => ready.resolve(),
  );
  await ready.promise;
  expect(await process.signal("SIGTERM")).toBe(true);
  await process.write("still here\n");
  expect(await process.exited).toEqual({ code: 0, signal: undefined, lost: false });
});

test("a terminal's processes", async () => {
  seconds += 1;
  const ready = Promise.withResolvers<void>();
  const shell = ["bash", "-i", "-c", `sleep ${seconds}1 & setsid -f sleep ${seconds}2; echo ready; sleep ${seconds}3`] as const;
  let seen = "";
  const process = await there.guest.spawn({ argv: shell, pty: { columns: 80, rows: 24 } }, (chunk) => {
    seen += text(chunk);
    if (seen.includes("ready")) ready.resolve();
  });
  await ready.promise;
  expect(await process.signal("SIGKILL")).toBe(true);
  expect((await process.exited).signal).toBe("SIGKILL");
  expect(await alive(seconds)).toEqual([]);
});

/** The script as other guests run it: busybox, and a machine that has ps(1) and no /proc. */
const NO_PROC = `ps axww -o pid= -o ppid= -o sid= -o state= >"$T/table"; ps axeww -o pid= -o command= >"$T/environment"
  printf '%s\\n' '#!/bin/sh' 'case $1 in -axww) cat '"$T"'/table;; -axeww) cat '"$T"'/environment;; esac' >"$T/ps"
  chmod +x "$T/ps"; mount --make-rprivate /; mount -t tmpfs none /proc; PATH=$T:$PATH`;
test.each([
  ["busybox", ":", ["busybox", "sh"]],
  ["ps", NO_PROC, ["dash"]],
])("by %s", async (_name, before, shell) => {
  seconds += 1;
  const mark = "0123456789abcdef0123456789abcdef";
  const directory = host.files.makeTemporaryDirectory("/tmp/garth-tree-");
  const started = Promise.withResolvers<void>();
  const leader = host.spawn(
    { argv: ["bash", "-c", `${FAMILY(seconds)}; wait`], env: { GARTH_COMMAND: mark, PATH: "/usr/bin:/bin" } },
    { session: "own", onOutput: () => started.resolve() },
  );
  await started.promise;
  try {
    // Not its first pass but its last is told: what it found when it was stopped.
    const [, , program, ...words] = treeWords({ signal: "SIGKILL", pid: leader.pid, mark, leaderGone: false });
    const argv = [
      "unshare",
      "--mount",
      "sh",
      "-c",
      `T=${directory}; ${before}; exec "$@"`,
      "sh",
      ...shell,
      "-c",
      program ?? "",
      ...words,
    ] as const;
    const sent = Number((await host.run({ argv })).text());
    expect(sent).toBe(7);
    expect((await leader.exited).signal).toBe("SIGKILL");
    expect(await alive(seconds)).toEqual([]);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
});
