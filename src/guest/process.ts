/**
 * One command in the guest, from its line to its end.
 *
 *     session ──exec──► (what a start-up file prints) ──mark, pid──► running ──exit──► output of what it left behind ──► ended
 *                                    └──mark, reason──► E_NO_DIRECTORY, E_NO_USER              connection closed: lost
 */
import { Problem } from "../base/index.ts";
import type { Channel as SshChannel, ChannelEnd } from "./connection.ts";
import { type Link, lost } from "./link.ts";
import { isPosixShell, lineFor, parseSaid, type Said, scriptOf } from "./plan.ts";
import { terminalModes } from "./terminal.ts";
import { treeWords } from "./tree.ts";
import type { Channel, GuestAddress, GuestCommand, GuestExit, GuestProcess } from "./types.ts";
import { string, u32 } from "./wire.ts";

/** What start-up files print before the mark. */
const NOISE_MAX_BYTES = 1024 ** 2;
const SAID_MAX_CHARS = 2_000;

export type OnOutput = (chunk: Uint8Array, channel: Channel) => unknown;

export interface Runner {
  readonly address: GuestAddress;
  readonly link: Link;
  /** A new one for each command, which nobody can guess. */
  newMark(): string;
  /** Of the login shell: told by the first command. */
  shell: "posix" | "any";
}

/** Cuts what comes before the marked line, and the line. */
interface Header {
  /** What is left of the chunk behind the line; undefined as long as there is no line. */
  feed(chunk: Uint8Array): { readonly line: string; readonly rest: Uint8Array } | undefined;
  readonly noise: string;
}

function headerOf(mark: string): Header {
  let held: Buffer = Buffer.alloc(0);
  return {
    feed: (chunk) => {
      held = held.byteLength === 0 ? Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength) : Buffer.concat([held, chunk]);
      const at = held.indexOf(mark, 0, "latin1");
      const end = at < 0 ? -1 : held.indexOf(0x0a, at);
      if (end < 0) {
        // A mark may be cut in two; nothing before it is of use.
        if (at < 0 && held.byteLength > NOISE_MAX_BYTES) held = held.subarray(-mark.length);
        return undefined;
      }
      const line = held
        .subarray(at + mark.length + 1, end)
        .toString()
        .replace(/\r$/, "");
      return { line, rest: held.subarray(end + 1) };
    },
    get noise() {
      return held.toString().slice(-SAID_MAX_CHARS);
    },
  };
}

/** @throws Problem E_BAD_COMMAND, E_GUEST_LOST, E_GUEST_UNREACHABLE, E_NO_USER, E_NO_DIRECTORY, E_GUEST_REFUSED */
export async function spawnIn(runner: Runner, command: GuestCommand, onOutput: OnOutput): Promise<GuestProcess> {
  const { address, link } = runner;
  const mark = runner.newMark();
  const script = scriptOf(command, { mark, loginUser: address.user });
  const header = headerOf(mark);
  const begun = Promise.withResolvers<Said | undefined>();
  const early: Uint8Array[] = [];
  const names =
    command.pty === undefined ? ({ stdout: "stdout", stderr: "stderr" } as const) : ({ stdout: "pty", stderr: "pty" } as const);
  let running = false;
  let left: ChannelEnd | undefined;
  const session = await link.session({
    onData: (chunk, stream) => {
      if (running) return onOutput(chunk, names[stream]);
      if (stream === "stderr") return void early.push(chunk);
      const found = header.feed(chunk);
      if (found === undefined) return undefined;
      running = true;
      begun.resolve(parseSaid(found.line));
      for (const one of early.splice(0)) onOutput(one, names.stderr);
      return found.rest.byteLength > 0 ? onOutput(found.rest, names.stdout) : undefined;
    },
    onExit: (end) => (left = end),
  });
  void session.closed.then(() => begun.resolve(undefined));
  if (command.pty !== undefined) askTerminal(session, command);
  const accepted = await session.request("exec", string(lineFor(script, runner.shell)));
  const said = accepted ? await begun.promise : undefined;
  if (said?.kind !== "runs") {
    session.close();
    const end = await session.closed;
    throw notBegun(runner, command, said, end, `${header.noise}${Buffer.concat(early).toString()}`.slice(-SAID_MAX_CHARS));
  }
  if (runner.shell === "any" && isPosixShell(said.shell)) runner.shell = "posix";

  let over = false;
  const exited = session.closed.then((end): GuestExit => {
    over = true;
    const { status, signal } = end ?? {};
    if (status === undefined && signal === undefined) return { code: -1, signal: undefined, lost: true };
    return { code: status ?? -1, signal: signal === undefined ? undefined : `SIG${signal.replace(/^SIG/, "")}`, lost: false };
  });
  return {
    pid: said.pid,
    write: (data) => session.write(typeof data === "string" ? Buffer.from(data) : data),
    endInput: async () => session.end(),
    signal: async (name) => {
      if (over) return false;
      const count = await evaluate(runner, treeWords({ signal: name, pid: said.pid, mark, leaderGone: left !== undefined }));
      return Number(count.trim()) > 0;
    },
    resize: (columns, rows) => {
      if (command.pty !== undefined) session.notify("window-change", u32(columns), u32(rows), u32(0), u32(0));
    },
    exited,
  };
}

function askTerminal(session: SshChannel, command: GuestCommand): void {
  const { columns, rows } = command.pty ?? { columns: 80, rows: 24 };
  const name = command.env?.["TERM"] ?? "xterm-256color";
  session.notify("pty-req", string(name), u32(columns), u32(rows), u32(0), u32(0), string(terminalModes));
}

/** A command to its end: what it prints. @throws Problem E_GUEST_LOST, E_GUEST_UNREACHABLE, E_GUEST_REFUSED */
async function evaluate(runner: Runner, argv: GuestCommand["argv"]): Promise<string> {
  const chunks: Uint8Array[] = [];
  const process = await spawnIn(runner, { argv, cwd: "/" }, (chunk, channel) => {
    if (channel === "stdout") chunks.push(chunk);
  });
  const exit = await process.exited;
  if (exit.lost) throw lost(runner.address);
  return Buffer.concat(chunks).toString();
}

function notBegun(
  { address }: Runner,
  command: GuestCommand,
  said: Said | undefined,
  end: ChannelEnd | undefined,
  noise: string,
): Problem {
  const doing = `running ${JSON.stringify(command.argv[0])} in ${address.name}`;
  switch (said?.kind) {
    case "no-directory":
      return new Problem({ code: "E_NO_DIRECTORY", message: `${doing}: cwd '${command.cwd}' does not exist` });
    case "no-user":
      return new Problem({ code: "E_NO_USER", message: `${doing}: there is no user '${command.user}' in the guest` });
    case "no-right":
      return new Problem({
        code: "E_NO_USER",
        message: `${doing} as '${command.user}': ${address.user}, who logs in, is not root and cannot become another user`,
      });
    default:
      if (end === undefined) return lost(address);
      return new Problem({
        code: "E_GUEST_REFUSED",
        message: `${doing}: the guest's SSH server or login shell did not run it`,
        details: noise.split("\n").filter((line) => line.trim() !== ""),
        hint: `the shell of ${address.user} must take commands with -c`,
      });
  }
}
