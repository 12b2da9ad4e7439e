import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { mastersOf, openGuest, sshOptions, sshWords } from "./index.ts";
import { openTestGuest, type TestGuest } from "./testing.ts";

const host = localHost();
let there: TestGuest;
beforeAll(async () => {
  there = await openTestGuest();
  await there.guest.connect();
});
afterAll(() => there.close());

const text = (data: Uint8Array): string => Buffer.from(data).toString();

describe("commands", () => {
  test("words, variables and directory arrive as they are, whatever is in them", async () => {
    const words = ["a\nb", "it's", '$HOME `id` \\n !! "q" *', "", "é\u{1f600}", "-n", "'\n'"];
    const done = await there.guest.run({
      argv: ["sh", "-c", 'for w in "$@"; do printf "[%s]" "$w"; done; printf "{%s}{%s}" "$ODD" "$PWD"', "sh", ...words],
      env: { ODD: words.join("|") },
      cwd: "/usr/share",
    });
    const expected = `${words.map((word) => `[${word}]`).join("")}{${words.join("|")}}{/usr/share}`;
    expect([done.code, done.stderr, text(done.stdout)]).toEqual([0, "", expected]);
    const odd = await there.guest.run({ argv: ["env"], env: { "not-a name": "a\nb'c" } });
    expect(text(odd.stdout)).toContain("\nnot-a name=a\nb'c\n");
  });

  test("the environment is the user's own, and tells nothing of the connection", async () => {
    const done = await there.guest.run({ argv: ["sh", "-c", "env; pwd"] });
    const lines = text(done.stdout).split("\n");
    for (const line of ["USER=root", "LOGNAME=root", `HOME=${there.directory}/root`, `${there.directory}/root`]) {
      expect(lines).toContain(line);
    }
    expect(lines.some((line) => line.startsWith("PATH=/"))).toBe(true);
    expect(lines.filter((line) => line.startsWith("SSH_"))).toEqual([]);
  });

  test("streams are apart, statuses exact, signals no statuses", async () => {
    const both = await there.guest.run({ argv: ["sh", "-c", "echo out; echo err >&2; exit 255"] });
    expect([both.code, text(both.stdout), both.stderr]).toEqual([255, "out\n", "err\n"]);
    for (const signal of ["KILL", "TERM", "SEGV"]) {
      const process = await there.guest.spawn({ argv: ["sh", "-c", `kill -s ${signal} $$`] }, () => undefined);
      expect(await process.exited).toEqual({ code: -1, signal: `SIG${signal}`, lost: false });
    }
  });

  test("bytes pass both ways as they are", async () => {
    const data = crypto.getRandomValues(new Uint8Array(65_536));
    const all = Buffer.concat(Array.from({ length: 48 }, () => data));
    const done = await there.guest.run({ argv: ["cat"], input: all });
    expect(Buffer.compare(Buffer.from(done.stdout), all)).toBe(0);
  });

  test("input is closed where it is not asked for; a command need not read it", async () => {
    const closed = await there.guest.run({ argv: ["sh", "-c", "readlink /proc/self/fd/0; cat; echo end"] });
    expect(text(closed.stdout)).toBe("/dev/null\nend\n");
    const unread = await there.guest.run({ argv: ["true"], input: new Uint8Array(8 * 1024 ** 2) });
    expect(unread.code).toBe(0);
  });

  test("what is missing: a program exits with 127, one that is none with 126, a directory is a problem", async () => {
    const missing = await there.guest.run({ argv: ["no-such-program"] });
    expect([missing.code, missing.stderr]).toEqual([127, expect.stringContaining("not found")]);
    expect((await there.guest.run({ argv: ["/etc/passwd"] })).code).toBe(126);
    const problem = await problemOf(there.guest.run({ argv: ["true"], cwd: "/no/such" }));
    expect([problem.code, problem.message]).toEqual(["E_NO_DIRECTORY", expect.stringContaining("cwd '/no/such' does not exist")]);
  });

  test("what cannot be a command is refused before it is sent", async () => {
    const bad = [{ argv: ["a\0b"] }, { argv: [""] }, { argv: ["a"], cwd: "b" }, { argv: ["a"], env: { "a=b": "" } }] as const;
    for (const command of bad) expect((await problemOf(there.guest.run(command))).code).toBe("E_BAD_COMMAND");
  });

  test("a process leads a session, is known before it prints, and becomes the command itself", async () => {
    const seen: string[] = [];
    const process = await there.guest.spawn(
      { argv: ["sh", "-c", "read x; cat /proc/$$/stat"], stdin: "open" },
      (chunk, channel) => seen.push(`${channel} ${text(chunk)}`),
    );
    expect(seen).toEqual([]);
    await process.write("go\n");
    await process.endInput();
    expect(await process.exited).toEqual({ code: 0, signal: undefined, lost: false });
    const fields = seen.join("").split(" ");
    expect([fields[0], fields[1], fields[6]]).toEqual(["stdout", String(process.pid), String(process.pid)]);
    await process.write("nobody is there");
    expect(await process.signal("SIGTERM")).toBe(false);
  });

  test("another user: his groups, home and environment, and still one process", async () => {
    const done = await there.guest.run({
      argv: [
        "sh",
        "-c",
        'echo $(id -un) $(id -gn) $(id -Gn) "$HOME" "$USER" "$LOGNAME" "$PWD" "$WHO"; grep -c . /proc/self/environ; cat /proc/$$/stat',
      ],
      user: "user",
      env: { WHO: "me\n'" },
    });
    expect(text(done.stdout)).toContain(`user user user ${there.directory}/user user user ${there.directory}/user me\n'\n`);
    const fields = text(done.stdout).trimEnd().split("\n").at(-1)?.split(" ") ?? [];
    expect(fields[5]).toBe(fields[0] ?? "");
    const nobody = await problemOf(there.guest.run({ argv: ["true"], user: "no-such-user" }));
    expect(nobody.code).toBe("E_NO_USER");
    expect((await there.guest.run({ argv: ["id", "-un"], user: "root" })).stdout).toEqual(Buffer.from("root\n"));
  });

  test("a user who is not root becomes nobody else", async () => {
    await using other = await openTestGuest({ user: "user" });
    expect(text((await other.guest.run({ argv: ["id", "-un"] })).stdout)).toBe("user\n");
    expect((await problemOf(other.guest.run({ argv: ["true"], user: "games" }))).code).toBe("E_NO_USER");
  });

  test("a command that does not end in time leaves nothing behind", async () => {
    const problem = await problemOf(
      there.guest.run({ argv: ["sh", "-c", "trap '' TERM; setsid sleep 7301 & sleep 7301"], timeoutMs: 100 }),
    );
    expect(problem.code).toBe("E_TIMEOUT");
    expect((await there.guest.run({ argv: ["pgrep", "-fx", "sleep 7301"] })).code).toBe(1);
  });

  test("a guest that is stopped does not hold up who gives it little time", async () => {
    await using other = await openTestGuest({ name: "frozen" });
    await other.guest.connect();
    other.freeze();
    const running = problemOf(other.guest.run({ argv: ["sleep", "7306"], timeoutMs: 50 }));
    // What does not answer is waited for as long as it may take to kill it; here it goes on before that.
    setTimeout(() => other.thaw(), 200);
    expect((await running).code).toBe("E_TIMEOUT");
    expect((await there.guest.run({ argv: ["pgrep", "-fx", "sleep 7306"] })).code).toBe(1);
  });

  test("long commands, up to what a system takes", async () => {
    const long = "x'".repeat(20_000);
    expect(text((await there.guest.run({ argv: ["printf", "%s", long] })).stdout)).toBe(long);
    expect((await problemOf(there.guest.run({ argv: ["printf", "%s", "x".repeat(200_000)] }))).code).toBe("E_BAD_COMMAND");
  });

  test("a slow reader slows the process", async () => {
    const wait = Promise.withResolvers<void>();
    let size = 0;
    const started = Promise.withResolvers<void>();
    const process = await there.guest.spawn({ argv: ["head", "-c", "64000000", "/dev/zero"] }, (chunk) => {
      size += chunk.byteLength;
      started.resolve();
      return wait.promise;
    });
    await started.promise;
    // The window is what may come; another command shows that everything else goes on.
    await there.guest.run({ argv: ["true"] });
    expect(size).toBeLessThanOrEqual(2 * 1024 ** 2);
    wait.resolve();
    expect((await process.exited).code).toBe(0);
    expect(size).toBe(64_000_000);
  });
});

describe("terminals", () => {
  test("size, resizing, raw bytes, the end of the input", async () => {
    let seen = "";
    const waiters: { readonly pattern: RegExp; readonly resolve: () => void }[] = [];
    const until = (pattern: RegExp): Promise<void> =>
      new Promise((resolve) => {
        if (pattern.test(seen)) resolve();
        else waiters.push({ pattern, resolve });
      });
    const process = await there.guest.spawn(
      {
        argv: [
          "bash",
          "-c",
          'tty; stty size; stty -a | grep -o iutf8; trap \'stty size; seen=1\' WINCH; echo $TERM; until [ "$seen" ]; do sleep 0.01; done; while read -r x; do echo "got $x"; done; exit 9',
        ],
        pty: { columns: 91, rows: 31 },
      },
      (chunk, channel) => {
        expect(channel).toBe("pty");
        seen += text(chunk);
        for (const { pattern, resolve } of waiters) if (pattern.test(seen)) resolve();
      },
    );
    await until(/xterm-256color\r\n/);
    expect(seen).toMatch(/^\/dev\/pts\/\d+\r\n31 91\r\niutf8\r\n/);
    process.resize(132, 43);
    await until(/\r\n43 132\r\n/);
    await process.write("é\n");
    await until(/got é\r\n/);
    await process.write("\x04");
    expect(await process.exited).toEqual({ code: 9, signal: undefined, lost: false });
  });

  test("another user's terminal is his own", async () => {
    let seen = "";
    const argv = ["sh", "-c", 'stat -c %U "$(tty)"; echo again >/dev/tty'] as const;
    const process = await there.guest.spawn(
      { argv, user: "user", pty: { columns: 80, rows: 24 } },
      (chunk) => (seen += text(chunk)),
    );
    expect((await process.exited).code).toBe(0);
    expect(seen).toBe("user\r\nagain\r\n");
  });

  test("Ctrl-C is a signal", async () => {
    const ready = Promise.withResolvers<void>();
    const process = await there.guest.spawn(
      { argv: ["sh", "-c", "echo ready; exec sleep 7302"], pty: { columns: 80, rows: 24 } },
      (chunk) => {
        if (text(chunk).includes("ready")) ready.resolve();
      },
    );
    await ready.promise;
    await process.write("\x03");
    const exit = await process.exited;
    expect(exit.signal === "SIGINT" || exit.code === 130).toBe(true);
  });
});

describe("the connection", () => {
  test("thirty processes at once, each answering, though a connection has no more than ten sessions", async () => {
    const processes = await Promise.all(
      Array.from({ length: 30 }, async (_, index) => {
        let seen = "";
        const process = await there.guest.spawn({ argv: ["sh", "-c", `read x; echo "$x ${index}"`], stdin: "open" }, (chunk) => {
          seen += text(chunk);
        });
        return { process, seen: () => seen };
      }),
    );
    await Promise.all(processes.map(({ process }) => process.write("hello\n")));
    const codes = await Promise.all(processes.map(async ({ process }) => (await process.exited).code));
    expect(codes).toEqual(Array.from({ length: 30 }, () => 0));
    expect(processes.map(({ seen }) => seen())).toEqual(Array.from({ length: 30 }, (_, index) => `hello ${index}\n`));
  });

  test("a server that allows more sessions is reached over one connection", async () => {
    await using other = await openTestGuest({ name: "wide", config: ["MaxSessions 40"] });
    const guest = openGuest(host, { ...other.address, maxSessions: 40 });
    await Promise.all(Array.from({ length: 30 }, () => guest.run({ argv: ["sleep", "0.1"] })));
    expect(await mastersOf(host, other.address)).toHaveLength(1);
    guest.close();
  });

  test("another process's object finds it open; closing one leaves it to the other", async () => {
    const before = await mastersOf(host, there.address);
    expect(before[0]).toMatchObject({ socket: there.address.controlSocket });
    const second = openGuest(host, there.address);
    await second.connect();
    const sleeper = await second.spawn({ argv: ["sleep", "7303"] }, () => undefined);
    second.close();
    expect(await sleeper.exited).toEqual({ code: -1, signal: undefined, lost: true });
    expect((await problemOf(second.run({ argv: ["true"] }))).code).toBe("E_GUEST_LOST");
    expect((await there.guest.run({ argv: ["kill", String(sleeper.pid)] })).code).toBe(0);
    expect((await mastersOf(host, there.address)).map(({ pid }) => pid)).toEqual(before.map(({ pid }) => pid));
  });

  test("ssh, scp and sftp use it, with what they are given", async () => {
    expect((await host.run({ argv: [...sshWords(there.address), "echo", "from", "ssh"] })).text()).toBe("from ssh\n");
    const copy = `${there.directory}/copy`;
    const remote = `${there.address.user}@${there.address.address}:${there.directory}/passwd`;
    await host.run({ argv: ["scp", "-q", ...sshOptions(there.address), "-P", String(there.address.port), remote, copy] });
    expect(host.files.readText(copy)).toBe(host.files.readText(`${there.directory}/passwd`));
  });

  test("a guest that was stopped goes on where it was", async () => {
    let seen = "";
    const process = await there.guest.spawn({ argv: ["cat"], stdin: "open" }, (chunk) => (seen += text(chunk)));
    there.freeze();
    const asked = there.guest.run({ argv: ["echo", "thawed"] });
    const written = process.write("through the frost\n");
    await written;
    there.thaw();
    expect(text((await asked).stdout)).toBe("thawed\n");
    await process.endInput();
    expect((await process.exited).code).toBe(0);
    expect(seen).toBe("through the frost\n");
  });

  test("a master that died is replaced, and what ran over it was lost", async () => {
    await using other = await openTestGuest({ name: "dying" });
    const process = await other.guest.spawn({ argv: ["cat"], stdin: "open" }, () => undefined);
    const [master] = await mastersOf(host, other.address);
    expect(host.signal(master?.identity ?? "", "SIGKILL")).toBe(true);
    expect(await process.exited).toEqual({ code: -1, signal: undefined, lost: true });
    expect(await process.signal("SIGKILL")).toBe(false);
    expect(host.files.exists(other.address.controlSocket)).toBe(true);
    expect(text((await other.guest.run({ argv: ["echo", "again"] })).stdout)).toBe("again\n");
    const [next] = await mastersOf(host, other.address);
    expect(next?.pid).not.toBe(master?.pid);
    await other.guest.disconnect();
    expect(await mastersOf(host, other.address)).toEqual([]);
    expect(host.isAlive(next?.identity ?? "")).toBe(false);
    expect(host.files.list(other.directory).some((name) => text(name).startsWith("ssh-") || text(name) === "ssh")).toBe(false);
  });

  test("a server that dies ends what ran, and is unreachable with ssh's own words", async () => {
    await using other = await openTestGuest({ name: "dead" });
    const process = await other.guest.spawn({ argv: ["cat"], stdin: "open" }, () => undefined);
    other.kill();
    expect((await process.exited).lost).toBe(true);
    const problem = await problemOf(openGuest(host, other.address).connect());
    expect(problem.code).toBe("E_GUEST_UNREACHABLE");
    expect(problem.details.join("\n")).toContain("Connection refused");
  });

  test("a server with another key is refused", async () => {
    await using other = await openTestGuest({ name: "other" });
    const problem = await problemOf(
      openGuest(host, { ...other.address, knownHostsFile: there.address.knownHostsFile }).connect(),
    );
    expect([problem.code, problem.details.join("\n")]).toEqual([
      "E_GUEST_UNREACHABLE",
      expect.stringContaining("Host key verification failed"),
    ]);
  });

  test("many who open it at once open one", async () => {
    await using other = await openTestGuest({ name: "many" });
    const guests = Array.from({ length: 8 }, () => openGuest(host, other.address));
    await Promise.all(guests.map((guest) => guest.connect()));
    for (const guest of guests) guest.close();
    expect(await mastersOf(host, other.address)).toHaveLength(1);
  });

  test("whoever waits may go away, and takes his ssh with him", async () => {
    await using other = await openTestGuest({ name: "silent" });
    other.freeze();
    const gone = new AbortController();
    const guest = openGuest(host, other.address);
    const connecting = guest.connect({ signal: gone.signal });
    gone.abort(new Error("never mind"));
    expect(connecting).rejects.toThrow("never mind");
    await connecting.catch(() => undefined);
    const late = await problemOf(guest.connect({ timeoutMs: 50 }));
    expect([late.code, late.message]).toEqual(["E_GUEST_UNREACHABLE", expect.stringContaining("no answer")]);
    other.thaw();
    await guest.connect();
    guest.close();
  });

  test("whoever died while he opened it is not waited for; who lives is", async () => {
    await using other = await openTestGuest({ name: "locked" });
    const lock = `${other.address.controlSocket}.lock`;
    const dead = host.spawn({ argv: ["sleep", "7305"] });
    const identity = host.identityOf(dead.pid) ?? "";
    host.files.writeFile(lock, identity);
    const late = await problemOf(other.guest.connect({ timeoutMs: 100 }));
    expect(late.code).toBe("E_GUEST_UNREACHABLE");
    expect(await mastersOf(host, other.address)).toEqual([]);
    dead.kill("SIGKILL");
    await dead.exited;
    await other.guest.connect();
    expect(await mastersOf(host, other.address)).toHaveLength(1);
    expect(host.files.exists(lock)).toBe(false);
  });

  test("a machine in a network of its own", async () => {
    const name = `garth-guest-${process.pid}`;
    await host.run({ argv: ["ip", "netns", "add", name] });
    try {
      await host.run({ argv: ["ip", "-n", name, "link", "set", "lo", "up"] });
      await using other = await openTestGuest({ name: "inside", through: ["ip", "netns", "exec", name] });
      expect((await problemOf(openGuest(host, { ...other.address, through: [] }).connect())).code).toBe("E_GUEST_UNREACHABLE");
      const [here, inside] = await Promise.all(
        [there, other].map(({ guest }) => guest.run({ argv: ["readlink", "/proc/self/ns/net"] })),
      );
      expect(text(inside?.stdout ?? new Uint8Array())).not.toBe(text(here?.stdout ?? new Uint8Array()));
    } finally {
      await host.run({ argv: ["ip", "netns", "delete", name] });
    }
  });

  test("keys are exchanged anew in mid-stream", async () => {
    await using other = await openTestGuest({ name: "rekey", config: ["RekeyLimit 1M"] });
    const data = Buffer.alloc(6 * 1024 ** 2, "garth");
    expect(Buffer.compare(Buffer.from((await other.guest.run({ argv: ["cat"], input: data })).stdout), data)).toBe(0);
  });

  test("fewer sessions than usual are found out, and made up for", async () => {
    await using other = await openTestGuest({ name: "narrow", config: ["MaxSessions 2"] });
    const results = await Promise.all(
      Array.from({ length: 6 }, (_, index) => other.guest.run({ argv: ["sh", "-c", `sleep 0.2; echo ${index}`] })),
    );
    expect(results.map(({ stdout }) => text(stdout).trim())).toEqual(["0", "1", "2", "3", "4", "5"]);
  });
});
