import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { resolveGate } from "./builtin.ts";
import { repeatsCommandLine } from "./commandline.ts";
import { gate, type GateFields } from "./declare.ts";
import { openJudge, QUIET_MS } from "./judge.ts";
import { renderReason } from "./reasons.ts";
import { byLine, type Chunk, play, recorded } from "./testing.ts";
import type { Gate } from "./types.ts";

const LINUX = resolveGate(gate({ extends: "linux", timeoutS: 60 }), "linux");
const FREEBSD = resolveGate(gate({ extends: "freebsd", timeoutS: 60 }), "linux");
const gateOf = (fields: GateFields): Gate => resolveGate(gate({ extends: "none", timeoutS: 60, ...fields }), "linux");
const kinds = (decision: { readonly reasons: readonly { readonly kind: string }[] }): readonly string[] =>
  decision.reasons.map(({ kind }) => kind);

describe("recorded consoles", () => {
  test("a sound Debian passes, by the line that says so and by no line that quotes the command line", () => {
    const { decision, judge } = play(LINUX, byLine(recorded("debian-good")));
    expect(decision).toMatchObject({ verdict: "pass", reasons: [] });
    expect(judge.markers[0]?.line).toStartWith("garth: ready /frx/store/3f1c");
    expect(judge.readyAtMs).toBe(decision.atMs);
  });
  test("the same without that line does not: quoted command lines are all that is left of it", () => {
    const text = recorded("debian-good").replace(/^garth: ready.*\r\n/m, "");
    expect(text.match(/garth: ready/g)).toHaveLength(3);
    for (const pattern of ["^garth: ready ", "garth: ready", "ready /frx/store"]) {
      const { decision } = play(
        { ...LINUX, require: [{ name: "m", pattern, withinS: undefined, ordered: false }] },
        byLine(text),
      );
      expect(kinds(decision)).toEqual(["timed-out", "missing-marker"]);
    }
  });
  test("a sound FreeBSD passes, and without its line does not", () => {
    expect(play(FREEBSD, byLine(recorded("freebsd-good"))).decision.verdict).toBe("pass");
    const { decision } = play(FREEBSD, byLine(recorded("freebsd-good").replace(/^garth: ready.*\r\n/m, "")));
    expect(kinds(decision)).toEqual(["timed-out", "missing-marker"]);
  });
  test("a kernel without a root file system fails at its first word of it", () => {
    const { decision } = play(LINUX, byLine(recorded("linux-no-root")));
    expect(decision.reasons).toMatchObject([{ kind: "forbidden-line", rule: "no-root", atMs: 90 }]);
  });
  test("a unit that starts again and again fails, its neighbour's restart not counted", () => {
    const { decision } = play(LINUX, byLine(recorded("systemd-restart-loop")));
    expect(decision.reasons).toMatchObject([{ kind: "restart-loop", rule: "unit-restarts", count: 6, max: 5 }]);
    expect(decision.reasons[0]).toMatchObject({ line: expect.stringContaining("colibri.service") });
  });
  test("a prompt for a root file system fails though its line never ends", () => {
    const { decision } = play(FREEBSD, byLine(recorded("freebsd-mountroot")));
    expect(decision.reasons).toMatchObject([{ kind: "forbidden-line", rule: "mountroot", line: "mountroot> " }]);
  });
  test("a flood of nothing runs into the time limit", () => {
    const flood = byLine("x".repeat(200).concat("\r\n").repeat(2000)).map(({ bytes }) => ({ bytes, atMs: 5 }));
    expect(kinds(play(LINUX, flood).decision)).toEqual(["timed-out", "missing-marker"]);
  });
});

describe("every built-in rule", () => {
  const samples: Readonly<Record<string, readonly [rule: string, line: string][]>> = {
    linux: [
      ["no-boot-device", "BdsDxe: No bootable option or device was found."],
      ["no-boot-device", "No bootable device."],
      ["uefi-shell", "Shell> "],
      ["grub-prompt", "grub rescue> "],
      ["no-root", "[    1.405600] VFS: Unable to mount root fs on unknown-block(0,0)"],
      ["kernel-panic", "[    1.405600] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100"],
      ["kernel-bug", "[    4.100000] BUG: kernel NULL pointer dereference, address: 0000000000000000"],
      ["kernel-bug", "[    4.100000][    T1] Oops: 0002 [#1] PREEMPT SMP NOPTI"],
      ["kernel-bug", "kernel BUG at fs/ext4/inode.c:2721!"],
      ["kernel-fault", "[    4.100000] traps: sshd[311] general protection fault ip:7f12 sp:7ffc error:0 in libc.so.6"],
      ["segfault", "[    9.100000] colibri[311]: segfault at 10 ip 000055d0c7a1b139 sp 00007ffd3 error 4 in colibri"],
      ["out-of-memory", "[   12.000000] postgres invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"],
      ["out-of-memory", "[   12.000000] Out of memory: Killed process 312 (postgres) total-vm:812345kB"],
      ["initramfs-shell", "ALERT!  LABEL=garth-root does not exist.  Dropping to a shell!"],
      ["initramfs-shell", "(initramfs) "],
      ["emergency-mode", 'You are in emergency mode. After logging in, type "journalctl -xb" to view'],
      ["emergency-locked", "Cannot open access to console, the root account is locked."],
      ["systemd-frozen", "[!!!!!!] Failed to mount API filesystems."],
      ["systemd-frozen", "[    2.000000] systemd[1]: Freezing execution."],
      ["failed-unit", "[FAILED] Failed to start colibri.service - Colibri daemon."],
      ["failed-unit", "[DEPEND] Dependency failed for local-fs.target - Local File Systems."],
      ["failed-unit", "[ TIME ] Timed out waiting for device dev-disk-by\\x2dlabel-data.device - /dev/disk/by-label/data."],
      ["permission-denied", "colibri-daemon[412]: open /var/lib/colibri/state: Permission denied"],
      [
        "ext4-error",
        "[    5.000000] EXT4-fs error (device vda2): ext4_lookup:1785: inode #12: comm init: deleted inode referenced: 17",
      ],
      ["file-system-corrupt", "/dev/vda2: UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY."],
      ["disk-error", "[    5.000000] I/O error, dev vda, sector 2048 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2"],
      ["unit-given-up", "[    9.000000] systemd[1]: colibri.service: Start request repeated too quickly."],
      ["getty-respawning", 'INIT: Id "S0" respawning too fast: disabled for 5 minutes'],
    ],
    freebsd: [
      ["loader", "can't load 'kernel'"],
      ["panic", "panic: vm_fault_lookup: fault on nofault entry, addr: 0xfffffe0000000000"],
      ["fatal-trap", "Fatal trap 12: page fault while in kernel mode"],
      ["debugger", "db> "],
      ["mountroot", "mountroot> "],
      ["single-user", "Enter full pathname of shell or RETURN for /bin/sh: "],
      ["boot-aborted", "ERROR: ABORTING BOOT (sending SIGTERM to parent)!"],
      ["fsck-failed", "Automatic file system check failed; help!"],
      ["init-died", "panic: init died (signal 0, exit 1)"],
      ["permission-denied", "/etc/rc.d/colibri_daemon: /var/run/colibri: Permission denied"],
      ["crashed", "pid 712 (colibri-daemon), jid 0, uid 1001: exited on signal 11 (core dumped)"],
      ["out-of-memory", "pid 712 (postgres), jid 0, uid 770, was killed: failed to reclaim memory"],
      ["disk-error", "g_vfs_done():vtbd0p2[READ(offset=65536, length=32768)]error = 5"],
      ["getty-respawning", "init: getty repeating too quickly on port /dev/ttyu0, sleeping 30 secs"],
    ],
  };
  for (const [system, rows] of Object.entries(samples)) {
    const all = system === "linux" ? LINUX : FREEBSD;
    for (const [rule, line] of rows) {
      test(`${system} ${rule}: ${line.slice(0, 40)}`, () => {
        const only = { ...all, forbid: all.forbid.filter(({ name }) => name === rule) };
        const alone = { ...only, restartLoops: all.restartLoops.filter(({ name }) => name === rule) };
        expect(play(alone, byLine(`${line}\r\n`)).decision.reasons[0]).toMatchObject({ rule, line });
      });
    }
    test(`${system}: each has a line here, but those that count`, () => {
      const counting = all.restartLoops.filter(({ max }) => max > 0);
      const named = [...all.forbid, ...all.restartLoops].filter((rule) => !counting.some(({ name }) => name === rule.name));
      expect(new Set(rows.map(([rule]) => rule))).toEqual(
        new Set(
          named.map(({ name }) => name).filter((name) => system === "linux" || !["no-boot-device", "uefi-shell"].includes(name)),
        ),
      );
    });
  }
  test.each([
    ["linux", "unit-started-again", "[  OK  ] Started colibri.service - Colibri daemon.", 6],
    ["linux", "kernel-started-again", "[    0.000000] Linux version 6.1.0-21-amd64", 3],
    ["freebsd", "service-started-again", "Starting sshd.", 6],
    ["freebsd", "kernel-started-again", "---<<BOOT>>---", 2],
  ])("%s %s counts", (system, rule, line, count) => {
    const set = system === "linux" ? LINUX : FREEBSD;
    expect(play(set, byLine(`${line}\r\n`.repeat(count))).decision.reasons).toMatchObject([
      { kind: "restart-loop", rule, count },
    ]);
    expect(play(set, byLine(`${line}\r\n`.repeat(count - 1))).decision.reasons[0]).toMatchObject({ kind: "timed-out" });
  });
});

test("no line is long enough to keep the built-in rules busy", () => {
  // One rule that tried every beginning of a word for itself took 18 s for each of these, and the test's limit is 5 s.
  for (const piece of ["x", "a ", "[", "a:", "1.", "\u001b", "Jan 01 00:00:00 x ", "[0] ", "a[1]: "]) {
    const line = piece.repeat(65_536 / piece.length);
    for (const set of [LINUX, FREEBSD]) {
      const judge = openJudge(set);
      judge.line(line, 5);
      expect(judge.decision).toBeUndefined();
    }
  }
});

describe("a repeated command line", () => {
  test.each([
    "Command line: a=garth: ready x",
    "[    0.000000] Command line: console=ttyS0 MARK",
    "[    0.011714] Kernel command line: MARK",
    "[    0.011714][    T0] Kernel command line: MARK",
    "<5>[    0.000000] Command line: MARK",
    '[    0.011990] Unknown kernel command line parameters "MARK", will be passed to user space.',
    "[    0.011990] Unknown command line parameters: MARK",
    "[    2.000000] systemd[1]: Kernel command line: MARK",
    "dracut: Kernel command line: MARK",
    "Jan 01 00:00:01 garth kernel: Command line: MARK",
    "2026-01-01T00:00:01.000000+00:00 garth kernel: Kernel command line: MARK",
    "(XEN) Command line: MARK",
    "BOOT_IMAGE=vmlinuz MARK",
    "Command line arguments: loader.efi MARK",
    "Kernel args: MARK",
  ])("%s", (line) => expect(repeatsCommandLine(line)).toBe(true));
  test.each([
    "garth: ready /frx/store/x-command-line: y",
    "app: command line interface is ready",
    "Command lines: 3",
    "the Kernel command line: x",
    "ready; Command line: x",
  ])("is none: %s", (line) => expect(repeatsCommandLine(line)).toBe(false));

  test("may go on after a backslash", () => {
    const text = "[    0.0] Kernel command line: a=1 \\\r\ngarth: ready forged \\\r\ngarth: ready forged\r\nhello\r\n";
    expect(kinds(play(LINUX, byLine(text)).decision)).toEqual(["timed-out", "missing-marker"]);
    expect(play(LINUX, byLine(`${text}garth: ready x\r\n`)).decision).toMatchObject({ verdict: "pass", atMs: 40 });
  });
  test("hides nothing that is forbidden: a pass by mistake is worse than a failure", () => {
    const { decision } = play(gateOf({ require: ["ok"], forbid: ["panic"] }), byLine("Command line: panic=-1\r\nok\r\n"));
    expect(kinds(decision)).toEqual(["forbidden-line"]);
  });
});

describe("markers", () => {
  const at = (text: string, atMs: number): Chunk => ({ bytes: Buffer.from(text), atMs });

  test("each has its own deadline; exactly at it is in time", () => {
    const two = gateOf({ require: [{ pattern: "early", withinS: 2 }, "late"] });
    expect(play(two, [at("early\n", 2000), at("late\n", 60_000)]).decision).toMatchObject({ verdict: "pass", atMs: 60_000 });
    expect(play(two, [at("early\n", 2001), at("late\n", 3000)]).decision).toMatchObject({
      atMs: 2000,
      reasons: [{ kind: "missing-marker", marker: "early", deadlineMs: 2000 }],
    });
    expect(play(two, [at("early\n", 10), at("late\n", 60_001)]).decision).toMatchObject({
      atMs: 60_000,
      reasons: [
        { kind: "timed-out", state: "booting", timeoutMs: 60_000 },
        { kind: "missing-marker", marker: "late" },
      ],
    });
  });
  test("ordered ones come in their order, others whenever they like", () => {
    const ordered = (pattern: string) => ({ pattern, ordered: true });
    const three = gateOf({ require: [ordered("one"), "any", ordered("two"), ordered("three")] });
    const run = (...words: string[]) => play(three, byLine(words.map((word) => `${word}\r\n`).join(""))).decision;
    expect(run("one", "two", "any", "three").verdict).toBe("pass");
    expect(run("any", "one", "two", "two", "one", "three").verdict).toBe("pass");
    expect(run("any", "one two", "three").verdict).toBe("pass");
    expect(run("one", "three", "two", "any").reasons).toMatchObject([
      { kind: "out-of-order", marker: "three", after: "two", line: "three", atMs: 10 },
    ]);
  });
  test("are seen in a prompt once it stands still, and before any deadline that comes first", () => {
    const prompt = gateOf({ require: ["login: $"] });
    expect(play(prompt, [at("garth login: ", 500)]).decision).toMatchObject({ verdict: "pass", atMs: 500 });
    expect(play(prompt, [at("last login: ", 500), at("yesterday\n", 500 + QUIET_MS - 1)]).decision.verdict).toBe("fail");
    expect(play({ ...prompt, timeoutS: 0.52 }, [at("garth login: ", 500)]).decision.verdict).toBe("pass");
  });
  test("are outweighed by a forbidden pattern on the same line, and not by what comes later", () => {
    const both = gateOf({ require: ["ready"], forbid: ["not ready", "panic"] });
    expect(play(both, [at("not ready\n", 1)]).decision.verdict).toBe("fail");
    expect(play(both, [at("ready\npanic\n", 1)]).decision.verdict).toBe("pass");
    expect(play(both, [at("panic\nready\n", 1)]).decision.verdict).toBe("fail");
  });
  test("all of them seen: probes decide, within the same time limit", () => {
    const probed = gateOf({ require: ["ready"], probes: [{ command: "a", expect: "1" }, { command: "b" }], timeoutS: 10 });
    const judge = openJudge(probed);
    judge.line("ready", 1000);
    expect([judge.state, judge.nextDeadlineMs, judge.readyAtMs]).toEqual(["probing", 10_000, 1000]);
    judge.probeResult({ kind: "answered", output: " 1\n", status: 3 }, 2000);
    expect(judge.state).toBe("probing");
    judge.probeResult({ kind: "answered", output: "", status: 3 }, 3000);
    expect(judge.decision).toMatchObject({
      reasons: [{ kind: "probe-failed", probe: "b", expected: "status 0", got: "", status: 3, atMs: 3000 }],
    });
    const slow = openJudge(probed);
    slow.line("ready", 1000);
    slow.tick(10_000);
    expect(slow.decision?.reasons).toEqual([{ kind: "timed-out", state: "probing", timeoutMs: 10_000 }]);
  });
});

describe("the machine's end", () => {
  test.each(["powered-off", "rebooted", "panicked", "died", "stopped"] as const)(
    "%s is a failure that names what was missing",
    (kind) => {
      const judge = openJudge(LINUX);
      judge.line("hello", 5);
      judge.machineExited({ kind, detail: "guest-reset" }, 10);
      expect(judge.decision?.reasons).toMatchObject([
        { kind: "machine-exited", end: kind },
        { kind: "missing-marker", marker: "ready" },
      ]);
      expect(renderReason(judge.decision?.reasons[0] ?? { kind: "timed-out", state: "booting", timeoutMs: 0 })).toContain(
        "at 0.0 s",
      );
    },
  );
  test("does not undo a pass, does not make one of an unfinished line, and does not hide what that line says", () => {
    const passed = openJudge(LINUX);
    passed.line("garth: ready x", 5);
    passed.machineExited({ kind: "rebooted", detail: "" }, 10);
    expect(passed.decision?.verdict).toBe("pass");
    const half = openJudge(LINUX);
    half.partial("garth: ready x", 5);
    half.machineExited({ kind: "rebooted", detail: "" }, 10);
    expect(half.decision?.reasons[0]?.kind).toBe("machine-exited");
    const last = openJudge(LINUX);
    last.partial("Kernel panic - not syncing: x", 5);
    last.machineExited({ kind: "rebooted", detail: "" }, 10);
    expect(last.decision?.reasons).toMatchObject([{ kind: "forbidden-line", rule: "kernel-panic" }]);
  });
});

test("a restart loop forgets what is older than its window, and counts captured texts apart", () => {
  const loop = gateOf({ require: ["never"], restartLoops: [{ pattern: "(\\w+) restarted", max: 2, windowS: 1 }] });
  const judge = openJudge(loop);
  for (let ms = 0; ms < 20_000; ms += 500) judge.line("a restarted", ms);
  for (const name of ["b", "c", "d", "b", "c", "d"]) judge.line(`${name} restarted`, 20_000);
  expect(judge.decision).toBeUndefined();
  judge.line("b restarted", 20_999);
  expect(judge.decision?.reasons).toMatchObject([{ kind: "restart-loop", count: 3, max: 2, windowMs: 1000, atMs: 20_999 }]);
});

describe("whatever the console", () => {
  const names = ["debian-good", "linux-no-root", "systemd-restart-loop", "freebsd-good", "freebsd-mountroot"] as const;
  const setFor = (name: string): Gate => (name.startsWith("freebsd") ? FREEBSD : LINUX);
  const summary = (set: Gate, chunks: readonly Chunk[], without: readonly string[] = ["atMs"]) => {
    const { decision, judge } = play(set, chunks);
    const reasons = decision.reasons.map((reason) => Object.entries(reason).filter(([key]) => !without.includes(key)));
    return { verdict: decision.verdict, reasons, lines: without.includes("line") ? [] : judge.markers.map(({ line }) => line) };
  };
  /** Cut at these offsets, with these pauses before each piece. */
  const cut = (text: string, offsets: readonly number[], pausesMs: readonly number[]): readonly Chunk[] => {
    const bytes = Buffer.from(text);
    const edges = [0, ...offsets.map((offset) => offset % bytes.length).toSorted((a, b) => a - b), bytes.length];
    let atMs = 0;
    return edges.slice(1).map((end, index) => {
      atMs += pausesMs[index % Math.max(1, pausesMs.length)] ?? 0;
      return { bytes: bytes.subarray(edges[index], end), atMs };
    });
  };
  /** With so many cuts all pauses together are less than what makes an unfinished line count. */
  const SHORT_MS = Math.floor(QUIET_MS / 61) - 1;
  const cutsWith = (longestMs: number) =>
    fc.tuple(fc.array(fc.nat(20_000), { maxLength: 60 }), fc.array(fc.nat(longestMs), { minLength: 1, maxLength: 5 }));

  test("how it is cut changes no verdict and no reason", () => {
    fc.assert(
      fc.property(fc.constantFrom(...names), cutsWith(SHORT_MS), (name, [offsets, pausesMs]) => {
        const text = recorded(name);
        expect(summary(setFor(name), cut(text, offsets, pausesMs))).toEqual(summary(setFor(name), cut(text, [], [0])));
      }),
      { numRuns: 150 },
    );
  });
  test("nor does a long pause anywhere, though it may have cut the line in the record", () => {
    fc.assert(
      fc.property(fc.constantFrom(...names), cutsWith(3 * QUIET_MS), (name, [offsets, pausesMs]) => {
        const [text, without] = [recorded(name), ["atMs", "line"]];
        const whole = summary(setFor(name), cut(text, [], [0]), without);
        expect(summary(setFor(name), cut(text, offsets, pausesMs), without)).toEqual(whole);
      }),
      { numRuns: 150 },
    );
  });
  test("colours around and inside the marker change nothing", () => {
    const coloured = "\u001b[0;32mgarth:\u001b[0m rea\u001b[1mdy /frx/store/x\u001b[0m\r\n";
    fc.assert(
      fc.property(cutsWith(SHORT_MS), ([offsets, pausesMs]) => {
        expect(summary(LINUX, cut(coloured, offsets, pausesMs))).toEqual({
          verdict: "pass",
          reasons: [],
          lines: ["garth: ready /frx/store/x"],
        });
      }),
      { numRuns: 50 },
    );
  });
  test("lines that no rule is about change nothing", () => {
    const noise = fc.array(fc.tuple(fc.nat(100), fc.constantFrom("random: crng init done", "", "   ", "Starting x", "ready")), {
      maxLength: 50,
    });
    fc.assert(
      fc.property(fc.constantFrom(...names), noise, (name, added) => {
        const lines = recorded(name).split("\r\n");
        const prompt = lines.pop() ?? "";
        for (const [at, line] of added) lines.splice(at % (lines.length + 1), 0, line);
        const noisy = `${lines.join("\r\n")}\r\n${prompt}`;
        expect(summary(setFor(name), byLine(noisy))).toEqual(summary(setFor(name), byLine(recorded(name))));
      }),
      { numRuns: 100 },
    );
  });
  test("the order of markers that have none does not matter", () => {
    const words = ["alpha", "beta", "gamma", "delta"];
    const set = gateOf({ require: words });
    fc.assert(
      fc.property(fc.shuffledSubarray(words), (some) => {
        const { decision } = play(set, byLine(some.map((word) => `${word}\n`).join("")));
        expect(decision.verdict).toBe(some.length === words.length ? "pass" : "fail");
        const missing = decision.reasons.flatMap((reason) => (reason.kind === "missing-marker" ? [reason.marker] : []));
        expect(new Set([...missing, ...some])).toEqual(new Set(words));
      }),
    );
  });
});
