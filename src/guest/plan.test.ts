/** The lines that a guest's shell is given, run by the shells that a guest may have. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { problemOf } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { isPosixShell, lineFor, parseSaid, scriptOf } from "./plan.ts";
import { treeWords } from "./tree.ts";
import type { GuestCommand } from "./types.ts";

const host = localHost();
const MARK = "5f0c36d2a1b84e97a6c3d0f1e2b4a697";
const FACTS = { mark: MARK, loginUser: "root" };
const SHELLS: readonly (readonly [string, ...string[]])[] = [["dash"], ["bash"], ["busybox", "sh"]];
const OTHER_SHELLS: readonly (readonly [string, ...string[]])[] = [...SHELLS, ["tcsh"]];

const word = fc.string({ unit: "binary", maxLength: 12 }).filter((text) => !text.includes("\0") && text.isWellFormed());
const awkward = fc.oneof(
  word,
  fc
    .array(fc.constantFrom("'", '"', "\\", "!", "$", "`", "\n", "\r", " ", "*", "~", "#", "é", "-", "%"), { maxLength: 8 })
    .map((all) => all.join("")),
);

/** What the command printed, behind what the line said of itself. */
async function outputOf(shell: readonly [string, ...string[]], line: string): Promise<string> {
  const done = await host.run({
    argv: [...shell, "-c", line],
    env: { PATH: "/usr/bin:/bin", SHELL: "/bin/some shell" },
    cwd: "/",
  });
  const text = done.text();
  expect(text.startsWith(`${MARK} `)).toBe(true);
  const end = text.indexOf("\n");
  expect(parseSaid(text.slice(MARK.length + 1, end))).toMatchObject({ kind: "runs", shell: "/bin/some shell" });
  return text.slice(end + 1);
}

describe("the line", () => {
  const cases = [...SHELLS.map((shell) => [shell, "posix"] as const), ...OTHER_SHELLS.map((shell) => [shell, "any"] as const)];
  test.each(cases)("%p as %p: every word and variable arrives", async (shell, kind) => {
    await fc.assert(
      fc.asyncProperty(fc.array(awkward, { maxLength: 4 }), awkward, async (words, value) => {
        const command: GuestCommand = {
          argv: ["sh", "-c", 'printf "%s\\0" "$VALUE" "$@"; readlink /proc/self/fd/0', "sh", ...words],
          env: { VALUE: value },
          cwd: "/usr",
        };
        const printed = await outputOf(shell, lineFor(scriptOf(command, FACTS), kind));
        expect(printed).toBe(`${[value, ...words].map((one) => `${one}\0`).join("")}/dev/null\n`);
      }),
      { numRuns: 25 },
    );
  });

  test.each(SHELLS.map((shell) => [shell]))("%p: another user, by setpriv", async (shell) => {
    const argv = ["sh", "-c", 'echo "$@" $(id -u) $(id -G) "$HOME" "$USER" "$PWD"', "sh", "it's\n"] as const;
    const printed = await outputOf(shell, lineFor(scriptOf({ argv, user: "games" }, FACTS), "posix"));
    expect(printed).toBe("it's\n 5 60 /usr/games games /usr/games\n");
  });

  /** Programs of another guest, in mounts of a namespace: without setpriv there is su, on FreeBSD chroot. */
  const WITHOUT_SETPRIV = "mount --make-rprivate / && mount --bind /dev/null /usr/bin/setpriv";
  const LIKE_FREEBSD = `${WITHOUT_SETPRIV} && mkdir -p "$T/up" "$T/work" && mount -t tmpfs none "$T" && mkdir "$T/up" "$T/work" &&
    mount -t overlay -o "lowerdir=/etc,upperdir=$T/up,workdir=$T/work" none /etc && : >/etc/master.passwd && sed -i 's/^audio:.*/&,games/' /etc/group &&
    echo '[ "$1$3$5$7" = -G-g-u/ ] && shift 7 && exec $T/gnu-chroot --userspec="$U:$G" --groups="$L" / "$@"' >"$T/body" &&
    { echo '#!/bin/sh'; echo "T=$T"; echo 'L=$2 G=$4 U=$6'; cat "$T/body"; } >"$T/chroot" && chmod +x "$T/chroot" &&
    cp /usr/sbin/chroot "$T/gnu-chroot" && mount --bind "$T/chroot" /usr/sbin/chroot`;
  test.each([
    ["su", WITHOUT_SETPRIV, "60"],
    ["FreeBSD's chroot", LIKE_FREEBSD, "60 29"],
  ])("another user by %s", async (_name, before, groups) => {
    const directory = host.files.makeTemporaryDirectory("/tmp/garth-plan-");
    const argv = ["sh", "-c", 'echo "$@" $(id -u) $(id -G) "$HOME" "$USER" "$VALUE" "$PWD"', "sh", "it's\n!"] as const;
    const script = scriptOf(
      { argv, user: "games", cwd: "/usr", env: { VALUE: "a b", PATH: "/bin", _g_uid: "0", IFS: "5" } },
      FACTS,
    );
    try {
      const shell = ["unshare", "--mount", "sh", "-c", `T=${directory}; ${before} && exec dash -c "$1"`, "sh"] as const;
      const done = await host.run({ argv: [...shell, lineFor(script, "posix")], cwd: "/" });
      expect(done.text().replace(/^.*\n/, "")).toBe(`it's\n! 5 ${groups} /usr/games games a b /usr\n`);
    } finally {
      host.files.removeTree(directory);
    }
  });

  test.each([
    ["root", ["/no/such", "/etc/passwd", "/bin/sh", "sh"], "/bin/sh"],
    ["games", ["/no/such", "no-such", "sh"], "sh"],
    ["games", ["/bin/sh"], "/bin/sh"],
  ])("%s: a program that may be in several places", async (user, [first = "", ...elsewhere], found) => {
    const command: GuestCommand = {
      argv: [first, "-c", 'echo "$0" $USER', "it's"],
      elsewhere,
      user,
      env: { "a-b": "", USER: user },
    };
    expect(await outputOf(["dash"], lineFor(scriptOf(command, FACTS), "posix"))).toBe(`it's ${user}\n`);
    const line = lineFor(
      scriptOf({ ...command, argv: [first, "-c", "readlink /proc/$$/exe; tr '\\0' ' ' </proc/$$/cmdline"] }, FACTS),
      "posix",
    );
    expect(await outputOf(["dash"], line)).toBe(
      `/usr/bin/dash\n${found} -c readlink /proc/$$/exe; tr '\\0' ' ' </proc/$$/cmdline `,
    );
  });

  test("a directory and a user that are not there", async () => {
    const said = async (command: GuestCommand): Promise<string> =>
      (await host.run({ argv: ["dash", "-c", lineFor(scriptOf(command, FACTS), "posix")], okStatuses: [1] })).text();
    expect(await said({ argv: ["true"], cwd: "/no'such" })).toBe(`${MARK} no-directory\n`);
    expect(await said({ argv: ["true"], user: "no such" })).toBe(`${MARK} no-user\n`);
  });

  test("nothing in it is strange to shellcheck, nor in the script that signals", async () => {
    const commands: readonly GuestCommand[] = [
      { argv: ["printf", "%s", "a\nb", "it's"], env: { A: "b c", "d-e": "f" }, cwd: "/a b" },
      { argv: ["id"], user: "alice", stdin: "open", elsewhere: ["/opt/a b/id"] },
    ];
    const tree = treeWords({ signal: "SIGKILL", pid: 4711, mark: MARK, leaderGone: false });
    const scripts = [...commands.map((command) => lineFor(scriptOf(command, FACTS), "posix")), tree[2] ?? ""];
    for (const script of scripts) {
      // 2016: quotes keep $ as it is, on purpose. 2034: fields that are read to be passed over. 2039, 3013: `-ef` is in dash, busybox and FreeBSD.
      await host.run({ argv: ["shellcheck", "--shell=sh", "--exclude=SC2016,SC2034,SC3013", "-"], stdin: script });
    }
  });

  test("it is as it was", () => {
    const plain = lineFor(scriptOf({ argv: ["echo", "it's", "a\nb"], env: { A: "b c" }, cwd: "/tmp" }, FACTS), "posix");
    expect(plain).toBe(
      `set -- '\n'; unset SSH_CLIENT SSH_CONNECTION SSH_TTY; cd -- /tmp 2>/dev/null || { echo ${MARK} no-directory; exit 1; }; ` +
        `export A='b c'; export GARTH_COMMAND=${MARK}; echo ${MARK} $$ "$SHELL"; exec echo 'it'\\''s' 'a'"$1"'b' </dev/null`,
    );
    expect(lineFor("echo 'a!\\b'", "any")).toBe(`exec /bin/sh -c 'set -- "\${IFS#??}"; echo '\\''a'\\!''\\\\'b'\\'''`);
  });

  test("shells that take it as it is", () => {
    expect(["/bin/sh", "/usr/local/bin/bash", "/usr/bin/zsh", "/bin/csh", "/usr/bin/fish", ""].map(isPosixShell)).toEqual([
      true,
      true,
      true,
      false,
      false,
      false,
    ]);
  });

  test("what is no answer", () => {
    for (const line of ["", "0 /bin/sh", "x", "12", "no-right at all"]) expect(parseSaid(line)).toBeUndefined();
    expect(parseSaid("no-right")).toEqual({ kind: "no-right" });
  });

  test("what cannot be one", async () => {
    expect((await problemOf(async () => scriptOf({ argv: ["\0"] }, FACTS))).code).toBe("E_BAD_COMMAND");
  });
});
