/** The console probe against real shells on a real terminal line: util-linux's script(1) gives them one. */
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { consoleReader } from "../machine/index.ts";
import { type ConsoleProbe, openConsoleProbe } from "./console-probe.ts";
import type { ProbeAnswer } from "./types.ts";

const NONCE = "8f3a";
const open = (command: string): ConsoleProbe => openConsoleProbe({ command, nonce: NONCE, startedAtMs: 1000, timeoutMs: 5000 });

/** A root shell's console, its prompt standing: what the probe types goes to a real shell, and what that prints comes back. */
function inShell(
  shell: readonly string[],
  command: string,
): { readonly answer: ProbeAnswer | undefined; readonly screen: string } {
  const probe = open(command);
  expect(probe.takeTyping()).toBe("\r");
  probe.partial("root@garth:~# ", 1100);
  probe.tick(1200);
  const typed = probe.takeTyping() ?? "";
  const done = spawnSync("script", ["-qec", shell.join(" "), "/dev/null"], {
    input: `${typed}exit\r`,
    env: { PATH: "/usr/bin:/bin", TERM: "dumb", PS1: "# ", HOME: "/nonexistent" },
    timeout: 20_000,
  });
  const reader = consoleReader();
  for (const { text } of [...reader.push(done.stdout, 1300), ...reader.end()]) probe.line(text, 1300);
  return { answer: probe.answer, screen: done.stdout.toString() };
}

describe("in a real shell", () => {
  const shells = [
    ["sh", "-i"],
    ["bash", "--norc", "--noprofile", "-i"],
  ] as const;
  for (const shell of shells) {
    test(`${shell[0]}: output and status come back, and the echo of what was typed is not taken for them`, () => {
      const { answer, screen } = inShell(shell, "printf 'one\\ntwo'; exit 7");
      expect(answer).toEqual({ kind: "answered", output: "one\ntwo\n", status: 7 });
      // The terminal did echo the line, which names both markers in pieces.
      expect(screen).toContain("/bin/sh -c ");
    });
    test(`${shell[0]}: quotes, dollars and pipes arrive as they were written`, () => {
      const { answer } = inShell(shell, `a="it's"; printf '%s\\n' "$a \${a}" '$x' | tr a-z A-Z; cat`);
      expect(answer).toEqual({ kind: "answered", output: "IT'S IT'S\n$X\n", status: 0 });
    });
  }
});

describe("the console", () => {
  const typedFor = (probe: ConsoleProbe): string => {
    probe.takeTyping();
    probe.partial("# ", 1100);
    probe.tick(1150);
    return probe.takeTyping() ?? "";
  };

  test("is typed at only where a root prompt stands still", () => {
    for (const [prompt, is] of [
      ["root@garth:~# ", true],
      ["# ", true],
      ["root@:~ #", true],
      ["garth login: ", false],
      ["user@garth:~$ ", false],
      ["########## ", false],
    ] as const) {
      const probe = open("true");
      probe.takeTyping();
      probe.partial(prompt, 1100);
      expect(probe.nextDeadlineMs).toBe(is ? 1150 : 6000);
      probe.tick(1149);
      expect(probe.takeTyping()).toBeUndefined();
      probe.tick(1150);
      expect(probe.takeTyping() !== undefined).toBe(is);
      expect(probe.echoing).toBe(is);
    }
  });
  test("may say other things before and between", () => {
    const probe = open("true");
    expect(typedFor(probe)).toEndWith("\r");
    probe.line("[   12.0] usb 1-1: new device", 1200);
    probe.line(`garth-probe-begin-other`, 1200);
    probe.line(`garth-probe-end-${NONCE}:0`, 1200);
    expect(probe.answer).toBeUndefined();
    probe.line(`garth-probe-begin-${NONCE}`, 1200);
    expect(probe.echoing).toBe(false);
    probe.line("active", 1300);
    probe.line(`tail without newline garth-probe-end-${NONCE}:3`, 1300);
    expect(probe.answer).toEqual({ kind: "answered", output: "active\ntail without newline \n", status: 3 });
    expect(probe.nextDeadlineMs).toBeUndefined();
  });
  test("that says nothing gives the reason", () => {
    const silence = (prepare: (probe: ConsoleProbe) => void): string => {
      const probe = open("true");
      prepare(probe);
      probe.tick(6000);
      return probe.answer?.kind === "silent" ? probe.answer.detail : "";
    };
    expect(silence(() => {})).toBe("no root shell was found on the serial console within 5 s");
    expect(silence((probe) => probe.partial("garth login: ", 1100))).toContain("asks for a login");
    expect(silence((probe) => void typedFor(probe))).toContain("did not run the command");
    expect(
      silence((probe) => {
        typedFor(probe);
        probe.line(`garth-probe-begin-${NONCE}`, 1200);
      }),
    ).toBe("the command did not end within 5 s");
  });
  test("may flood: 64 KiB of it are kept", () => {
    const probe = open("yes");
    typedFor(probe);
    probe.line(`garth-probe-begin-${NONCE}`, 1200);
    for (let line = 0; line < 10_000; line += 1) probe.line("y".repeat(60), 1200);
    probe.line(`garth-probe-end-${NONCE}:0`, 1200);
    expect(probe.answer).toMatchObject({ kind: "answered", status: 0 });
    expect(probe.answer?.kind === "answered" ? probe.answer.output.length : 0).toBe(65_536);
  });
});
