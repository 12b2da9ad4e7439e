/** Jails, mounts and devices of a FreeBSD host, by hand: what our scripts take for granted about them. */
import type { Case } from "../case.ts";
import { finding, probe, type Probe } from "./probe.ts";

const JAIL = { only: "freebsd", kernel: true } as const satisfies Probe;

/** Undone however the probe ends: jails of its name, whatever is mounted below its directory (deepest first), memory disks. */
const UNDONE = `J=gs$$
undo() {
  jail -R "$J" 2>/dev/null
  # The place, with its blanks, is between the source and the type of the line.
  mount -p | awk -v w="$W/" '{ line = $0; gsub(/\\t/, " ", line); i = index(line, " " w); if (i) print substr(line, i + 1) }' |
    sed -E 's/ +(nullfs|devfs|tmpfs|ufs|fdescfs) .*$//' | sort -r | while IFS= read -r place; do umount -f "$place"; done
  [ -z "\${MD-}" ] || mdconfig -d -u "$MD"
}
trap undo EXIT
`;

/** As \`probe\`, with what it makes undone. */
function jail(name: string, script: string, expected: string | RegExp, options: Probe = {}): Case {
  return probe(name, `${UNDONE}${script}`, expected, { ...JAIL, ...options });
}

/** What a stand-in for FreeBSD must do as well: made of nothing but mounts, jail.conf and numbers. */
function mounted(name: string, script: string, expected: string | RegExp, options: Probe = {}): Case {
  return probe(name, `${UNDONE}${script}`, expected, { only: "freebsd", ...options });
}

function jailFinding(name: string, script: string): Case {
  return finding(name, `${UNDONE}${script}`, { only: "freebsd", kernel: true });
}

/** A jail of the host's own root, without addresses. */
const PLAIN = `jail -q -c name="$J" path=/ persist ip4=disable ip6=disable enforce_statfs=2 || exit 90
`;

/** A jail as ours: a skeleton, the host's directories mounted into it read-only, devfs, what may be written. */
const THIN = `umask 022
mkdir -p "$W/skeleton/dev" "$W/skeleton/tmp" "$W/skeleton/out" "$W/root" "$W/out" "$W/tmp"
chown 35001:35001 "$W/out" "$W/tmp"
: >"$W/fstab"
printf '%s %s nullfs ro 0 0\\n' "$W/skeleton" "$W/root" >>"$W/fstab"
for d in /bin /lib /libexec /usr/bin /usr/lib /usr/libexec /usr/sbin; do
  [ -d $d ] || continue
  mkdir -p "$W/skeleton$d"
  printf '%s %s nullfs ro 0 0\\n' $d "$W/root$d" >>"$W/fstab"
done
printf '%s %s nullfs rw 0 0\\n' "$W/out" "$W/root/out" >>"$W/fstab"
printf '%s %s nullfs rw 0 0\\n' "$W/tmp" "$W/root/tmp" >>"$W/fstab"
cat >"$W/jail.conf" <<CONF
"$J" {
  path = "$W/root";
  host.hostname = "garth-probe";
  persist;
  enforce_statfs = 2;
  ip4 = disable;
  ip6 = disable;
  children.max = 0;
  allow.noset_hostname;
  allow.noraw_sockets;
  allow.nomount;
  mount.devfs;
  devfs_ruleset = 4;
  mount.fstab = "$W/fstab";
}
CONF
before=$(mount -p | wc -l)
jail -q -f "$W/jail.conf" -c "$J" || exit 90
AS="/usr/sbin/jexec $J /usr/sbin/chroot -u 35001 -g 35001 -G 35001 /"
`;

export const jailCases: readonly Case[] = [
  jail(
    "jail: is made and removed by hand, and by its name is there or not",
    `${PLAIN}jls -j "$J" jid | grep -c '^[0-9]'; echo $?; jail -q -r "$J"; echo $?; jls -j "$J" jid 2>/dev/null; echo $?`,
    "1\n0\n0\n1",
  ),
  jail("jexec: the status comes through", `${PLAIN}jexec "$J" sh -c 'exit 7'; echo $?`, "7"),
  jail(
    "jexec: a signal comes through as over 128",
    `${PLAIN}jexec "$J" sh -c 'kill -TERM $$'; echo $?; jexec "$J" sh -c 'kill -KILL $$'; echo $?`,
    "143\n137",
  ),
  jail(
    "jexec and chroot: 7 gives 7, and the numbers are bare",
    `${PLAIN}jexec "$J" /usr/sbin/chroot -u 35001 -g 35001 -G 35001 / sh -c 'id; exit 7'; echo $?`,
    "uid=35001 gid=35001 groups=35001\n7",
  ),
  jailFinding(
    "jexec and chroot: without -G, these groups are left",
    `${PLAIN}jexec "$J" /usr/sbin/chroot -u 35001 -g 35001 / id`,
  ),
  jail(
    "jail -c command=: the status does not come through",
    `jail -q -c name="$J" path=/ ip4=disable command=/bin/sh -c 'exit 7' 2>/dev/null; echo $?`,
    "1",
  ),
  jail(
    "jexec -U: a name that is not in the jail's passwd is refused",
    `${PLAIN}jexec -U gsnobody35001 "$J" id >/dev/null 2>&1; [ $? -ne 0 ] && echo refused`,
    "refused",
  ),
  jail(
    "jail: a name that is taken is refused",
    `${PLAIN}jail -q -c name="$J" path=/ persist 2>said; [ $? -ne 0 ] && grep -c 'already exists' said`,
    "1",
  ),
  jail(
    "jail: a name with dashes is one, its dots would be children",
    `jail -q -c name="garth-0123abcd-$J" path=/ persist ip4=disable ip6=disable && jls -j "garth-0123abcd-$J" name; jail -q -r "garth-0123abcd-$J"`,
    /^garth-0123abcd-gs\d+$/,
  ),
  jail(
    "jail: a name is free again at once",
    `${PLAIN}jail -q -r "$J"; jail -q -c name="$J" path=/ persist ip4=disable ip6=disable; echo $?`,
    "0",
  ),
  jail(
    "jail -r: what runs in it is killed",
    `${PLAIN}jexec "$J" sh -c 'trap "" TERM HUP; while :; do sleep 1; done' & sleep 2; jail -q -r "$J"; wait $!; echo $?`,
    "137",
  ),
  jail(
    "jail: is jailed, with a host name of its own",
    `${PLAIN}jexec "$J" sysctl -n security.jail.jailed; jail -q -m name="$J" host.hostname=garth-x; jexec "$J" hostname`,
    "1\ngarth-x",
  ),
  jail(
    "jail: an ordinary user makes none, and enters none",
    `${PLAIN}chroot -u 35001 -g 35001 -G 35001 / jail -q -c name=gsother path=/ persist 2>&1 | grep -c 'not permitted'; chroot -u 35001 -g 35001 -G 35001 / jexec "$J" true 2>&1 | grep -c 'not permitted'`,
    "1\n1",
  ),
  jail(
    "jail: what is in it makes no jail",
    `${PLAIN}jexec "$J" jail -q -c name=inner path=/ persist >/dev/null 2>&1; [ $? -ne 0 ] && echo refused`,
    "refused",
  ),
  jail(
    "jail: no address, no loopback",
    `${PLAIN}jexec "$J" nc -z -w 3 127.0.0.1 22 >/dev/null 2>&1; [ $? -ne 0 ] && echo refused; jexec "$J" nc -z -w 3 ::1 22 >/dev/null 2>&1; [ $? -ne 0 ] && echo refused`,
    "refused\nrefused",
    { tools: ["nc"] },
  ),
  jail("jail: no ping", `${PLAIN}jexec "$J" ping -c 1 -t 3 127.0.0.1 >/dev/null 2>&1; [ $? -ne 0 ] && echo refused`, "refused", {
    tools: ["ping"],
  }),
  jailFinding("jail: what ifconfig shows in it", `${PLAIN}jexec "$J" ifconfig -l`),
  jail(
    "jail: sees its own processes alone",
    `${PLAIN}jexec "$J" ps -ax -o pid= | wc -l | awk '{ print ($1 <= 2) ? "few" : $1 }'`,
    "few",
  ),
  jail(
    "jail: its processes are found from outside",
    `${PLAIN}jexec "$J" sleep 60 & sleep 1; ps -axo pid= -J "$(jls -j "$J" jid)" 2>/dev/null | wc -l | awk '{ print ($1 >= 1) ? "seen" : $1 }'; kill $!`,
    "seen",
  ),

  // The whole of a thin jail
  jail(
    "thin jail: everything is mounted, and with jail -r nothing is left",
    `${THIN}mount -p | wc -l | awk -v b="$before" '{ print ($1 > b + 5) ? "mounted" : $1 - b }'; jail -q -f "$W/jail.conf" -r "$J"; echo $?; mount -p | wc -l | awk -v b="$before" '{ print $1 - b }'; jls -j "$J" jid >/dev/null 2>&1; echo $?`,
    "mounted\n0\n0\n1",
  ),
  mounted(
    "thin jail: the builder's numbers, its status",
    `${THIN}$AS sh -c 'id; exit 7'; echo $?`,
    "uid=35001 gid=35001 groups=35001\n7",
  ),
  jail(
    "thin jail: read-only for the user and for root",
    `${THIN}$AS sh -c ': >/bin/x' 2>&1 | grep -o 'Permission denied\\|Read-only file system'; jexec "$J" sh -c ': >/bin/x' 2>&1 | grep -o 'Permission denied\\|Read-only file system'; jexec "$J" sh -c ': >/x' 2>&1 | grep -o 'Read-only file system'`,
    "Permission denied\nRead-only file system\nRead-only file system",
  ),
  mounted(
    "thin jail: its own directory can be written",
    `${THIN}$AS sh -c 'echo hi >/out/f; echo $?'; cat "$W/out/f"; stat -f '%u:%g' "$W/out/f"`,
    "0\nhi\n35001:35001",
  ),
  jail(
    "thin jail: /dev has what a builder needs",
    `${THIN}$AS sh -c 'for d in null zero random urandom fd stdin stdout stderr; do [ -e /dev/$d ] || echo no $d; done; echo x >/dev/null; head -c 4 /dev/zero | wc -c | tr -d " "; head -c 4 /dev/urandom | wc -c | tr -d " "; echo out >/dev/stdout'`,
    "4\n4\nout",
  ),
  mounted(
    "thin jail: /dev has no disk, no memory, no bpf",
    `${THIN}$AS sh -c 'ls /dev' | grep -E '^(mem|kmem|bpf|pf|ada|da|vtbd|nda|nvd|md|geom|pci|io|vmm|mdctl|nvme)' | tr '\\n' ' '; echo end`,
    "end",
  ),
  jailFinding("thin jail: all of /dev", `${THIN}$AS ls /dev | tr '\\n' ' '`),
  mounted(
    "jail: a root without devfs has no /dev/null",
    `mkdir -p root/dev root/bin root/lib root/libexec root/usr/libexec; for d in /bin /lib /libexec /usr/libexec; do mount_nullfs -o ro $d "$W/root$d"; done; jail -q -c name="$J" path="$W/root" persist ip4=disable ip6=disable; jexec "$J" /bin/sh -c '[ -e /dev/null ] || echo none; cat </dev/null' >said 2>&1; sed 's|.*/dev/null.*|refused|' said; jail -q -R "$J"`,
    "none\nrefused",
  ),
  mounted(
    "thin jail: the host's files are not there",
    `echo secret >"$W/sentinel"; ${THIN}$AS ls "$W/sentinel" /etc/passwd /root /var 2>/dev/null | wc -l | tr -d ' '`,
    "0",
  ),
  jail(
    "thin jail: only its own mounts are seen",
    `${THIN}$AS sh -c 'df -k 2>/dev/null | wc -l' | awk '{ print ($1 <= 3) ? "few" : $1 }'`,
    "few",
  ),
  jail(
    "thin jail: no way to root",
    `${THIN}$AS /usr/sbin/chroot -u 0 / id >/dev/null 2>&1; [ $? -ne 0 ] && echo refused; $AS su root -c id >/dev/null 2>&1 </dev/null; [ $? -ne 0 ] && echo refused`,
    "refused\nrefused",
  ),
  jail(
    "thin jail: a program that sets its user may not leave with root",
    `${THIN}cp /usr/bin/id "$W/out/suid"; chown 0:0 "$W/out/suid"; chmod 4755 "$W/out/suid"; $AS /out/suid -u`,
    /^(0|35001)$/,
  ),
  mounted(
    "thin jail: the environment is what env gives",
    `${THIN}env -i A='x y' PATH=/bin:/usr/bin TMPDIR=/tmp $AS sh -c 'echo "$A $TMPDIR \${HOME-none}"'`,
    "x y /tmp none",
  ),
  jail(
    "thin jail: limits and timeout reach in",
    `${THIN}timeout 60 limits -n 77 -c 0 $AS sh -c 'ulimit -n; exit 9'; echo $?; timeout 2 $AS sleep 60; echo $?`,
    "77\n9\n124",
  ),
  mounted(
    "thin jail: standard input is empty when closed off",
    `${THIN}$AS sh -c 'read -r x; echo "$? <$x>"' </dev/null`,
    "1 <>",
  ),
  mounted(
    "thin jail: the working directory is set inside",
    `${THIN}$AS /bin/sh -c 'cd "$1" && shift && exec "$@"' sh /tmp pwd`,
    "/tmp",
  ),
  mounted(
    "thin jail: a hard link of a file shows it",
    `echo hello >"$W/file"; chmod 0444 "$W/file"; mkdir -p "$W/skeleton"; ln "$W/file" "$W/skeleton/file"; ${THIN}$AS cat /file; $AS sh -c 'echo x >/file' 2>/dev/null; cat "$W/file"`,
    "hello\nhello",
  ),
  jailFinding(
    "thin jail: how long jail -c, jexec true and jail -r take",
    `jailed() { jail -q -f "$W/jail.conf" "$@"; }
${THIN}jailed -r "$J"; a=$(date +%s); for i in 1 2 3 4 5; do jailed -c "$J"; jexec "$J" true; jailed -r "$J"; done; echo "five: $(($(date +%s) - a)) s"`,
  ),

  // Places with names that nobody has
  jail(
    "jail.conf and fstab: a place with blanks, quotes and dollars",
    `D="$W/it's \\$a \\"b\\" c#d"; mkdir -p "$D/root/in" "$D/source"; echo x >"$D/source/f"
vis=$(printf '%s' "$D" | sed -e 's/ /\\\\040/g' -e 's/#/\\\\043/g'); printf '%s/source %s/root/in nullfs ro 0 0\\n' "$vis" "$vis" >"$D/fstab"
conf=$(printf '%s' "$D" | sed -e 's/["$\\\\]/\\\\&/g')
printf '%s { path = "%s/root"; persist; ip4 = disable; ip6 = disable; mount.fstab = "%s/fstab"; }\\n' "$J" "$conf" "$conf" >"$W/jail.conf"
jail -q -f "$W/jail.conf" -c "$J"; echo $?; [ "$(jls -j "$J" path)" = "$D/root" ] && echo same; cat "$D/root/in/f"; jail -q -f "$W/jail.conf" -r "$J"; echo $?; mount -p | grep -c "$W"`,
    "0\nsame\nx\n0\n0",
    { status: 1 },
  ),
  jailFinding(
    "mount -p: how a place with a blank is printed",
    `mkdir -p "$W/a b" "$W/c d"; mount -t nullfs "$W/a b" "$W/c d"; mount -p | grep 'c.*d' | grep -F "$W" | cat -vet; umount "$W/c d"`,
  ),
  mounted(
    "mount: a source, a place, a type, options, in this order",
    `mkdir a b; mount -t nullfs -o ro "$W/a" "$W/b"; mount -p | awk -v b="$W/b" '$2 == b { print ($1 == substr(b, 1, length(b) - 1) "a"), $3, $4 }'; umount "$W/b"`,
    "1 nullfs ro",
  ),
  mounted(
    "umount: by place, by place with a blank, -f where somebody is",
    `mkdir a 'c d'; mount -t nullfs "$W/a" "$W/c d"; umount "$W/c d"; echo $?; mount -t nullfs "$W/a" "$W/c d"; (cd "$W/c d" && exec sleep 60) & sleep 1; umount "$W/c d" 2>said; echo $?; grep -c -i busy said; umount -f "$W/c d"; echo $?; kill $!; wait`,
    "0\n1\n1\n0",
  ),
  mounted(
    "umount: what something is mounted upon is busy",
    `mkdir -p a/x b c; mount -t nullfs "$W/a" "$W/b"; mount -t nullfs "$W/c" "$W/b/x"; umount "$W/b" 2>said; echo $?; grep -ci busy said; umount "$W/b/x" && umount "$W/b"; echo $?`,
    "1\n1\n0",
  ),
  mounted(
    "nullfs: a directory upon itself through another, read-only below, writable within",
    `mkdir -p s/in r w; mount -t nullfs -o ro "$W/s" "$W/r"; mount -t nullfs "$W/w" "$W/r/in"; echo 1 >r/in/f; cat w/f; (: >r/g) 2>&1 | grep -o 'Read-only.*'; umount r/in; umount r`,
    "1\nRead-only file system",
  ),
  jail(
    "nullfs: a mount below a source is not seen",
    `mkdir -p a/x b c; : >c/f; mount -t nullfs "$W/c" "$W/a/x"; mount -t nullfs "$W/a" "$W/b"; ls b/x | wc -l | tr -d ' '; umount b; umount a/x`,
    "0",
  ),
  mounted(
    "mount: a place that is a symlink is followed, and said as what it is",
    `mkdir a real; ln -s real link; mount -t nullfs "$W/a" "$W/link"; mount -p | awk -v r="$W/real" '$2 == r { print "real" }'; umount "$W/real"`,
    "real",
  ),
  mounted(
    "nullfs: a file is no place for a directory",
    `mkdir a; : >f; mount -t nullfs "$W/a" "$W/f" 2>/dev/null; [ $? -ne 0 ] && echo refused`,
    "refused",
  ),
  jailFinding(
    "nullfs: a file upon a file",
    `echo 1 >a; : >b; mount -t nullfs "$W/a" "$W/b" 2>&1; cat b; umount "$W/b" 2>/dev/null; :`,
  ),
  mounted(
    "mount_nullfs -o ro, mount -t devfs -o ruleset=4, umount of several: as our scripts say them",
    `mkdir -p a b c dev; mount_nullfs -o ro "$W/a" "$W/b"; mount_nullfs "$W/a" "$W/c"; mount -t devfs -o ruleset=4 devfs "$W/dev"; [ -c dev/null ] && echo null; mount -p | awk -v w="$W/" 'index($2, w) == 1 { print substr($2, length(w) + 1), $3, $4 }'; umount "$W/dev" "$W/c" "$W/b"; echo $?; mount -p | grep -c "$W"`,
    /^null\nb nullfs ro\nc nullfs rw\ndev devfs rw(,\S+)?\n0\n0$/,
    { status: 1 },
  ),
  mounted(
    "umount -n: of several, and not where somebody is",
    `mkdir -p a b c; mount_nullfs "$W/a" "$W/b"; mount_nullfs -o ro "$W/a" "$W/c"; umount -n "$W/c" "$W/b"; echo $?; mount -p | grep -c "$W"; mount_nullfs "$W/a" "$W/b"; (cd b && exec sleep 60) >/dev/null 2>&1 & sleep 1; umount -n "$W/b" 2>/dev/null; [ $? -ne 0 ] && echo busy; kill $!; wait $!; umount "$W/b"; echo $?`,
    "0\n0\nbusy\n0",
  ),
  mounted(
    "jail: made first, mounted into afterwards, and what is in it sees that",
    `mkdir -p root/in s; echo x >s/f; J="$J-late"; jail -q -c name="$J" path="$W/root" persist ip4=disable ip6=disable enforce_statfs=2; mount_nullfs -o ro "$W/s" "$W/root/in"; cat root/in/f; jls -j "$J" path | grep -c "$W/root"; jail -q -R "$J"; umount "$W/root/in"; echo $?`,
    "x\n1\n0",
  ),
  probe(
    "ps: two processes by their numbers, state and time each, as our scripts ask",
    `TZ=UTC ps -o pid= -o state= -o lstart= -p "1,$$" | awk '{ print NF, $3, $4 }' | sed -E 's/[A-Z][a-z][a-z] [A-Z][a-z][a-z]/day/'`,
    "7 day\n7 day",
    { only: "freebsd" },
  ),
  jail(
    "rm -rfx: does not go where something is mounted",
    `mkdir -p d/in keep; : >keep/f; mount -t nullfs "$W/keep" "$W/d/in"; rm -rfx d 2>/dev/null; ls keep; umount "$W/d/in"; rm -rfx d; ls d 2>/dev/null | wc -l | tr -d ' '`,
    "f\n0",
  ),
  jail(
    "tmpfs: a size that is kept, and full is said",
    `mkdir t; mount -t tmpfs -o size=4m tmpfs "$W/t"; head -c 8388608 /dev/zero 2>&1 >t/f | grep -o 'No space left on device'; umount "$W/t"`,
    "No space left on device",
  ),
  jail(
    "mdconfig, newfs: a small file system",
    `MD=$(mdconfig -a -t swap -s 16m); newfs -U "/dev/$MD" >/dev/null; mkdir m; mount "/dev/$MD" "$W/m"; df -k "$W/m" | awk 'NR == 2 { print ($2 > 8000 && $2 < 17000) ? "so" : $2 }'; umount "$W/m"`,
    "so",
    { tools: ["mdconfig", "newfs"] },
  ),
  probe(
    "devfs: the rules of ruleset 4 are loaded",
    `devfs rule -s 4 show | wc -l | awk '{ print ($1 > 0) ? "loaded" : "none" }'`,
    "loaded",
    JAIL,
  ),
  finding(
    "devfs: the rulesets there are",
    `devfs ruleset show 2>&1 | tr '\\n' ' '; devfs rule showsets 2>&1 | tr '\\n' ' '`,
    JAIL,
  ),
  jail(
    "rctl: off, and its word for it",
    `rctl -a "jail:$J:memoryuse:sigkill=100000000" 2>&1 | grep -ci 'racct\\|not supported\\|disabled'; rctl -r "jail:$J" >/dev/null 2>&1; sysctl -n kern.racct.enable`,
    /^[1-9]\d*\n0$|^0\n1$/,
  ),
  finding(
    "jail parameters that ours use",
    `for p in allow.mount allow.set_hostname allow.raw_sockets children.max enforce_statfs devfs_ruleset host.hostname ip4 ip6 vnet persist; do sysctl -dn "security.jail.param.$p" >/dev/null 2>&1 && printf '%s:yes ' "$p" || printf '%s:no ' "$p"; done`,
    JAIL,
  ),
];
