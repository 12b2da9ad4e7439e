/** What the host says of itself, before any case. */
import type { HostSelf } from "./case.ts";
import type { Hand, Said } from "./hand.ts";

const TOOLS = [
  "awk",
  "bwrap",
  "bsdtar",
  "cc",
  "chflags",
  "chroot",
  "cksum",
  "clang",
  "csh",
  "dd",
  "du",
  "fetch",
  "flock",
  "jail",
  "jexec",
  "jls",
  "kldstat",
  "limits",
  "lockf",
  "make",
  "mdconfig",
  "mount_nullfs",
  "mtree",
  "nc",
  "newfs",
  "openssl",
  "ping",
  "pkg",
  "python3",
  "rctl",
  "sha256",
  "sha256sum",
  "tar",
  "timeout",
  "truss",
  "zfs",
] as const;

const ASK = `LC_ALL=C PATH=/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin
export LC_ALL PATH
echo "uname $(uname -srm)"
echo "system $(uname -s) $(uname -m)"
echo "release $(freebsd-version -u 2>/dev/null || uname -r)"
echo "uid $(id -u)"
echo "racct $(sysctl -n kern.racct.enable 2>/dev/null || echo 0)"
[ ! -d /.standin ] || echo "standin a stand-in for FreeBSD"
for tool in ${TOOLS.join(" ")}; do
  place=$(command -v "$tool" 2>/dev/null) && echo "tool $tool $place"
done
# FreeBSD's base has /usr/sbin/pkg, which only fetches the real one.
[ -x /usr/local/sbin/pkg ] && echo "realpkg yes"
echo end`;

/** A machine's name for its processor to ours. */
const PROCESSORS: Readonly<Record<string, string>> = { amd64: "x86_64", x86_64: "x86_64", arm64: "aarch64", aarch64: "aarch64" };

/** undefined: it is not a host that we know, and `said` tells why. */
export async function askHost(hand: Hand): Promise<{ readonly said: Said; readonly self: HostSelf | undefined }> {
  const said = await hand.sh(ASK, { limitMs: 300_000 });
  const lines = said.stdout.split("\n");
  const value = (name: string): string => lines.find((line) => line.startsWith(`${name} `))?.slice(name.length + 1) ?? "";
  const [kernel = "", machine = ""] = value("system").split(" ");
  const system = kernel === "FreeBSD" ? "freebsd" : kernel === "Linux" ? "linux" : undefined;
  if (said.status !== 0 || !lines.includes("end") || system === undefined) return { said, self: undefined };
  const tools = new Map<string, string>();
  for (const line of lines) {
    const [word, tool = "", place = ""] = line.split(" ");
    if (word === "tool") tools.set(tool, place);
  }
  if (system === "freebsd" && value("realpkg") !== "yes") tools.delete("pkg");
  const version = value("standin");
  const self: HostSelf = {
    system,
    uname: value("uname"),
    release: value("release"),
    name: `${PROCESSORS[machine] ?? machine}-${system}`,
    tools,
    uid: Number(value("uid")),
    racct: value("racct") === "1",
    standIn: version === "" ? undefined : version,
  };
  return { said, self };
}
