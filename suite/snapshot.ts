/**
 * What the host is, before and after: mounts, jails, processes, files, modules of the kernel, users. By hand, so that it is true whatever Garth
 * says.
 *
 * A FreeBSD host is the suite's alone, and must be as it was but for what a running system does by itself (`OF_THE_SYSTEM`). A Linux host may be
 * somebody's desk: there only what bears our names or our build users is looked at.
 */
import { shellQuote } from "../src/host/index.ts";
import type { HostSystem } from "./case.ts";
import type { Hand } from "./hand.ts";

export type Snapshot = Readonly<Record<(typeof PARTS)[number], readonly string[]>>;
const PARTS = ["mounts", "jails", "processes", "files", "modules", "users", "memory disks", "limits"] as const;

const LIST: Readonly<Record<HostSystem, string>> = {
  freebsd: `
echo '== mounts'; mount -p
echo '== jails'; jls -h jid name path host.hostname | tail -n +2
echo '== processes'; ps -axww -o uid= -o pid= -o command=
echo '== files'
find -x /tmp /var/tmp /root /etc /var/run /frx -exec stat -f '%m %HT %Lp %u:%g %z %N' {} + 2>/dev/null
echo '== modules'; kldstat | awk 'NR > 1 { print $NF }'
echo '== users'; cksum /etc/passwd /etc/master.passwd /etc/group
echo '== memory disks'; mdconfig -l 2>/dev/null
echo '== limits'; [ "$(sysctl -n kern.racct.enable 2>/dev/null)" != 1 ] || rctl
`,
  linux: `
echo '== mounts'; awk '{ print $5 }' /proc/self/mountinfo
echo '== jails'
echo '== processes'; ps axww -o uid= -o pid= -o args=
echo '== files'
find /tmp /var/tmp /root /etc /run /frx -xdev -maxdepth 2 -exec stat -c '%Y %F %a %u:%g %s %n' {} + 2>/dev/null
echo '== modules'
echo '== users'; cksum /etc/passwd /etc/group
echo '== memory disks'
echo '== limits'; ls -d /sys/fs/cgroup/*garth* 2>/dev/null || :
`,
};

/** What changes on a FreeBSD that nobody touches, by the path of a file. */
const OF_THE_SYSTEM: readonly RegExp[] = [
  // Logins, their own and ours.
  /^\/var\/run\/(utx\.active|utmpx?)/,
  // Entropy, leases, the clock, mail.
  /^\/var\/run\/(dhclient|resolvconf|ntpd|devd|log|wpa_supplicant|rtsold|rtsol|sendmail|dma)/,
  /^\/etc\/(resolv\.conf|ntp\.leap|motd\.template)/,
  /^\/(boot\/)?entropy/,
  /^\/root\/\.(history|sh_history|lesshst|ssh\/agent)/,
  // Of sshd for the time of a session, and of an agent that was forwarded.
  /^\/(var\/)?tmp\/ssh-/,
];
/** Directories in which something was made and removed again: of them alone the time may differ. */
const TOUCHED = new Set(["/tmp", "/var/tmp", "/var/run", "/root"]);
/** What runs for a while on a host that nobody touches: our own sessions, and what cron starts. */
const RUNS_BY_ITSELF =
  /^(\[|\/?(usr\/)?(s?bin|libexec)\/(cron|atrun|newsyslog|save-entropy|adjkerntz)\b|cron:|sshd|\/usr\/(sbin\/sshd|libexec\/sshd)|\/bin\/sh (-c )?\/usr\/libexec\/(save-entropy|atrun)|\/bin\/sh -c s=\$|sh -c s=\$|ps -ax|\/bin\/ps |dhclient)/;
/** Modules that the kernel loads by itself when a mount asks for them. */
const ON_DEMAND = /^(nullfs|tmpfs|fdescfs|md|geom_md|linprocfs|mac_.*|procfs)\.ko$/;

export async function takeSnapshot(hand: Hand, system: HostSystem): Promise<Snapshot> {
  const said = await hand.sh(`LC_ALL=C PATH=/sbin:/bin:/usr/sbin:/usr/bin; export LC_ALL PATH\n${LIST[system]}`, {
    limitMs: 300_000,
  });
  if (!said.stdout.includes("== limits")) {
    throw new Error(`the host did not say what it is: status ${said.status ?? "none"}\n${said.stdout}\n${said.stderr}`);
  }
  const found = new Map<string, string[]>();
  let part: string[] = [];
  for (const line of said.stdout.split("\n")) {
    if (line.startsWith("== ")) found.set(line.slice(3), (part = []));
    else if (line.trim() !== "") part.push(line.replace(/\s+$/, ""));
  }
  const of = (name: (typeof PARTS)[number]): readonly string[] => found.get(name) ?? [];
  return {
    mounts: of("mounts"),
    jails: of("jails"),
    processes: of("processes"),
    files: of("files"),
    modules: of("modules"),
    users: of("users"),
    "memory disks": of("memory disks"),
    limits: of("limits"),
  };
}

export interface Difference {
  readonly part: string;
  readonly change: "new" | "gone" | "changed";
  readonly what: string;
}

export interface Comparison {
  /** What is not as it was. */
  readonly left: readonly Difference[];
  /** What differs and is nobody's fault, told. */
  readonly allowed: readonly Difference[];
}

interface Marks {
  readonly system: HostSystem;
  /** Names of what is ours: the suite's directory, jails, scratch. */
  readonly ours: RegExp;
}

/** What our names are in, and processes of build users. */
function isOurs(part: string, line: string, ours: RegExp): boolean {
  if (ours.test(line)) return true;
  const uid = part === "processes" ? /^\s*(\d+)/.exec(line)?.[1] : undefined;
  return uid !== undefined && Number(uid) >= 35_001 && Number(uid) < 40_000;
}

const fileOf = (line: string): string => line.slice(line.indexOf("/"));
/** "  0  812 /usr/sbin/cron -s" without its number. */
const commandOf = (line: string): string => line.trim().replace(/^(\d+)\s+\d+\s+/, "$1 ");

function keyOf(part: string): (line: string) => string {
  if (part === "files") return fileOf;
  if (part === "processes") return commandOf;
  return (line) => line;
}

function allowedOf({ part, what, change }: Difference): boolean {
  if (part === "modules") return change === "new" && ON_DEMAND.test(what);
  if (part === "processes") return RUNS_BY_ITSELF.test(commandOf(what).replace(/^\d+ /, ""));
  if (part === "files") {
    const file = fileOf(what);
    return OF_THE_SYSTEM.some((one) => one.test(file)) || (change === "changed" && TOUCHED.has(file));
  }
  return false;
}

export function compareSnapshots(before: Snapshot, after: Snapshot, { system, ours }: Marks): Comparison {
  const left: Difference[] = [];
  const allowed: Difference[] = [];
  for (const part of PARTS) {
    const key = keyOf(part);
    const count = (lines: readonly string[]): Map<string, string[]> => {
      const map = new Map<string, string[]>();
      for (const line of lines) map.set(key(line), [...(map.get(key(line)) ?? []), line]);
      return map;
    };
    const [was, is] = [count(before[part]), count(after[part])];
    const differences: Difference[] = [];
    for (const [name, lines] of is) {
      const old = was.get(name) ?? [];
      // As many as there were, of whatever number: a daemon that was started anew.
      for (const what of lines.slice(old.length)) differences.push({ part, change: "new", what });
      if (part === "files" && old[0] !== undefined && lines[0] !== undefined && old[0] !== lines[0])
        differences.push({ part, change: "changed", what: lines[0] });
    }
    for (const [name, lines] of was) {
      for (const what of lines.slice(is.get(name)?.length ?? 0)) differences.push({ part, change: "gone", what });
    }
    for (const one of differences) {
      if (system === "freebsd") (allowedOf(one) ? allowed : left).push(one);
      else if (one.change === "new" && isOurs(part, one.what, ours)) left.push(one);
    }
  }
  return { left, allowed };
}

/** Ends what the suite itself may have left, and its directory on the host; what cannot be removed is told. */
export async function clearRoot(hand: Hand, system: HostSystem, root: string): Promise<string> {
  const said = await hand.sh(
    `LC_ALL=C PATH=/sbin:/bin:/usr/sbin:/usr/bin; export LC_ALL PATH
root=${shellQuote(root)}
[ -d "$root" ] || exit 0
${system === "freebsd" ? 'chflags -R 0 "$root" 2>/dev/null' : ":"}
rm -rf${system === "freebsd" ? "x" : " --one-file-system"} "$root"
[ ! -e "$root" ]`,
    { limitMs: 300_000 },
  );
  return said.status === 0 ? "" : `removing ${root} on the host: status ${said.status ?? "none"}\n${said.stdout}\n${said.stderr}`;
}
