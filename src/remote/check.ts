/** What was found on a host, judged: what builds need, what is worse without, and what to do about it. Pure. */
import { formatSize, operatingSystemOf, Problem, type System } from "../base/index.ts";
import { type ScriptEvent, shellQuote } from "../host/index.ts";
import { badAnswer, type Whom } from "./errors.ts";
import type { HostFacts, HostFinding, HostReport } from "./types.ts";

const GIB = 1024 ** 3;
/** A closure and a build of something small. */
const SPACE_NEEDED_BYTES = GIB / 4;
const SPACE_GOOD_BYTES = 4 * GIB;
/** make(1) compares times of files that came from here with those made there. */
const CLOCK_MAX_SECONDS = 5;

export interface Looked {
  readonly whom: Whom;
  /** Garth's directory there. */
  readonly root: string;
  readonly events: readonly ScriptEvent[];
  /** How far its clock is ahead of ours, at the least and at the most; undefined: it did not say. */
  readonly ahead: { readonly minSeconds: number; readonly maxSeconds: number } | undefined;
}

interface Found {
  readonly looked: Looked;
  readonly facts: HostFacts;
  /** Of the first event of a name. */
  rest(name: string): string | undefined;
  fields(name: string): readonly string[];
  all(name: string): readonly string[];
  is(name: string, value: string): boolean;
}

const MACHINES: Readonly<Record<string, "x86_64" | "aarch64">> = {
  amd64: "x86_64",
  x86_64: "x86_64",
  arm64: "aarch64",
  aarch64: "aarch64",
};

/** @throws Problem E_UNKNOWN_SYSTEM (exit 3), E_HOST_ANSWER */
export function judge(looked: Looked): HostReport {
  const found = readFound(looked);
  const findings =
    operatingSystemOf(found.facts.system) === "freebsd"
      ? [
          systemFinding(found),
          rootFinding(found),
          toolsFinding(found),
          jail(found),
          nullfs(found),
          zfs(found),
          rctl(found),
          vmm(found),
        ]
      : [systemFinding(found), rootFinding(found), toolsFinding(found), sandbox(found), kvm(found)];
  return { facts: found.facts, findings: [...findings, space(found), clock(found)] };
}

function readFound(looked: Looked): Found {
  const { events, whom } = looked;
  const first = (name: string): ScriptEvent | undefined => events.find((event) => event.name === name);
  const rest = (name: string): string | undefined => first(name)?.rest;
  const number = (name: string): number => {
    const value = rest(name);
    if (value === undefined || !/^[0-9]+$/.test(value)) throw badAnswer(whom, "looking at it", `${name} ${value ?? "(nothing)"}`);
    return Number(value);
  };
  const fields = (name: string): readonly string[] => first(name)?.fields ?? [];
  const [kind = "", machine = ""] = fields("system");
  const system = systemOf(whom, kind, machine);
  const version = Number(fields("osversion")[0]);
  return {
    looked,
    rest,
    fields,
    all: (name) => events.filter((event) => event.name === name).map((event) => event.rest),
    is: (name, value) => rest(name) === value,
    facts: {
      system,
      release: rest("release") ?? rest("kernel") ?? "",
      osVersion: Number.isSafeInteger(version) && version > 0 ? version : undefined,
      processors: Math.max(1, number("processors")),
      memoryBytes: number("memory"),
    },
  };
}

function systemOf(whom: Whom, kind: string, machine: string): System {
  const known = MACHINES[machine];
  if (known !== undefined && kind === "FreeBSD") return `${known}-freebsd`;
  if (known !== undefined && kind === "Linux") return `${known}-linux`;
  if (kind === "") throw badAnswer(whom, "looking at it", "nothing of what it is");
  throw new Problem({
    code: "E_UNKNOWN_SYSTEM",
    message: `the host ${whom.name} is ${kind} on ${machine}, for which there are no builds`,
    hint: "hosts run FreeBSD or Linux, on amd64 or arm64",
    exit: 3,
  });
}

function ok(key: string, found: string): HostFinding {
  return { key, state: "ok", found, advice: undefined };
}

function worse(state: "lacking" | "missing", key: string, found: string, advice: string): HostFinding {
  return { key, state, found, advice };
}

function systemFinding({ facts, fields, rest }: Found): HostFinding {
  const [user, kernel] = fields("osversion").map(Number);
  const words = `${facts.system} ${facts.release}, ${facts.processors} processors, ${formatSize(facts.memoryBytes)}`;
  if (user === undefined || kernel === undefined) return ok("system", words);
  if (kernel < user)
    return worse(
      "lacking",
      "system",
      `${words}; its kernel is older (${rest("kernel") ?? ""}, ${kernel}) than its userland (${user})`,
      "boot the kernel that belongs to it: shutdown -r now",
    );
  if (Math.floor(kernel / 100_000) !== Math.floor(user / 100_000))
    return worse(
      "lacking",
      "system",
      `${words}; its kernel is ${rest("kernel") ?? ""}`,
      "bring the userland up to the kernel: freebsd-update install",
    );
  return ok("system", words);
}

function rootFinding({ looked, fields, is, rest }: Found): HostFinding {
  const { root, whom } = looked;
  if (!is("uid", "0"))
    return worse(
      "missing",
      "root",
      `logs in as uid ${rest("uid") ?? "?"}, who cannot give builds users and mounts of their own`,
      `log in as root: garth host add ${whom.name} ssh://root@HOST; its sshd_config needs PermitRootLogin prohibit-password`,
    );
  const [state = "", ...words] = fields("place");
  const where = words.join(" ");
  const quoted = shellQuote(where);
  switch (state) {
    case "ok":
      return ok("root", where === root ? `${root}, as root` : `${root} is made when it is needed, as root`);
    case "symlink":
      return worse(
        "missing",
        "root",
        `${where} on the way to ${root} is a symlink`,
        `add the host with the directory that it leads to: realpath ${quoted}`,
      );
    case "foreign":
      return worse("missing", "root", `${where} on the way to ${root} is not root's`, `chown root ${quoted}`);
    case "open":
      return worse("missing", "root", `${where} on the way to ${root} can be written to by others`, `chmod go-w ${quoted}`);
    case "other":
      return worse("missing", "root", `${where} on the way to ${root} is no directory`, "add the host with another --directory");
    default:
      return worse("missing", "root", `the way to ${root} could not be looked at`, `ls -ld ${shellQuote(root)}`);
  }
}

/** Debian's packages of what is not in coreutils; elsewhere the names are near. */
const PACKAGES: Readonly<Record<string, string>> = {
  awk: "mawk",
  bwrap: "bubblewrap",
  find: "findutils",
  flock: "util-linux",
  grep: "grep",
  mount: "mount",
  mtree: "mtree-netbsd",
  prlimit: "util-linux",
  sed: "sed",
  setpriv: "util-linux",
  sh: "dash",
  tar: "tar",
  umount: "mount",
  unshare: "util-linux",
  xargs: "findutils",
};
/** Without these a build is limited less, or not at all. */
const WORSE_WITHOUT = new Set(["limits", "prlimit"]);

function toolsFinding({ facts, all }: Found): HostFinding {
  const absent = all("absent");
  if (absent.length === 0) return ok("tools", "all that scripts call");
  const state = absent.every((tool) => WORSE_WITHOUT.has(tool)) ? "lacking" : "missing";
  const found = `without ${absent.join(" ")}`;
  if (operatingSystemOf(facts.system) === "freebsd")
    return worse(
      state,
      "tools",
      found,
      "they are of the base system; bring it back: freebsd-update IDS, or pkg install -r FreeBSD-base FreeBSD-runtime",
    );
  const packages = [...new Set(absent.map((tool) => PACKAGES[tool] ?? "coreutils"))];
  return worse(state, "tools", found, `apt-get install ${packages.join(" ")}`);
}

function jail({ fields, is, rest }: Found): HostFinding {
  const [state, ...words] = fields("jail");
  const [jailed, children = "0"] = fields("jailed");
  if (state === "ok")
    return ok("jail", jailed === "1" ? `inside a jail that may have ${children} of its own` : "made, entered and removed");
  if (jailed === "1" && children === "0")
    return worse(
      "missing",
      "jail",
      "it is a jail itself, and may have none of its own",
      "in its jail.conf, outside: children.max = 16; allow.mount; allow.mount.nullfs; allow.mount.devfs; allow.mount.tmpfs; enforce_statfs = 1;",
    );
  if (!is("uid", "0")) return worse("missing", "jail", `not tried as uid ${rest("uid") ?? "?"}`, "log in as root");
  return worse("missing", "jail", words.join(" "), "try it there: jail -c name=try path=/ persist && jexec try id; jail -R try");
}

function nullfs({ is, rest }: Found): HostFinding {
  if (is("nullfs", "loaded")) return ok("nullfs", "in the kernel");
  const secure = Number(rest("securelevel") ?? -1);
  if (is("nullfs", "loadable") && secure > 0)
    return worse(
      "missing",
      "nullfs",
      `not loaded, and at security level ${secure} nothing is loaded any more`,
      "echo 'nullfs_load=\"YES\"' >>/boot/loader.conf && shutdown -r now",
    );
  if (is("nullfs", "loadable")) return ok("nullfs", "loaded at the first mount");
  return worse(
    "missing",
    "nullfs",
    "neither in the kernel nor to be loaded",
    "kldload nullfs says why; a kernel of its own needs options NULLFS",
  );
}

function zfs({ all, is }: Found): HostFinding {
  const pools = all("zpool");
  if (pools.length > 0) return ok("zfs", `pools ${pools.join(" ")}`);
  const [what, advice] = is("zfs", "absent")
    ? ["not in this kernel", "builds do without; clones of machines are copies"]
    : ["no pool", "builds do without; for clones of machines: zpool create tank DISK"];
  return worse("lacking", "zfs", what, advice);
}

function rctl({ is, rest }: Found): HostFinding {
  if (is("racct", "1")) return ok("rctl", "memory and processes of a whole build are limited");
  if (is("racct", "0"))
    return worse(
      "lacking",
      "rctl",
      "kern.racct.enable is 0: memory and processes are limited for each process alone",
      "echo 'kern.racct.enable=1' >>/boot/loader.conf && shutdown -r now",
    );
  return worse(
    "lacking",
    "rctl",
    `kern.racct.enable is ${rest("racct") ?? "absent"}: memory and processes are limited for each process alone`,
    "a kernel with options RACCT and RCTL, as GENERIC is",
  );
}

function vmm({ is, rest }: Found): HostFinding {
  if (is("vmm", "loaded")) return ok("vmm", "loaded");
  if (is("vmm", "absent")) return worse("lacking", "vmm", "not in this system", "builds do without; machines need bhyve");
  if (is("virtual", "yes")) return worse("lacking", "vmm", "not loaded", "for machines: kldload vmm; sysrc kld_list+=vmm");
  return worse(
    "lacking",
    "vmm",
    `the processor offers no virtualization${rest("virtual") === undefined ? " that could be seen" : ""}`,
    "builds do without; machines need VT-x or SVM, switched on in the firmware or nested by the hypervisor",
  );
}

function sandbox({ fields, all }: Found): HostFinding {
  const [state, ...words] = fields("sandbox");
  if (state === "ok") return ok("sandbox", "bubblewrap, tried");
  if (all("absent").includes("bwrap")) return worse("missing", "sandbox", "no bubblewrap", "apt-get install bubblewrap");
  return worse(
    "missing",
    "sandbox",
    words.join(" "),
    "sysctl -w kernel.unprivileged_userns_clone=1; in a container: give it user namespaces",
  );
}

function kvm({ is }: Found): HostFinding {
  if (is("kvm", "yes")) return ok("vmm", "/dev/kvm");
  return worse("lacking", "vmm", "no /dev/kvm", "builds do without; machines are emulated, slowly");
}

function space({ looked, fields }: Found): HostFinding {
  const [free, total] = fields("space").map(Number);
  const where = looked.root;
  if (free === undefined || total === undefined || !Number.isFinite(free))
    return worse("lacking", "space", "df did not say", `df -Pk ${shellQuote(where)}`);
  const words = `${formatSize(Math.max(0, free))} of ${formatSize(total)} free for ${where}`;
  const advice = `garth host gc ${looked.whom.name} --older-than 1d, or add the host with a --directory on a larger file system`;
  if (free < SPACE_NEEDED_BYTES) return worse("missing", "space", words, advice);
  return free < SPACE_GOOD_BYTES ? worse("lacking", "space", words, advice) : ok("space", words);
}

function clock({ looked: { ahead }, facts }: Found): HostFinding {
  if (ahead === undefined) return worse("lacking", "clock", "date did not say", "date +%s");
  const { minSeconds, maxSeconds } = ahead;
  const off = minSeconds > 0 ? minSeconds : maxSeconds < 0 ? maxSeconds : 0;
  if (Math.abs(off) <= CLOCK_MAX_SECONDS) return ok("clock", "as here");
  const words = `${Math.round(Math.abs(off))} s ${off > 0 ? "ahead of" : "behind"} here`;
  return worse(
    "lacking",
    "clock",
    words,
    operatingSystemOf(facts.system) === "freebsd"
      ? "sysrc ntpd_enable=YES ntpd_sync_on_start=YES && service ntpd restart"
      : "timedatectl set-ntp true",
  );
}
