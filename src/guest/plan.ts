/**
 * What the guest's shell is told, as one line for `exec` of the SSH protocol. Pure.
 *
 * The server gives the line to the user's login shell, in a process that leads a session of its own; that process becomes the command in
 * the end, so that a command takes no process beside its own and a shell no program before its own. In the guest there is nothing but what
 * POSIX says of sh, and one of setpriv(1), chroot(8) of FreeBSD, su(1) for another user.
 *
 *     login shell ──cd, export──► says its pid ──exec──► (setpriv) ──exec──► the command
 *
 * What the line says of itself begins with a mark that nobody can guess, so that neither a start-up file of the shell nor the command can be
 * taken for it. The mark stays in the environment of everything that the command starts: `tree.ts` finds them by it.
 */
import { Problem } from "../base/index.ts";
import type { GuestCommand } from "./types.ts";

/** In the environment of every command: its mark. */
export const MARK_VARIABLE = "GARTH_COMMAND";

/** A word for any shell whose quotes are those of sh. A line end is `$1`: csh has no way to quote one. */
function quote(word: string): string {
  if (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", `'\\''`).replaceAll("\n", `'"$1"'`)}'`;
}

/**
 * A word for sh, csh, tcsh and fish: they differ within quotes over `!` and `\`, and not outside of them. The word has no line end.
 */
function quoteForAny(word: string): string {
  return `'${word.replaceAll(/['!\\]/g, (character) => `'\\${character}'`)}'`;
}

/** Shells that take a line of sh as it is. */
const POSIX_SHELLS = new Set(["sh", "ash", "bash", "dash", "ksh", "mksh", "zsh"]);

export function isPosixShell(path: string): boolean {
  return POSIX_SHELLS.has(path.slice(path.lastIndexOf("/") + 1));
}

/** The line for a login shell: as it is, or handed to /bin/sh where nobody knows what it is. */
export function lineFor(script: string, shell: "posix" | "any"): string {
  if (shell === "posix") return `set -- '\n'; ${script}`;
  // The default IFS is blank, tab, line end, and sh takes none from the environment.
  return `exec /bin/sh -c ${quoteForAny(`set -- "\${IFS#??}"; ${script}`)}`;
}

/** What the line says of itself, after the mark: a pid and the login shell, or why there is none. */
export type Said =
  | { readonly kind: "runs"; readonly pid: number; readonly shell: string }
  | { readonly kind: "no-directory" | "no-user" | "no-right" };

export function parseSaid(line: string): Said | undefined {
  const runs = /^([1-9][0-9]*) (.*)$/.exec(line);
  if (runs !== null) return { kind: "runs", pid: Number(runs[1]), shell: runs[2] ?? "" };
  if (line === "no-directory" || line === "no-user" || line === "no-right") return { kind: line };
  return undefined;
}

/** @throws Problem E_BAD_COMMAND */
function check(command: GuestCommand): void {
  const bad = (what: string): Problem =>
    new Problem({ code: "E_BAD_COMMAND", message: `running ${JSON.stringify(command.argv[0])}: ${what}`, exit: 2 });
  const words = [...command.argv, command.cwd ?? "", command.user ?? "", ...Object.entries(command.env ?? {}).flat()];
  if (words.some((word) => word.includes("\0"))) throw bad("a word has a zero byte");
  if (command.argv[0] === "") throw bad("it has no name");
  if (command.cwd !== undefined && !command.cwd.startsWith("/"))
    throw bad(`its directory ${JSON.stringify(command.cwd)} is not absolute`);
  const name = Object.keys(command.env ?? {}).find((key) => key === "" || key.includes("="));
  if (name !== undefined) throw bad(`no variable can be named ${JSON.stringify(name)}`);
}

export interface ScriptFacts {
  readonly mark: string;
  /** Who logs in. */
  readonly loginUser: string;
}

/** @throws Problem E_BAD_COMMAND where it cannot be a command */
export function scriptOf(command: GuestCommand, { mark, loginUser }: ScriptFacts): string {
  check(command);
  const fails = (why: string): string => `{ echo ${mark} ${why}; exit 1; }`;
  const other = command.user === undefined || command.user === loginUser ? undefined : command.user;
  const { words, exports } = environment(command, mark);
  const input = command.stdin !== "open" && command.pty === undefined ? " </dev/null" : "";
  const directory = command.cwd === undefined ? undefined : `cd -- ${quote(command.cwd)} 2>/dev/null || ${fails("no-directory")}`;
  const steps = [
    "unset SSH_CLIENT SSH_CONNECTION SSH_TTY",
    ...(other === undefined ? [] : ["g_login=$SHELL"]),
    ...(other === undefined
      ? []
      : [findUser(other), `[ "$g_uid" ] || ${fails("no-user")}`, `[ -O / ] || ${fails("no-right")}`, becomeUser(other)]),
    ...(directory === undefined ? (other === undefined ? [] : [`cd -- "$g_home" 2>/dev/null || cd /`]) : [directory]),
    ...exports,
    `echo ${mark} $$ "$${other === undefined ? "SHELL" : "g_login"}"`,
    ...(other === undefined ? [`exec ${words}${input}`] : [`set -- ${words}`, ...asUser(other, input)]),
  ];
  return steps.join("; ");
}

/** env(1) brings in what has a name that no shell takes. */
function environment(command: GuestCommand, mark: string): { readonly words: string; readonly exports: readonly string[] } {
  const variables = [...Object.entries(command.env ?? {}), [MARK_VARIABLE, mark] as const];
  const isName = (name: string): boolean => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name);
  const odd = variables.filter(([name]) => !isName(name)).map(([name, value]) => quote(`${name}=${value}`));
  const [program, ...rest] = command.argv.map(quote);
  return {
    words: [...(odd.length === 0 ? [] : ["env", ...odd]), program, ...rest].join(" "),
    exports: variables.filter(([name]) => isName(name)).map(([name, value]) => `export ${name}=${quote(value)}`),
  };
}

/** Reads passwd(5) in the shell itself, which takes no process; then asks getent(1), which knows of other places. */
function findUser(user: string): string {
  const name = quote(user);
  const fields =
    "g_a=${g_a#*:*:} && g_uid=${g_a%%:*} g_a=${g_a#*:} && g_gid=${g_a%%:*} g_a=${g_a#*:*:} && g_home=${g_a%%:*} g_shell=${g_a#*:}";
  return [
    "g_uid=",
    `while IFS=: read -r g_a g_b g_c g_d g_e g_f g_g; do case "$g_a" in ${name}) g_uid=$g_c g_gid=$g_d g_home=$g_f g_shell=$g_g; break;; esac; done </etc/passwd`,
    `[ "$g_uid" ] || { g_a=$(getent passwd ${name} 2>/dev/null) && ${fields}; }`,
  ].join("; ");
}

/** Of whoever logged in there is nothing left in the environment. */
function becomeUser(user: string): string {
  const name = quote(user);
  return [
    "unset MAIL XDG_RUNTIME_DIR XDG_SESSION_ID XDG_SESSION_TYPE XDG_SESSION_CLASS DBUS_SESSION_BUS_ADDRESS",
    `export HOME="$g_home" USER=${name} LOGNAME=${name} SHELL="\${g_shell:-/bin/sh}"`,
  ].join("; ");
}

/**
 * The command in "$@" as that user. setpriv of util-linux and FreeBSD's chroot become the command; su keeps a process before it. The
 * setpriv of busybox cannot change users.
 */
function asUser(user: string, input: string): readonly string[] {
  const name = quote(user);
  return [
    `for g_p in /usr/bin/setpriv /bin/setpriv /usr/local/bin/setpriv; do if [ -x "$g_p" ] && ! [ "$g_p" -ef /bin/busybox ]; then exec "$g_p" --reuid="$g_uid" --regid="$g_gid" --init-groups -- "$@"${input}; fi; done`,
    `if [ -f /etc/master.passwd ]; then g_p=$g_gid; while IFS=: read -r g_a g_b g_c g_d; do case ",$g_d," in *,${name},*) g_p=$g_p,$g_c;; esac; done </etc/group; exec chroot -G "$g_p" -g "$g_gid" -u "$g_uid" / /bin/sh -c 'cd -- "$0" && exec "$@"' "$PWD" "$@"${input}; fi`,
    `exec su -m -s /bin/sh -c 'exec "$0" "$@"' -- ${name} "$@"${input}`,
  ];
}
