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

/** One word of execve(2) has less than 128 KiB on Linux. */
const LINE_MAX_BYTES = 128 * 1024;

/** The line for a login shell: as it is, or handed to /bin/sh where nobody knows what it is. @throws Problem E_BAD_COMMAND */
export function lineFor(script: string, shell: "posix" | "any"): string {
  const line = lineOf(script, shell);
  if (Buffer.byteLength(line) < LINE_MAX_BYTES) return line;
  throw new Problem({
    code: "E_BAD_COMMAND",
    message: `a command with its variables has ${Buffer.byteLength(line)} bytes; a guest takes ${LINE_MAX_BYTES}`,
    hint: "write the rest to a file, or to its input",
    exit: 2,
  });
}

function lineOf(script: string, shell: "posix" | "any"): string {
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
  const { argv, elsewhere = [], cwd = "", user = "", env = {} } = command;
  const words = [...argv, ...elsewhere, cwd, user, ...Object.entries(env).flat()];
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
  const other = command.user === undefined || command.user === loginUser ? undefined : command.user;
  const fails = (why: string): string => `{ echo ${mark} ${why}; exit 1; }`;
  const directory = command.cwd === undefined ? [] : [`cd -- ${quote(command.cwd)} 2>/dev/null || ${fails("no-directory")}`];
  const { words, exports } = environment(command, mark);
  const places = command.elsewhere === undefined ? [] : [findProgram([command.argv[0], ...command.elsewhere])];
  const input = command.stdin !== "open" && command.pty === undefined ? " </dev/null" : "";
  const quiet = "unset SSH_CLIENT SSH_CONNECTION SSH_TTY";
  const says = (shell: string): string => `echo ${mark} $$ "$${shell}"`;
  if (other === undefined) return [quiet, ...directory, ...exports, ...places, says("SHELL"), `exec ${words}${input}`].join("; ");
  return [
    "_g_login=$SHELL _g_tty=$SSH_TTY",
    quiet,
    findUser(other),
    `[ "$_g_uid" ] || ${fails("no-user")}`,
    `[ -O / ] || ${fails("no-right")}`,
    // Programs open their terminal by its name, too.
    ...(command.pty === undefined ? [] : ['[ -z "$_g_tty" ] || chown "$_g_uid" "$_g_tty"']),
    ...(command.cwd === undefined ? ['cd -- "$_g_home" 2>/dev/null || cd /'] : directory),
    becomeUser(other),
    ...exports,
    ...places,
    says("_g_login"),
    `set -- ${words}`,
    ...asUser(other, input),
  ].join("; ");
}

/** env(1) brings in what has a name that no shell takes, or that the line has a use for. */
function environment(command: GuestCommand, mark: string): { readonly words: string; readonly exports: readonly string[] } {
  const variables = [...Object.entries(command.env ?? {}), [MARK_VARIABLE, mark] as const];
  const isPlain = (name: string): boolean => /^(?!_g_|IFS$)[A-Za-z_][A-Za-z0-9_]*$/.test(name);
  const odd = variables.filter(([name]) => !isPlain(name)).map(([name, value]) => quote(`${name}=${value}`));
  const [first, ...rest] = command.argv.map(quote);
  const program = command.elsewhere === undefined ? first : '"$_g_x"';
  return {
    words: [...(odd.length === 0 ? [] : ["/usr/bin/env", ...odd]), program, ...rest].join(" "),
    exports: variables.filter(([name]) => isPlain(name)).map(([name, value]) => `export ${name}=${quote(value)}`),
  };
}

/** Asks the shell itself, which takes no process. */
function findProgram(places: readonly string[]): string {
  return `for _g_x in ${places.map(quote).join(" ")}; do [ -x "$_g_x" ] && break; done`;
}

/** Reads passwd(5) in the shell itself, which takes no process; then asks getent(1), which knows of other places. */
function findUser(user: string): string {
  const name = quote(user);
  const fields = [
    "_g_a=${_g_a#*:*:} && _g_uid=${_g_a%%:*} _g_a=${_g_a#*:}",
    "_g_gid=${_g_a%%:*} _g_a=${_g_a#*:*:}",
    "_g_home=${_g_a%%:*} _g_shell=${_g_a#*:}",
  ].join(" && ");
  return [
    "_g_uid=",
    "while IFS=: read -r _g_a _g_b _g_c _g_d _g_e _g_f _g_g",
    `do case "$_g_a" in ${name}) _g_uid=$_g_c _g_gid=$_g_d _g_home=$_g_f _g_shell=$_g_g; break;; esac`,
    "done </etc/passwd",
    `[ "$_g_uid" ] || { _g_a=$(getent passwd ${name} 2>/dev/null) && ${fields}; }`,
  ].join("; ");
}

/** Of whoever logged in there is nothing left in the environment. */
function becomeUser(user: string): string {
  const name = quote(user);
  return [
    "unset MAIL XDG_RUNTIME_DIR XDG_SESSION_ID XDG_SESSION_TYPE XDG_SESSION_CLASS DBUS_SESSION_BUS_ADDRESS",
    `export HOME="$_g_home" USER=${name} LOGNAME=${name} SHELL="\${_g_shell:-/bin/sh}"`,
  ].join("; ");
}

/**
 * The command in "$@" as that user. setpriv of util-linux and FreeBSD's chroot become the command; su keeps a process before it. The
 * setpriv of busybox cannot change users. All by their places: PATH is the command's by now.
 */
function asUser(user: string, input: string): readonly string[] {
  const name = quote(user);
  const setpriv = 'exec "$_g_p" --reuid="$_g_uid" --regid="$_g_gid" --init-groups --';
  const chroot = 'exec /usr/sbin/chroot -G "$_g_p" -g "$_g_gid" -u "$_g_uid" /';
  const groups = [
    "_g_p=$_g_gid; while IFS=: read -r _g_a _g_b _g_c _g_d",
    `do case ",$_g_d," in *,${name},*) _g_p=$_g_p,$_g_c;; esac`,
    "done </etc/group",
  ].join("; ");
  return [
    "for _g_p in /usr/bin/setpriv /bin/setpriv /usr/local/bin/setpriv",
    `do if [ -x "$_g_p" ] && ! [ "$_g_p" -ef /bin/busybox ]; then ${setpriv} "$@"${input}; fi`,
    "done",
    `if [ -f /etc/master.passwd ]; then ${groups}; ${chroot} /bin/sh -c 'cd -- "$0" && exec "$@"' "$PWD" "$@"${input}; fi`,
    "for _g_p in /usr/bin/su /bin/su",
    `do if [ -x "$_g_p" ]; then exec "$_g_p" -m -s /bin/sh -c 'exec "$0" "$@"' -- ${name} "$@"${input}; fi`,
    "done",
    "echo 'no setpriv, chroot or su to become another user with' >&2; exit 126",
  ];
}
