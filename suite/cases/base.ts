/** Tools of FreeBSD's base system that our scripts rely on, and their fellows on Linux. */
import type { Case } from "../case.ts";
import { finding, probe } from "./probe.ts";

const FREEBSD = { only: "freebsd" } as const;
const KERNEL = { only: "freebsd", kernel: true } as const;
const LINUX = { only: "linux" } as const;

/** Names that a file may have, made in the directory d. */
const NAMES = `mkdir d
for name in 'a b' "it's" '$HOME' '"' '\\' '#x' '-x' '~' ';' '&' '%' '=' ',' '@' '!' 'x
y' "$(printf 'tab\\tx')" "$(printf '\\303\\244')" "$(printf '\\377')" .hidden; do
  printf '%s' "$name" >"d/$name"
done
mkdir "d/e f"; ln -s '../a b' "d/e f/l
k"; chmod 0755 'd/a b'; find d -exec touch -h -t 197001010000.01 {} +`;

const MTREE = `mtree -c -p d -k type,mode,size,link,sha256digest >spec`;

export const baseCases: readonly Case[] = [
  // mtree(8): the same program on both.
  probe("mtree: a tree with every kind of name is what its list says", `${NAMES}\n${MTREE}; mtree -p d -f spec; echo $?`, "0", {
    tools: ["mtree"],
  }),
  probe(
    "mtree: names in its list are of one word",
    `${NAMES}\n${MTREE}; awk 'NF && !/^ *(\\/|\\.\\.|#)/ && $0 !~ /=/ { print }' spec`,
    "",
    {
      tools: ["mtree"],
    },
  ),
  probe(
    "mtree: sha256 is written as 64 digits",
    `mkdir d; printf abc >d/f; ${MTREE}; grep -c 'sha256[a-z]*=ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad' spec`,
    "1",
    {
      tools: ["mtree"],
    },
  ),
  probe(
    "mtree: other content of the same size and time is found, status 2",
    `${NAMES}\n${MTREE}; printf 'c d' >'d/a b'; mtree -p d -f spec >said; echo $?; grep -c sha256 said`,
    "2\n1",
    {
      tools: ["mtree"],
    },
  ),
  probe(
    "mtree: another mode is found, status 2",
    `${NAMES}\n${MTREE}; chmod 0700 'd/a b'; mtree -p d -f spec >said; echo $?`,
    "2",
    { tools: ["mtree"] },
  ),
  probe(
    "mtree: a file that is gone is said",
    `${NAMES}\n${MTREE}; rm 'd/a b'; mtree -p d -f spec | grep -cE '^(missing: ./a b|[.]/a b missing)'`,
    "1",
    {
      tools: ["mtree"],
    },
  ),
  probe(
    "mtree: another target of a link is found, status 2",
    `mkdir d; ln -s a d/l; ${MTREE}; rm d/l; ln -s b d/l; mtree -p d -f spec >said; echo $?`,
    "2",
    { tools: ["mtree"] },
  ),
  probe(
    "mtree: another type is found, status 2",
    `mkdir d; : >d/f; ${MTREE}; rm d/f; mkdir d/f; mtree -p d -f spec >said; echo $?`,
    "2",
    { tools: ["mtree"] },
  ),
  probe(
    "mtree: a file too many is said",
    `mkdir d; : >d/f; ${MTREE}; : >d/more; mtree -p d -f spec | grep -c '^extra: more'`,
    "1",
    { tools: ["mtree"] },
  ),
  finding(
    "mtree: the status for a file too many, and for one that is gone",
    `mkdir d; : >d/f; ${MTREE}; : >d/more; mtree -p d -f spec >/dev/null; echo "too many $?"; rm d/more d/f; mtree -p d -f spec >/dev/null; echo "gone $?"`,
    { tools: ["mtree"] },
  ),
  probe(
    "mtree: reads a list of full paths, with octal names",
    `mkdir -p d/e; : >'d/e/a b'; printf '#mtree\\n. type=dir\\n./e type=dir\\n./e/a\\\\040b type=file size=0\\n' | mtree -p d; echo $?`,
    "0",
    {
      tools: ["mtree"],
    },
  ),
  probe(
    "mtree: a name that is a pattern, written as the pattern that it alone matches, is itself alone",
    `mkdir d; : >'d/*'; : >'d/[a-z]'; : >'d/?'; : >d/b; printf '#mtree\\n. type=dir\\n[*] type=file size=0\\n[?] type=file size=0\\n[[]a-z] type=file size=0\\nb type=file size=0\\n' >spec; mtree -p d -f spec; echo $?; printf x >'d/*'; mtree -p d -f spec >said; echo $?`,
    "0\n2",
    {
      tools: ["mtree"],
    },
  ),
  finding(
    "mtree: whether an octal name is a pattern",
    `mkdir d; : >'d/*'; : >d/b; printf '#mtree\\n. type=dir\\n./\\\\052 type=file size=0\\n./b type=file size=0\\n' | mtree -p d; echo "status $?"`,
    { tools: ["mtree"] },
  ),
  finding(
    "mtree: how it writes names that are not plain",
    `${NAMES}\n${MTREE}; grep -v '^#' spec | awk '{ print $1 }' | tr '\\n' ' '`,
    { tools: ["mtree"] },
  ),

  // tar(1)
  probe(
    "tar: a tree with every kind of name comes through a pipe",
    `${NAMES}\nmkdir o; tar -cf - -C d . | tar -xpf - -C o; echo $?; ${MTREE}; mtree -p o -f spec; echo $?`,
    "0\n0",
    {
      tools: ["mtree"],
    },
  ),
  probe(
    "tar: names that are patterns come through",
    `mkdir d o; : >'d/*'; : >'d/[x]'; : >'d/?'; : >d/-x; tar -cf - -C d . | tar -xpf - -C o; echo $?; ls -1 o | tr '\\n' ' '`,
    "0\n* -x ? [x]",
  ),
  probe(
    "tar: it is bsdtar, with zstd and xz in it",
    `tar --version; mkdir d; printf abc >d/f; for z in zstd xz gzip; do tar -c --$z -f - -C d f | tar -xOf - f; done`,
    /^bsdtar \d.*\nabcabcabc$/,
    KERNEL,
  ),
  probe(
    "tar: modes are kept under a umask, owners left alone",
    `umask 077; mkdir d o; : >d/f; chmod 0555 d/f; tar -cf - -C d f | tar -xpof - -C o; ls -ln o/f | awk '{ print $1, $3 }'`,
    /^-r-xr-xr-x\+? 0$/,
  ),
  probe(
    "tar: an archive that was cut is a failure",
    `mkdir d o; head -c 102400 /dev/zero >d/f; tar -cf a.tar -C d f; head -c 50000 a.tar | tar -xf - -C o 2>/dev/null; [ $? -ne 0 ] && echo refused`,
    "refused",
  ),
  probe(
    "tar: names over 255 bytes and targets over 100",
    `n=$(awk 'BEGIN { while (i++ < 90) printf "abcdefghij" }' | cut -c1-240); mkdir -p "d/$n/$n" o; : >"d/$n/$n/f"; ln -s "$n$n" d/l; tar -cf - -C d . | tar -xf - -C o; [ -f "o/$n/$n/f" ] && [ "$(readlink o/l)" = "$n$n" ] && echo same`,
    "same",
  ),
  probe(
    "tar: a hard link stays one",
    `mkdir d o; echo x >d/a; ln d/a d/b; tar -cf - -C d . | tar -xf - -C o; [ "$(ls -i o/a | awk '{ print $1 }')" = "$(ls -i o/b | awk '{ print $1 }')" ] && echo same`,
    "same",
  ),
  probe(
    "tar: a list of names from a file, NUL between them",
    `${NAMES}\n(cd d && find . -type f -print0) >list; tar -cf a.tar -C d --null -T "$W/list"; tar -tf a.tar | wc -l | awk '{ print ($1 >= 20) ? "all" : $1 }'`,
    "all",
  ),

  // Digests
  probe(
    "sha256 -q: of a file and of standard input",
    `printf abc >f; sha256 -q f; sha256 -q <f; printf abc | sha256 -q`,
    Array(3).fill("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").join("\n"),
    FREEBSD,
  ),
  probe(
    "sha256: a file whose name is hostile, behind --",
    `printf abc >-x; sha256 -q -- -x`,
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    FREEBSD,
  ),
  probe(
    "sha256sum: of standard input",
    `printf abc | sha256sum | cut -c1-64`,
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    LINUX,
  ),

  // stat(1), in the language of each
  probe(
    "stat -f: size, mode, owner, time, type, target",
    `printf 12345 >f; chmod 4751 f; chown 35001:35002 f; chmod 4751 f; touch -t 200102030405.06 f; ln -s 'a b' l; mkdir d; TZ=UTC stat -f '%z %Lp %Mp %u %g %HT' f; stat -f '%HT %Y' l; stat -f %HT d; stat -f %m f | tr -d 0-9`,
    "5 751 4 35001 35002 Regular File\nSymbolic Link a b\nDirectory",
    FREEBSD,
  ),
  probe("stat -f: several files, a name as it is", `: >'a b'; stat -f '%z %N' 'a b' .  | head -1`, "0 a b", FREEBSD),
  probe(
    "stat -c: size, mode, owner, type",
    `printf 12345 >f; chown 35001:35002 f; chmod 0751 f; stat -c '%s %a %u %g %F' f`,
    "5 751 35001 35002 regular file",
    LINUX,
  ),

  // lockf(1), flock(1)
  probe(
    "lockf: takes the lock, and the status comes through",
    `lockf -k lock sh -c 'exit 7'; echo $?; lockf -k -t 0 lock true; echo $?; [ -f lock ] && echo kept`,
    "7\n0\nkept",
    FREEBSD,
  ),
  probe(
    "lockf -s -t: 75 while somebody has it",
    `lockf -k lock sh -c 'echo has >has; sleep 5' & n=0; while [ ! -f has ] && [ $n -lt 20 ]; do sleep 1; n=$((n + 1)); done; lockf -k -s -t 0 lock true; echo $?; wait; lockf -k -t 10 lock true; echo $?`,
    "75\n0",
    FREEBSD,
  ),
  probe(
    "lockf: the lock of what was killed is free",
    `lockf -k lock sh -c 'echo $$ >child; exec sleep 120' >/dev/null 2>&1 & p=$!; n=0; while [ ! -s child ] && [ $n -lt 60 ]; do sleep 1; n=$((n + 1)); done; kill -9 $p; wait $p 2>/dev/null; lockf -k -t 5 lock true; echo $?; kill $(cat child)`,
    /^(0|75)$/,
    FREEBSD,
  ),
  finding(
    "lockf: whether the child of a killed lockf keeps the lock",
    `lockf -k lock sh -c 'echo $$ >child; exec sleep 121' >/dev/null 2>&1 & p=$!; n=0; while [ ! -s child ] && [ $n -lt 60 ]; do sleep 1; n=$((n + 1)); done; kill -9 $p; wait $p 2>/dev/null; lockf -k -s -t 0 lock true; echo "status $?"; kill $(cat child)`,
    FREEBSD,
  ),
  finding("lockf: takes a descriptor", `exec 9>lock; lockf -s -t 0 9; echo "status $?"`, FREEBSD),
  probe(
    "flock: takes the lock, the status comes through, -n does not wait",
    `flock lock sh -c 'exit 7'; echo $?; flock lock sh -c 'flock -n lock true; echo $?'`,
    "7\n1",
    { ...LINUX, tools: ["flock"] },
  ),

  // chroot(8) and its numbers
  probe(
    "chroot: -u -g -G drop to bare numbers",
    `chroot -u 35001 -g 35001 -G 35001 / id`,
    "uid=35001 gid=35001 groups=35001",
    KERNEL,
  ),
  finding("chroot: without -G, these groups are left", `chroot -u 35001 -g 35001 / id`, KERNEL),
  probe(
    "chroot: the status comes through, of a signal too",
    `chroot -u 35001 -g 35001 -G 35001 / sh -c 'exit 7'; echo $?; chroot -u 35001 -g 35001 -G 35001 / sh -c 'kill -TERM $$'; echo $?`,
    "7\n143",
    KERNEL,
  ),
  probe(
    "chroot: no way back",
    `chroot -u 35001 -g 35001 -G 35001 / chroot -u 0 / id 2>&1; echo $?`,
    /\n[1-9]\d*$|^[1-9]\d*$/,
    KERNEL,
  ),
  probe(
    "chroot: a copy of it works as well",
    `cp /usr/sbin/chroot "$W/copy"; "$W/copy" -u 35001 -g 35001 -G 35001 / id -u`,
    "35001",
    KERNEL,
  ),
  probe(
    "chroot: what is not there, and what cannot run, is a failure",
    `chroot / /nothing 2>/dev/null; echo $?; : >f; chroot / "$W/f" 2>/dev/null; echo $?`,
    /^(1|127)\n(1|126)$/,
    FREEBSD,
  ),
  probe(
    "setpriv: numbers and no groups",
    `setpriv --reuid=35001 --regid=35001 --clear-groups id`,
    "uid=35001 gid=35001 groups=35001",
    LINUX,
  ),

  // limits(1)
  probe("limits: open files, soft and hard", `limits -n 64 sh -c 'ulimit -Sn; ulimit -Hn'`, "64\n64", KERNEL),
  probe(
    "limits -f: a file stays under its size, the signal is XFSZ",
    `limits -f 8k sh -c 'head -c 65536 /dev/zero >f; exit $?'; echo $?; wc -c <f | tr -d ' '`,
    /^(153|1)\n8192$/,
    KERNEL,
  ),
  probe(
    "limits -u: too many processes of a user are refused",
    `limits -u 5 chroot -u 35017 -g 35017 -G 35017 / sh -c 'for i in 1 2 3 4 5 6 7 8 9; do sleep 3 & done; wait' 2>&1 | grep -ci 'fork\\|unavailable'`,
    /^[1-9]/,
    KERNEL,
  ),
  probe(
    "limits -v: memory is refused over it",
    `limits -v 64m dd if=/dev/zero of=/dev/null bs=268435456 count=1 2>/dev/null; [ $? -ne 0 ] && echo refused`,
    "refused",
    KERNEL,
  ),
  probe("limits -c 0: no core", `limits -c 0 sh -c 'kill -SEGV $$' 2>/dev/null; echo $?; ls`, "139", KERNEL),
  probe(
    "limits: the status comes through",
    `limits -c 0 -n 128 -u 500 -f 1024k -v 1048576k sh -c 'exit 7'; echo $?`,
    "7",
    FREEBSD,
  ),
  finding("rctl: its word about racct", `sysctl -n kern.racct.enable 2>&1; rctl 2>&1 | head -3; :`, FREEBSD),

  // As our scripts say them
  probe(
    "timeout --foreground -k: as our scripts say it",
    `timeout --foreground -k 5 60 sh -c 'exit 9'; echo $?; timeout --foreground -k 1 1 sleep 30; echo $?`,
    "9\n124",
    FREEBSD,
  ),
  probe(
    "chflags, rm: what a builder marked as not to be removed goes",
    `mkdir -p d/e; : >d/e/f; chflags uunlnk d/e/f d/e; rm -rfx d 2>/dev/null; echo $?; chflags -Rx 0 d && rm -rfx d; echo $?; ls`,
    "1\n0",
    KERNEL,
  ),
  probe(
    "find: -prune and -mmin",
    `mkdir old new; touch -t 200001010000 old; for d in old new; do find "$W/$d" -prune -mmin +60; done | sed 's|.*/||'`,
    "old",
  ),
  probe("printf %b: octal of three digits", `printf '%b' '\\0040\\0101x' | od -An -tx1 | tr -d ' \\n'`, "204178"),
  probe(
    "jls jid path: nothing when there is no jail of ours",
    `jls jid path | grep -c "$W"; jls jid path >/dev/null; echo $?`,
    "0\n0",
    FREEBSD,
  ),

  probe(
    "tar --format=mtree: type, mode, size and target of each, as our scripts ask",
    `mkdir -p d/e; printf 12345 >'d/a b'; chmod 0755 'd/a b'; ln -s 'x y' d/l; chmod 0755 d d/e; tar -cf - --format=mtree --options='mtree:!all,mtree:type,mtree:mode,mtree:size,mtree:link' -C d . | grep -v '^#' | sed -E 's/ +$//' | sort`,
    /^\. (mode=0?755 type=dir|type=dir mode=0?755)\n\.\/a\\040b (.*mode=0?755.*)\n\.\/e .*type=dir.*\n\.\/l .*link=x\\040y.*$/,
    FREEBSD,
  ),
  finding(
    "head -c: whether what follows it on a pipe is left",
    `{ printf '0123456789'; sleep 1; printf 'line\n'; } | { head -c 10 >/dev/null; cat; }; printf '0123456789line\n' | { head -c 10 >/dev/null; echo "at once: $(cat)"; }`,
  ),
  probe(
    "mv -n: several into a directory, and not over what is there",
    `mkdir a b to to/b; echo mine >to/c; echo other >c; mv -n a b c to/ 2>/dev/null; ls to; cat to/c; ls -d b 2>/dev/null`,
    /^a\nb\nc\nmine(\nb)?$/,
  ),
  probe(
    "df -kP: free space before the share",
    `df -kP "$W" | { read -r _ && read -r free; set -- \${free%%%*}; while [ $# -gt 2 ]; do shift; done; echo "$1"; }`,
    /^-?\d+$/,
  ),
  probe(
    "kldstat -q -m: whether a module is there",
    `kldstat -q -m nosuchmodule; echo $?; mkdir a b; mount_nullfs "$W/a" "$W/b"; kldstat -q -m nullfs; echo $?; umount "$W/b"`,
    "1\n0",
    FREEBSD,
  ),
  probe("tail -n, sync", `printf '1\n2\n3' | tail -n 2; sync; echo`, "2\n3"),

  // What the host says of itself
  probe(
    "uname, freebsd-version: names of releases",
    `uname -s; uname -r; freebsd-version -u; uname -U; uname -m; uname -p`,
    /^FreeBSD\n\d+\.\d+-\S+\n\d+\.\d+-\S+\n\d{6,8}\n(amd64|arm64)\n(amd64|aarch64)$/,
    FREEBSD,
  ),
  probe("sysctl -n: processors, memory, jailed", `sysctl -n hw.ncpu hw.physmem security.jail.jailed`, /^\d+\n\d+\n0$/, FREEBSD),
  probe(
    "base: no bash, no GNU sed",
    `command -v bash sudo rsync; printf x >f; sed -i 's/x/y/' f 2>/dev/null && cat f; :`,
    /^$|\/(bash|sudo|rsync)/,
    FREEBSD,
  ),
  probe("sed -i wants a suffix", `printf x >f; sed -i '' 's/x/y/' f; cat f`, "y", FREEBSD),
  probe("ps -o: a list whose headers are empty is of several options", `ps -o pid= -o ppid= -p $$ | awk '{ print NF }'`, "2"),
  probe(
    "service, sysrc, daemon, pwd_mkdb, mdconfig, newfs are there",
    `for t in service sysrc daemon pwd_mkdb mdconfig newfs cpuset procstat pkill fstat sockstat kldstat devfs; do command -v $t >/dev/null || echo "no $t"; done`,
    "",
    KERNEL,
  ),
  finding(
    "base: what may or may not be there",
    `for t in cc make makefs mkimg bhyve bhyvectl zfs pkg openssl truss nc ping; do printf '%s:%s ' $t "$(command -v $t || echo no)"; done; for d in /usr/include /usr/share/mk /usr/libdata /usr/lib32; do [ -d $d ] && printf '%s:yes ' $d || printf '%s:no ' $d; done`,
    FREEBSD,
  ),
  finding(
    "the login shell of root, and the locale",
    `grep '^root:' /etc/passwd | cut -d: -f7; locale -a 2>/dev/null | grep -i 'c\\.utf' | head -1`,
    FREEBSD,
  ),
];
