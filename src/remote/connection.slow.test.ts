/** A host that does not answer, and a Garth that is killed: nobody waits for ever, and what was begun there undoes itself. */
import { expect, test } from "bun:test";
import * as fs from "node:fs";
import { join } from "node:path";
import { problemOf } from "../base/testing.ts";
import { localHost, shellQuote } from "../host/index.ts";
import { type ConnectionOptions, openConnection } from "./index.ts";
import { openTestHost, type TestHost } from "./testing.ts";

const LIMIT_MS = 60_000;
const SILENCE_MS = 3_000;

function optionsFor(to: TestHost): Omit<ConnectionOptions, "host"> {
  const knownHostsFile = join(to.directory, "known");
  fs.writeFileSync(knownHostsFile, `${to.wish.name} ${to.knownHostsLine.split(" ").slice(1).join(" ")}\n`);
  return {
    name: to.wish.name,
    url: to.wish.url,
    identityFile: to.identityFile,
    knownHostsFile,
    runtimeDirectory: join(to.directory, "run"),
    environment: {},
    configFile: "/dev/null",
    silenceMs: SILENCE_MS,
  };
}

/** Says `here`, and when its leash ends makes a fifo: whoever waits for it there knows that it undid itself. */
const undoing = (mark: string): string => `trap '' PIPE\necho 'garth: here' >&2\ncat >/dev/null\nmkfifo ${shellQuote(mark)}\n`;
const waiting = (mark: string): string => `until [ -p ${shellQuote(mark)} ]; do sleep 0.1; done`;

test(
  "a host that does not answer is lost, and another script finds that what it did was undone",
  async () => {
    await using there = await openTestHost({ kind: "linux" });
    const connection = openConnection({ host: localHost(), ...optionsFor(there) });
    const mark = join(there.directory, "undone");
    const here = Promise.withResolvers<void>();
    const running = connection.start({ doing: "working there", body: undoing(mark) }, { onEvent: () => here.resolve() });
    await here.promise;
    there.freeze();
    const problem = await problemOf(running.ended);
    expect(problem.code).toBe("E_HOST_LOST");
    expect(problem.message).toContain("not responding");
    there.thaw();
    await connection.run({ doing: "waiting", body: waiting(mark) });
    await connection.close();
  },
  LIMIT_MS,
);

test(
  "a Garth that is killed leaves no connection, and its script undoes itself",
  async () => {
    await using there = await openTestHost({ kind: "linux" });
    const mark = join(there.directory, "undone");
    const options = optionsFor(there);
    const program = `
import { localHost } from ${JSON.stringify(join(import.meta.dir, "../host/index.ts"))};
import { openConnection } from ${JSON.stringify(join(import.meta.dir, "index.ts"))};
const connection = openConnection({ host: localHost(), ...${JSON.stringify(options)} });
connection.start({ doing: "working there", body: ${JSON.stringify(undoing(mark))} }, { onEvent: () => console.log("here") });
`;
    const file = join(there.directory, "killed.ts");
    fs.writeFileSync(file, program);
    const child = Bun.spawn([process.execPath, file], { stdout: "pipe" });
    for await (const _ of child.stdout) break;
    const sockets = (): readonly string[] => fs.readdirSync(options.runtimeDirectory);
    const [own] = sockets();
    child.kill("SIGKILL");
    await child.exited;
    there.look(waiting(mark));
    // Its connection ends with its last script, and takes its socket along.
    const place = join(options.runtimeDirectory, own ?? "");
    await Bun.spawn(["sh", "-c", `while [ -S ${shellQuote(place)}/1 ]; do sleep 0.1; done`]).exited;
    // Whoever comes next takes the directory away.
    const connection = openConnection({ host: localHost(), ...options });
    await connection.run({ doing: "trying", body: "true" });
    expect(sockets()).toHaveLength(1);
    expect(sockets()).not.toContain(own ?? "");
    await connection.close();
    expect(sockets()).toEqual([]);
    there.look("[ \"$(ps -A -o comm= | grep -c '^sshd')\" = 1 ]");
  },
  LIMIT_MS,
);
