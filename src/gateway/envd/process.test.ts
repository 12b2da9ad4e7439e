/** The unmodified SDK runs commands in a guest behind a real SSH server. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { CommandExitError, type Sandbox } from "@e2b/code-interpreter";
import { openTestGuest, type TestGuest } from "../../guest/testing.ts";
import { allOf, callStream, callUnary, serveEnvd, type ServedEnvd } from "./envd.testing.ts";

let guest: TestGuest;
let served: ServedEnvd;
let sandbox: Sandbox;

beforeAll(async () => {
  guest = await openTestGuest();
  await guest.guest.connect();
  served = await serveEnvd(guest.guest, { limits: { endedKeptMax: 3 } });
  sandbox = await served.sandbox();
});

afterAll(async () => {
  await served.close();
  await guest.close();
});

/** Whether a process with these words is there, asked past the data plane. */
async function isThere(words: string): Promise<boolean> {
  const { code } = await guest.guest.run({ argv: ["pgrep", "-f", "-x", words] });
  return code === 0;
}

/** A number of seconds that nobody else sleeps. */
let naps = 0;
const nap = (): string => `sleep 77${process.pid}${(naps += 1)}`;

describe("commands", () => {
  test("output on both channels as it comes, and the exit", async () => {
    const seen: string[] = [];
    const first = Promise.withResolvers<void>();
    const handle = await sandbox.commands.run("echo one; read -r line; echo $line; echo three >&2", {
      background: true,
      stdin: true,
      onStdout: (text) => {
        seen.push(text);
        first.resolve();
      },
    });
    await first.promise;
    expect(seen).toEqual(["one\n"]);
    await handle.sendStdin("two\n");
    expect(await handle.wait()).toMatchObject({ exitCode: 0, stdout: "one\ntwo\n", stderr: "three\n" });
  });

  test("the environment: the user's, the sandbox's, the request's, and the last wins", async () => {
    const { stdout } = await sandbox.commands.run('echo "$FROM_SANDBOX $BOTH $USER $LOGNAME $HOME"; pwd', {
      envs: { BOTH: "request" },
    });
    const home = `${guest.directory}/root`;
    expect(stdout).toBe(`sandbox request root root ${home}\n${home}\n`);
  });

  test("another user, by name", async () => {
    const { stdout } = await sandbox.commands.run("id -un; pwd", { user: "user" });
    expect(stdout).toBe(`user\n${guest.directory}/user\n`);
  });

  test("an unknown user is not let in", async () => {
    expect(sandbox.commands.run("true", { user: "nobody-at-all" })).rejects.toThrow(/unauthenticated/);
  });

  test.each([
    ["/tmp", "/tmp"],
    ["~", ""],
    ["in-home", "/in-home"],
  ])("the directory %s", async (cwd, expected) => {
    await sandbox.files.makeDir("in-home");
    const { stdout } = await sandbox.commands.run("pwd", { cwd });
    expect(stdout).toBe(`${cwd === "/tmp" ? "" : `${guest.directory}/root`}${expected}\n`);
  });

  test("a directory that is not there", async () => {
    expect(sandbox.commands.run("true", { cwd: "/nowhere/at/all" })).rejects.toThrow(
      "[invalid_argument] cwd '/nowhere/at/all' does not exist",
    );
  });

  test("a failure has envd's words for it", async () => {
    const failed: unknown = await sandbox.commands.run("echo out; exit 3").catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(CommandExitError);
    expect(failed).toMatchObject({ exitCode: 3, error: "exit status 3", stdout: "out\n" });
  });

  test("a signal is -1, and has its name", async () => {
    const handle = await sandbox.commands.run("kill -9 $$", { background: true });
    expect(await handle.wait().catch((error: unknown) => error)).toMatchObject({ exitCode: -1, error: "signal: killed" });
  });

  test("no input is the end of it; an open one is closed by hand", async () => {
    expect((await sandbox.commands.run("cat; echo end")).stdout).toBe("end\n");
    const handle = await sandbox.commands.run("cat; echo end", { background: true, stdin: true });
    await sandbox.commands.sendStdin(handle.pid, "ü\n");
    await sandbox.commands.closeStdin(handle.pid);
    expect((await handle.wait()).stdout).toBe("ü\nend\n");
  });

  test("bytes that are no text come through", async () => {
    const events = await allOf(
      await callStream(served, "process.Process/Start", { process: { cmd: "printf", args: ["\\377\\000\\n"] } }),
    );
    expect(events[1]?.document).toEqual({ event: { data: { stdout: "/wAK" } } });
  });

  test("killed once, and once only", async () => {
    const handle = await sandbox.commands.run(nap(), { background: true });
    expect(await handle.kill()).toBe(true);
    expect(await handle.wait().catch((error: unknown) => error)).toMatchObject({ exitCode: -1 });
    expect(await handle.kill()).toBe(false);
    expect(await sandbox.commands.kill(4_000_000)).toBe(false);
  });

  test("listed while they run, with their words and tag", async () => {
    const seconds = nap().slice("sleep ".length);
    const stream = await callStream(served, "process.Process/Start", {
      process: { cmd: "sleep", args: [seconds], envs: { A: "1" }, cwd: "/tmp" },
      tag: "napping",
    });
    await stream.next();
    const { document } = await callUnary(served, "process.Process/List", {});
    expect(document["processes"]).toEqual([
      { config: { cmd: "sleep", args: [seconds], envs: { A: "1" }, cwd: "/tmp" }, pid: expect.any(Number), tag: "napping" },
    ]);
    await callUnary(served, "process.Process/SendSignal", { process: { tag: "napping" }, signal: "SIGNAL_SIGTERM" });
    const rest = await allOf(stream);
    expect(rest.at(-2)?.document).toEqual({
      event: { end: { exitCode: -1, status: "signal: terminated", error: "signal: terminated" } },
    });
    expect(await sandbox.commands.list()).toEqual([]);
  });

  test("a program that is not there is a start, and an end with 127", async () => {
    const events = await allOf(await callStream(served, "process.Process/Start", { process: { cmd: "/no/such/program" } }));
    const kinds = events.map(({ document }) => Object.keys(document["event"] ?? document));
    expect(kinds).toEqual([["start"], ["data"], ["end"], []]);
    expect(events[2]?.document).toEqual({
      event: { end: { exitCode: 127, exited: true, status: "exit status 127", error: "exit status 127" } },
    });
  });
});

describe("time limits and connections", () => {
  test("at the deadline everything that a command started goes with it", async () => {
    const [child, stray] = [nap(), nap()];
    const run = sandbox.commands.run(`setsid ${stray} & ${child} & echo started; wait`, { timeoutMs: 700 });
    expect(run).rejects.toThrow(/deadline_exceeded/);
    await run.catch(() => undefined);
    // The client counts as well and does not wait for the answer; a second look at the process does.
    const events = await allOf(
      await callStream(
        served,
        "process.Process/Start",
        { process: { cmd: "sh", args: ["-c", `${child} & setsid ${stray} & wait`] } },
        {
          headers: { "connect-timeout-ms": "300" },
        },
      ),
    );
    expect(events.at(-1)).toEqual({
      flags: 2,
      document: { error: { code: "deadline_exceeded", message: expect.any(String) } },
    });
    expect(await isThere(child)).toBe(false);
    expect(await isThere(stray)).toBe(false);
  });

  test.each([0, 9_999_999_999])("a limit of %d ms does not come", async (timeoutMs) => {
    const stream = await callStream(
      served,
      "process.Process/Start",
      { process: { cmd: "sleep", args: ["0.2"] } },
      {
        headers: { "connect-timeout-ms": String(timeoutMs) },
      },
    );
    expect((await allOf(stream)).map(({ flags }) => flags)).toEqual([0, 0, 2]);
  });

  test("a client that goes away does not take its command along; who connects sees what comes from then on", async () => {
    const before = Promise.withResolvers<string>();
    const command = "echo before; read -r go; echo after $go";
    const handle = await sandbox.commands.run(command, {
      background: true,
      stdin: true,
      onStdout: (text) => before.resolve(text),
    });
    expect(await before.promise).toBe("before\n");
    await handle.disconnect();
    const again = await sandbox.commands.connect(handle.pid);
    await again.sendStdin("now\n");
    expect((await again.wait()).stdout).toBe("after now\n");
  });

  test("two who are connected both see it", async () => {
    const handle = await sandbox.commands.run("read -r line; echo $line", { background: true, stdin: true });
    const other = await sandbox.commands.connect(handle.pid);
    await handle.sendStdin("both\n");
    expect([(await handle.wait()).stdout, (await other.wait()).stdout]).toEqual(["both\n", "both\n"]);
  });

  test("who connects late finds the end, and the output before it", async () => {
    const handle = await sandbox.commands.run("echo out; echo err >&2; exit 4", { background: true });
    await handle.wait().catch(() => undefined);
    const late = await sandbox.commands.connect(handle.pid);
    expect(await late.wait().catch((error: unknown) => error)).toMatchObject({ exitCode: 4, stdout: "out\n", stderr: "err\n" });
  });

  test("a command that was killed at its deadline is found so", async () => {
    const handle = await sandbox.commands.run(`echo x; ${nap()}`, { background: true, timeoutMs: 300 });
    const other = await sandbox.commands.connect(handle.pid, { timeoutMs: 0 });
    expect(await other.wait().catch((error: unknown) => error)).toMatchObject({ exitCode: -1, error: "signal: killed" });
    expect(await handle.wait().catch((error: unknown) => error)).toMatchObject({ name: "TimeoutError" });
    const late = await sandbox.commands.connect(handle.pid);
    expect(await late.wait().catch((error: unknown) => error)).toMatchObject({
      exitCode: -1,
      error: "signal: killed",
      stdout: "x\n",
    });
  });

  test("only so many ends are kept", async () => {
    const handles = [];
    for (let count = 0; count < 4; count += 1) {
      const handle = await sandbox.commands.run("true", { background: true });
      await handle.wait();
      handles.push(handle);
    }
    expect(sandbox.commands.connect(handles[0]?.pid ?? 0)).rejects.toThrow(/not_found/);
    expect((await (await sandbox.commands.connect(handles[3]?.pid ?? 0)).wait()).exitCode).toBe(0);
  });

  test("a connection's own limit ends the connection, not the process", async () => {
    const handle = await sandbox.commands.run("read -r line; echo $line", { background: true, stdin: true });
    const events = await allOf(
      await callStream(
        served,
        "process.Process/Connect",
        { process: { pid: handle.pid } },
        { headers: { "connect-timeout-ms": "100" } },
      ),
    );
    expect(events.at(-1)?.document).toMatchObject({ error: { code: "deadline_exceeded" } });
    await handle.sendStdin("still here\n");
    expect((await handle.wait()).stdout).toBe("still here\n");
  });

  test("a sign of life when nothing happens, as often as the client asks for it", async () => {
    const stream = await callStream(
      served,
      "process.Process/Start",
      { process: { cmd: "cat" } },
      { headers: { "keepalive-ping-interval": "1" } },
    );
    const first = (await stream.next()).value?.document["event"];
    expect((await stream.next()).value?.document).toEqual({ event: { keepalive: {} } });
    expect(first).toEqual({ start: { pid: expect.any(Number) } });
    await callUnary(served, "process.Process/CloseStdin", { process: first === undefined ? {} : Object.values(first)[0] });
    expect((await allOf(stream)).at(-2)?.document).toMatchObject({ event: { end: { exited: true } } });
  });
});

describe("terminals", () => {
  test("made, typed into, resized, connected to, and killed", async () => {
    const decoder = new TextDecoder();
    let screen = "";
    let wanted: { readonly text: string; readonly found: () => void } | undefined;
    const onData = (data: Uint8Array) => {
      screen += decoder.decode(data, { stream: true });
      if (wanted !== undefined && screen.includes(wanted.text)) wanted.found();
    };
    const until = async (text: string) => {
      if (screen.includes(text)) return;
      await new Promise<void>((found) => {
        wanted = { text, found };
      });
    };
    const type = async (text: string) => await sandbox.pty.sendInput(terminal.pid, new TextEncoder().encode(text));
    const terminal = await sandbox.pty.create({ cols: 91, rows: 17, onData, timeoutMs: 0 });
    await type("stty size; echo $TERM-$LANG\n");
    await until("17 91");
    await until("xterm-256color-C.UTF-8");
    await sandbox.pty.resize(terminal.pid, { cols: 120, rows: 40 });
    // The size travels on its own way, and is asked for until it is there.
    await type("until [ \"$(stty size)\" = '40 120' ]; do sleep 0.05; done; echo resi''zed\n");
    await until("resized");
    let other = "";
    const seen = Promise.withResolvers<void>();
    await sandbox.pty.connect(terminal.pid, {
      onData: (data) => {
        other += Buffer.from(data).toString();
        if (other.includes("again")) seen.resolve();
      },
    });
    await type("echo ag''ain\n");
    await seen.promise;
    expect(await terminal.kill()).toBe(true);
    expect(await terminal.wait().catch((error: unknown) => error)).toMatchObject({ exitCode: -1 });
  });

  test("what belongs to a terminal is refused for a command, and the other way round", async () => {
    const handle = await sandbox.commands.run("cat", { background: true, stdin: true });
    const process = { pid: handle.pid };
    const failed = { status: 400, document: { code: "failed_precondition" } };
    expect(await callUnary(served, "process.Process/SendInput", { process, input: { pty: "eA==" } })).toMatchObject(failed);
    expect(await callUnary(served, "process.Process/Update", { process, pty: { size: { cols: 1, rows: 1 } } })).toMatchObject(
      failed,
    );
    expect(await callUnary(served, "process.Process/SendInput", { process })).toMatchObject({
      document: { code: "invalid_argument" },
    });
    await handle.closeStdin();
    await handle.wait();
    const silent = await sandbox.commands.run(nap(), { background: true });
    expect(
      await callUnary(served, "process.Process/SendInput", { process: { pid: silent.pid }, input: { stdin: "eA==" } }),
    ).toMatchObject(failed);
    const terminal = await sandbox.pty.create({ cols: 80, rows: 24, onData: () => {} });
    expect(await callUnary(served, "process.Process/CloseStdin", { process: { pid: terminal.pid } })).toMatchObject(failed);
    await terminal.kill();
    await silent.kill();
  });
});

test("a guest that has its bash elsewhere runs what clients send", async () => {
  const before =
    "mkdir -p /usr/local/bin && cp /bin/bash /tmp/garth-bash-$$ && mount -t tmpfs none /usr/local/bin && mv /tmp/garth-bash-$$ /usr/local/bin/bash && mount --bind /dev/null /bin/bash";
  await using elsewhere = await openTestGuest({ name: "elsewhere", shell: "/bin/sh", before });
  await elsewhere.guest.connect();
  const there = await serveEnvd(elsewhere.guest);
  const { stdout } = await (await there.sandbox()).commands.run("echo $BASH");
  expect(stdout).toBe("/usr/local/bin/bash\n");
  await there.close();
});
