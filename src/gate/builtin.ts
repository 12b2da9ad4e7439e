/**
 * The rules that come with Garth. A gate builds on the set of its image's system, or on the one it names; `except` takes single
 * rules out by name. They are narrow: no line of a sound boot of Debian or FreeBSD matches one (`testdata/`).
 *
 * Lines carry the kernel's stamp ("[    1.234567] "), a name ("systemd[1]: ") or nothing before them, so that only what begins
 * a line by its nature is anchored. Each takes time in proportion to the line: one of 64 KiB comes sooner or later.
 */
import { Problem } from "../base/index.ts";
import type { BuiltinSet, Gate, GateDeclaration, RequiredMarker, RestartLoop, Rule } from "./types.ts";

interface RuleSet {
  readonly require: readonly RequiredMarker[];
  readonly forbid: readonly Rule[];
  readonly restartLoops: readonly RestartLoop[];
}

const STAMP = String.raw`^(?:\[\s*\d+(?:\.\d+)?\](?:\[\s*[TC]\d+\])? )?`;

/** Printed by the guest when its declared readiness is reached, with the closure it runs. */
const READY: RequiredMarker = { name: "ready", pattern: "^garth: ready ", withinS: undefined, ordered: false };

/** Before any kernel: the firmware found nothing to start, or ended in a shell of its own. */
const FIRMWARE: readonly Rule[] = [
  { name: "no-boot-device", pattern: "^(?:BdsDxe: )?No bootable (?:device|option)" },
  { name: "uefi-shell", pattern: "^(?:UEFI Interactive Shell v|Shell> )" },
];

const LINUX: RuleSet = {
  require: [READY],
  forbid: [
    ...FIRMWARE,
    // The boot loader gave up and waits for somebody to type.
    { name: "grub-prompt", pattern: "^grub(?: rescue)?> " },
    // The root file system is not there: the driver, the label or the disk is missing. A panic follows.
    { name: "no-root", pattern: "VFS: (?:Cannot open root device|Unable to mount root fs)" },
    { name: "kernel-panic", pattern: "Kernel panic - not syncing" },
    // Bugs in the kernel. A soft lockup is left out: under emulation on a busy host it only says that the host was busy.
    { name: "kernel-bug", pattern: `${STAMP}(?:BUG: (?!soft lockup)|kernel BUG at |Oops: |Internal error: Oops)` },
    { name: "kernel-fault", pattern: String.raw`\bgeneral protection fault\b|\btrap invalid opcode\b` },
    { name: "segfault", pattern: String.raw`\bsegfault at [0-9a-f]+ ip ` },
    { name: "out-of-memory", pattern: String.raw`\binvoked oom-killer:|\bOut of memory: Kill` },
    // The initial RAM disk could not go on (initramfs-tools, dracut).
    { name: "initramfs-shell", pattern: String.raw`Dropping to a shell!|^\(initramfs\)|^dracut:/#` },
    { name: "emergency-mode", pattern: "You are in (?:emergency|rescue) mode|Entering emergency mode" },
    { name: "emergency-locked", pattern: "Cannot open access to console, the root account is locked" },
    // systemd itself stopped.
    { name: "systemd-frozen", pattern: String.raw`^\[!!!!!!\] |systemd\[1\]: Freezing execution` },
    // A system whose own units do not start is not what was declared, even if it says that it is ready.
    {
      name: "failed-unit",
      pattern: String.raw`^\[FAILED\] Failed to |^\[DEPEND\] Dependency failed for |^\[ TIME \] Timed out `,
    },
    { name: "permission-denied", pattern: "[Pp]ermission denied" },
    { name: "ext4-error", pattern: String.raw`\bEXT4-fs error\b|\bEXT4-fs \([^)]*\): (?:no journal found|failed to )` },
    { name: "file-system-corrupt", pattern: String.raw`\bUNEXPECTED INCONSISTENCY; RUN fsck\b|\bMetadata corruption detected\b` },
    // Floppy and CD drives without a medium answer so on sound machines.
    { name: "disk-error", pattern: String.raw`\bI/O error, dev (?!fd\d|sr\d)` },
  ],
  restartLoops: [
    // One unit, again and again. Five is systemd's own StartLimitBurst.
    {
      name: "unit-restarts",
      pattern: String.raw`(?:^|\s)(\S+): Scheduled restart job, restart counter is at \d`,
      max: 5,
      windowS: 60,
    },
    // The same as the boot's own status lines show it.
    { name: "unit-started-again", pattern: String.raw`^\[  OK  \] Started (\S+)`, max: 5, windowS: 60 },
    // A service of a system whose process 1 is busybox, by its supervisor.
    { name: "service-restarts", pattern: String.raw`^garth: service (\S+) ended with status \d+, start \d`, max: 3, windowS: 60 },
    { name: "unit-given-up", pattern: String.raw`(?:^|\s)(\S+): Start request repeated too quickly`, max: 0, windowS: 60 },
    // sysvinit and BusyBox, mostly about a getty whose terminal is not there.
    { name: "getty-respawning", pattern: String.raw`\brespawning too fast\b`, max: 0, windowS: 60 },
    // A kernel that starts another (kexec) resets no machine. Two banners may be one kernel with an early console.
    { name: "kernel-started-again", pattern: `${STAMP}Linux version \\d`, max: 2, windowS: 86_400 },
  ],
};

const FREEBSD: RuleSet = {
  require: [READY],
  forbid: [
    ...FIRMWARE,
    // The loader has no kernel, or its own code stopped.
    { name: "loader", pattern: "^can't load 'kernel'|^BTX halted" },
    { name: "panic", pattern: `${STAMP}panic: ` },
    { name: "fatal-trap", pattern: String.raw`\bFatal (?:trap \d+|double fault)` },
    { name: "debugger", pattern: "^db> |^KDB: enter: panic" },
    // The kernel found no root file system and asks for one.
    { name: "mountroot", pattern: "^mountroot>" },
    // rc(8) gave up and fell back to single-user mode.
    { name: "single-user", pattern: "Enter full pathname of shell or RETURN" },
    { name: "boot-aborted", pattern: "ERROR: ABORTING BOOT" },
    { name: "fsck-failed", pattern: "Automatic file system check failed; help!|UNEXPECTED (?:SOFT UPDATE )?INCONSISTENCY" },
    { name: "init-died", pattern: String.raw`\binit died\b|^Going nowhere without my init!` },
    { name: "permission-denied", pattern: "[Pp]ermission denied" },
    // SIGILL, SIGABRT, SIGBUS, SIGSEGV.
    { name: "crashed", pattern: String.raw`\bexited on signal (?:4|6|10|11)\b` },
    {
      name: "out-of-memory",
      pattern: String.raw`was killed: (?:out of swap space|failed to reclaim memory|a thread waited too long)`,
    },
    { name: "disk-error", pattern: String.raw`\bg_vfs_done\(\):.*error = \d` },
  ],
  restartLoops: [
    // init(8) starts a getty again each time it ends.
    { name: "getty-respawning", pattern: String.raw`\bgetty repeating too quickly on port `, max: 0, windowS: 60 },
    // rc(8) says so once for each service; a watchdog that starts one again says it again.
    { name: "service-started-again", pattern: String.raw`^Starting (\S+)\.$`, max: 5, windowS: 60 },
    { name: "kernel-started-again", pattern: "^---<<BOOT>>---", max: 1, windowS: 86_400 },
  ],
};

const SETS: Readonly<Record<BuiltinSet, RuleSet>> = {
  linux: LINUX,
  freebsd: FREEBSD,
  none: { require: [], forbid: [], restartLoops: [] },
};

/** Names of the rules of a set, for a message. */
export function builtinNames(set: BuiltinSet): readonly string[] {
  const { require, forbid, restartLoops } = SETS[set];
  return [...require, ...forbid, ...restartLoops].map(({ name }) => name);
}

/**
 * All rules that apply to an image of this system: those of the gate first.
 *
 * @throws Problem E_BAD_GATE when `except` names a rule that is not in the set, or nothing is left to wait for (exit 2)
 */
export function resolveGate(declaration: GateDeclaration, system: Exclude<BuiltinSet, "none">): Gate {
  const { kind: _, extends: named, except, ...own } = declaration;
  const set = named ?? system;
  const names = builtinNames(set);
  const unknown = except.find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw new Problem({
      code: "E_BAD_GATE",
      message: `the gate ${own.name} leaves out the rule ${JSON.stringify(unknown)}, which the set ${set} does not have`,
      hint: names.length === 0 ? 'with extends "none" there is nothing to leave out' : `its rules are ${names.join(", ")}`,
      exit: 2,
    });
  }
  const kept = <R extends Rule>(rules: readonly R[]): readonly R[] => rules.filter(({ name }) => !except.includes(name));
  const require = own.require.length > 0 ? own.require : kept(SETS[set].require);
  if (require.length === 0 && own.probes.length === 0) {
    throw new Problem({
      code: "E_BAD_GATE",
      message: `the gate ${own.name} requires nothing: every machine would pass it at once`,
      hint: 'add a line that has to come (require), a probe, or extends "linux" or "freebsd"',
      exit: 2,
    });
  }
  return {
    ...own,
    require,
    forbid: [...own.forbid, ...kept(SETS[set].forbid)],
    restartLoops: [...own.restartLoops, ...kept(SETS[set].restartLoops)],
  };
}
