/** sh(1) and the small tools, as the scripts use them: on a host where one of these fails, what is larger cannot work. */
import type { Case } from "../case.ts";
import { probe } from "./probe.ts";

export const shellCases: readonly Case[] = [
  probe(
    "sh: set -eu ends at a failure, and the EXIT trap runs",
    `sh -c 'set -eu; trap "echo out" EXIT; false; echo no'; echo $?`,
    "out\n1",
  ),
  probe(
    "sh: an unset variable is an error under set -u",
    `sh -c 'set -u; echo "$nothing"; echo no' 2>/dev/null || echo refused`,
    "refused",
  ),
  probe("sh: the EXIT trap may change the status", `sh -c 'trap "exit 3" EXIT; exit 0'; echo $?`, "3"),
  probe("sh: the EXIT trap sees the status", `sh -c 'trap "echo was \\$?" EXIT; exit 5'; echo $?`, "was 5\n5"),
  probe(
    "sh: TERM is answered while a child is waited for",
    `sh -c 'sleep 60 & p=$!; trap "kill $p; echo got; exit 143" TERM; (sleep 1; kill -TERM $$) & wait $p; echo no'; echo $?`,
    "got\n143",
  ),
  probe(
    "sh: what is in the background may have its interrupt back, and timeout hands it on",
    `for at in ': none' 'trap - INT QUIT'; do ( eval "$at"; exec timeout --foreground 60 sh -c 'kill -INT $$; kill -QUIT $$; echo ignored') & wait $!; echo $?; done 2>/dev/null`,
    /^(ignored\n0|130)\n130$/,
    { only: "freebsd", tools: ["timeout"] },
  ),
  probe("sh: HUP is trapped", `sh -c 'trap "echo hup; exit 129" HUP; kill -HUP $$; sleep 5; echo no'; echo $?`, "hup\n129"),
  probe(
    "sh: an ignored signal stays ignored in a child",
    `sh -c 'trap "" TERM; sh -c "kill -TERM \\$\\$; echo alive"'; echo $?`,
    "alive\n0",
  ),
  probe("sh: the status of a child that was killed is over 128", `sleep 60 & p=$!; kill -9 $p; wait $p; echo $?`, "137"),
  probe(
    "sh: a child in the background reads from a kept descriptor",
    `exec 3<&0; { read -r x <&3; echo "child $x"; } & wait $!; read -r y; echo "then $y"`,
    "child a\nthen b",
    {
      stdin: "a\nb\n",
    },
  ),
  probe(
    "sh: a child in the background has no input of its own",
    `{ read -r x || echo "none$x"; } & wait $!; read -r y; echo "mine $y"`,
    "none\nmine a",
    {
      stdin: "a\n",
    },
  ),
  probe(
    "sh: the end of input is a status of read",
    `printf x | { read -r l; echo "$? $l"; }; printf '' | { read -r l; echo "$?"; }`,
    "1 x\n1",
  ),
  probe(
    "sh: read -r keeps backslashes, IFS= keeps blanks",
    `printf ' a\\\\b \\n' | { IFS= read -r l; printf '<%s>\\n' "$l"; }`,
    "< a\\b >",
  ),
  probe(
    "sh: kill -0 tells the living from the dead",
    `sleep 60 & p=$!; kill -0 $p && echo alive; kill $p; wait $p; kill -0 $p 2>/dev/null || echo dead`,
    "alive\ndead",
  ),
  probe(
    "sh: hostile words come through eval and set",
    `set -- 'a b' "it's" '$HOME' '"' '\\' '*' '' '
'; for w; do printf '<%s>' "$w"; done; echo " $#"`,
    "<a b><it's><$HOME><\"><\\><*><><\n> 8",
  ),
  probe(
    "sh: parameters are cut, numbers are computed",
    `p=/a/b.c; echo "\${p%/*} \${p##*/} \${p%.c} \${#p} \${q-none} $((7 * 6)) $((0x10))"`,
    "/a b.c /a/b 6 none 42 16",
  ),
  probe("sh: a here-document with a quoted end is literal", `cat <<'X'\n$HOME \`id\` \\\nX`, "$HOME `id` \\"),
  probe("sh: an unfinished compound command runs nothing", `sh -c '{ echo no' 2>/dev/null || echo refused`, "refused"),
  probe(
    "sh: a function that returns, in a condition under set -e",
    `sh -c 'set -eu; f() { false; return 4; }; f || echo "f $?"; if f; then :; else echo else; fi'`,
    "f 4\nelse",
  ),
  probe("sh: standard output and standard error in one stream", `sh -c 'echo a; echo b >&2' 2>&1 | sort`, "a\nb"),
  probe("sh: printf knows octal, and NUL", `printf 'a\\000\\001\\377b' | od -An -tx1 | tr -d ' \\n'`, "610001ff62"),
  probe("sh: umask is obeyed by mkdir and by >", `umask 077; mkdir d; : >f; ls -ld d f | cut -c1-10`, "drwx------\n-rw-------"),
  probe("head -c: exactly so many bytes of a pipe", `printf '0123456789' | head -c 4`, "0123"),
  probe(
    "head -c: all of what is shorter",
    `printf '0123' | head -c 10; echo; printf '' | head -c 10 | wc -c | tr -d ' '`,
    "0123\n0",
  ),
  probe("wc -c: a number for arithmetic", `printf 12345 >f; echo $(($(wc -c <f)))`, "5"),
  probe("dd: bytes, and its words on standard error", `printf 0123456789 | dd bs=1 count=4 2>/dev/null`, "0123", {
    tools: ["dd"],
  }),
  probe(
    "awk: bytes by number, NUL and the high half too, under LC_ALL=C",
    `awk 'BEGIN { printf "%c%c%c", 0, 200, 65 }' | od -An -tx1 | tr -d ' \\n'`,
    "00c841",
  ),
  probe(
    "awk: -v takes a backslash for an escape, ENVIRON does not",
    `X='a\\040b' awk -v y='a\\040b' 'BEGIN { print y, ENVIRON["X"] }'`,
    "a b a\\040b",
  ),
  probe(
    "awk: whole numbers over 32 bits",
    `awk 'BEGIN { printf "%.0f %.0f\\n", 5000000000, 9007199254740991 }'`,
    "5000000000 9007199254740991",
  ),
  probe(
    "awk: index, substr, split, match",
    `echo '/a/b c' | awk '{ print index($0, "b"), substr($0, 4), split($0, p, "/"), match($0, /b /), RLENGTH }'`,
    "4 b c 3 4 2",
  ),
  probe("sed: -n, -e, -E", `printf 'a1\\nb2\\n' | sed -n -E -e 's/([a-z])([0-9])/\\2\\1/p'`, "1a\n2b"),
  probe(
    "sort, uniq, comm, cut, tr",
    `printf 'b\\na\\nb\\n' | sort -u >x; printf 'a\\n' >y; comm -23 x y; echo a:b | cut -d: -f2; echo ab | tr b c`,
    "b\nb\nac",
  ),
  probe(
    "sort: by bytes under LC_ALL=C",
    `printf 'b\\nB\\na\\n_\\n\\303\\244\\n' | sort | od -An -tx1 | tr -d ' \\n'`,
    "420a5f0a610a620ac3a40a",
  ),
  probe(
    "find: -print0 and xargs -0 with every name",
    `mkdir d; : >'d/a b'; : >"d/it's"; : >'d/new
line'; find d -type f -print0 | xargs -0 -n 1 sh -c 'printf "<%s>" "$1"' sh | wc -c | tr -d ' '`,
    "27",
  ),
  probe(
    "find: -exec {} +, -type, -name, -prune, depth first",
    `mkdir -p d/e; : >d/e/f; find d -depth; find d -name e -prune -o -type f -exec echo {} +`,
    "d/e/f\nd/e\nd",
  ),
  probe(
    "find: -newer, -perm, -links",
    `: >a; : >b; touch -t 200001010000 a; find . -type f -newer a; chmod 4755 a; find . -type f -perm -4000; ln b c; find . -type f -links 2 | sort`,
    "./b\n./a\n./b\n./c",
  ),
  probe(
    "ln -s: does not take a name that is taken, a dangling one either",
    `ln -s nobody x; ln -s other x 2>/dev/null; echo $?; readlink x`,
    "1\nnobody",
  ),
  probe("mkdir: says who came first", `mkdir d; mkdir d 2>/dev/null; echo $?; mkdir -p d; echo $?`, "1\n0"),
  probe(
    "mv: renames over a file, and into a directory that is there",
    `echo 1 >a; echo 2 >b; mv a b; cat b; mkdir d e; mv d e; ls e`,
    "1\nd",
  ),
  probe("ln: a hard link shows the same file", `echo 1 >a; ln a b; echo 2 >>b; cat a`, "1\n2"),
  probe(
    "rm -rf: a read-only tree goes, nothing there is fine",
    `mkdir -p d/e; : >d/e/f; chmod 0555 d/e d; rm -rf d nothing; echo $?; ls`,
    "0",
  ),
  probe(
    "install -d: owner by number",
    `install -d -o 35001 -g 35001 -m 0750 d; ls -ldn d | awk '{ print $1, $3, $4 }'`,
    /^drwxr-x---\+? 35001 35001$/,
  ),
  probe(
    "chown: by number, of a link itself with -h",
    `: >f; ln -s f l; chown 35001:35002 f; chown -h 35003 l; ls -ln f l | awk '{ print $3 }'`,
    "35001\n35003",
  ),
  probe(
    "cp -p: keeps mode and time",
    `: >a; chmod 0751 a; touch -t 200102030405 a; cp -p a b; ls -l b | cut -c1-10; [ b -nt a ] || [ a -nt b ] || echo same`,
    "-rwxr-x--x\nsame",
  ),
  probe("touch -t, test -nt", `touch -t 197001010000.01 a; touch b; [ b -nt a ] && echo newer`, "newer"),
  probe("date +%s: a number", `date +%s`, /^\d{10}$/),
  probe("df -k: free space of a directory", `df -k "$W" | awk 'NR == 2 { print $4 }'`, /^\d+$/),
  probe(
    "du: kilobytes of a tree on one file system",
    `head -c 65536 /dev/urandom >f; sync; du -skx . | awk '{ print ($1 >= 64 && $1 < 400) ? "so" : $0 }'`,
    "so",
  ),
  probe(
    "ps: when a process began, the same each time, nothing for the dead",
    `a=$(ps -o lstart= -p $$); sleep 1; b=$(ps -o lstart= -p $$); [ "$a" = "$b" ] && echo "$a"; sleep 60 & p=$!; kill $p; wait $p; ps -o lstart= -p $p; echo $?`,
    /^\w{3} \w{3} +\d+ \d\d:\d\d:\d\d \d{4}\n1$/,
  ),
  probe(
    "ps: all processes with their users and parents",
    `ps -axww -o pid= -o ppid= -o uid= -o command= | awk -v me=$$ '$1 == me { print $3 }'`,
    "0",
  ),
  probe("timeout: 124 when time is over", `timeout 1 sleep 30; echo $?`, "124", { tools: ["timeout"] }),
  probe("timeout: the status of what ended in time", `timeout 60 sh -c 'exit 7'; echo $?`, "7", { tools: ["timeout"] }),
  probe("timeout: a signal comes through as over 128", `timeout 60 sh -c 'kill -SEGV $$' 2>/dev/null; echo $?`, "139", {
    tools: ["timeout"],
  }),
  probe(
    "timeout -k: what ignores TERM is killed",
    `timeout -k 1 1 sh -c 'trap "" TERM; while :; do sleep 1; done'; echo $?`,
    /^(124|137)$/,
    { tools: ["timeout"] },
  ),
  probe(
    "timeout: what was started goes with it",
    `timeout 1 sh -c 'sleep 300 & echo $! >pid; wait'; n=0; while kill -0 $(cat pid) 2>/dev/null && [ $n -lt 50 ]; do sleep 0.1 2>/dev/null || sleep 1; n=$((n + 1)); done; kill -0 $(cat pid) 2>/dev/null && { kill -9 $(cat pid); echo alive; } || echo gone`,
    "gone",
    { tools: ["timeout"] },
  ),
  probe("cksum", `printf 123456789 | cksum | cut -d' ' -f1`, "930766865", { tools: ["cksum"] }),
  probe("mktemp -d: a directory of one's own", `d=$(mktemp -d "$W/x.XXXXXX") && ls -ld "$d" | cut -c1-10`, "drwx------"),
  probe("readlink: a target as it is, with its blanks", `ln -s 'a b  c' l; readlink l`, "a b  c"),
  probe("env -i: an empty environment", `env -i A='x y' /bin/sh -c 'echo "$A \${HOME-none}"'`, "x y none"),
];
