/**
 * The tree of a running machine, read over SSH into an archive here, which is a world as any other archive is.
 *
 *     (nothing) ──tar──► FILE.part ──as many members as were listed──► accounts without passwords added ──► FILE
 *                  └── a lost host, a full disk, another count, a signal ──► (nothing)
 *
 * What is left out is written down in world-script.ts. A machine that runs changes while it is read: what changed is told, what is missing at
 * the end is an error.
 */
import { Problem } from "../base/index.ts";
import { fileDigests, type Host, isErrno, type ScriptEvent } from "../host/index.ts";
import { scriptFailed } from "./errors.ts";
import type { Connection } from "./types.ts";
import { worldScript } from "./world-script.ts";

export interface WorldWish {
  /** On the machine, absolute. Default "/". */
  readonly directory?: string;
  /** Paths below it that are left out, too, without slashes at the ends. */
  readonly without?: readonly string[];
  /** Here; not there yet. */
  readonly file: string;
  /** Whether its SHA-256 is wanted. */
  readonly isDigested?: boolean;
  readonly signal?: AbortSignal;
}

export interface ReadWorld {
  /** As uname(1) has it: "FreeBSD", "Linux". */
  readonly kernel: string;
  /** "15.1-RELEASE-p2", "debian-12"; undefined where the directory is not the root. */
  readonly release: string | undefined;
  readonly members: number;
  readonly sizeBytes: number;
  /** Of the archive, where it was wanted. */
  readonly sha256: string | undefined;
  /** Files that changed after they were listed, at most a thousand. */
  readonly changed: readonly string[];
  /** What is below the directory and was not read: "zfs /data", "directory jails". */
  readonly left: readonly string[];
}

interface Account {
  readonly path: string;
  readonly mode: string;
  readonly uid: string;
  readonly gid: string;
  readonly lines: string[];
}

/** @throws Problem E_WORLD_READ, E_NO_SPACE, those of Connection */
export async function readWorld(host: Host, connection: Connection, wish: WorldWish): Promise<ReadWorld> {
  const { directory = "/", without = [], file, signal } = wish;
  const { files } = host;
  const part = `${file}.part`;
  const doing = `reading the tree ${directory} of ${connection.name}`;
  const scratch = files.makeTemporaryDirectory(`${file}.`);
  try {
    const descriptor = files.open(part, "wx", 0o600);
    let sizeBytes = 0;
    const write = async (chunk: Uint8Array): Promise<void> => {
      await files.writeBeside(descriptor, chunk, sizeBytes);
      sizeBytes += chunk.byteLength;
    };
    let ended;
    try {
      const script = { doing, body: worldScript({ directory, without }) };
      ended = await connection.start(script, { ...(signal === undefined ? {} : { signal }), onOutput: write }).ended;
    } catch (error) {
      throw isErrno(error, "ENOSPC", "EDQUOT") ? full(doing, file, error) : error;
    } finally {
      files.close(descriptor);
    }
    signal?.throwIfAborted();
    const { events, status, words } = ended;
    if (events.some(({ name }) => name === "absent"))
      throw notRead(`${doing}: there is no such directory`, [], "the path is one of the machine's, from its root on");
    const said = (name: string): readonly string[] => events.flatMap((event) => (event.name === name ? [event.rest] : []));
    const [announced, read] = [Number(said("members")[0]), said("read")[0]];
    if (status !== 0 || read === undefined) {
      if (status !== 4) throw scriptFailed({ name: connection.name, url: "", isVisited: true }, doing, status, words);
      throw notRead(`${doing}: part of it cannot be read`, words, "log in as root; what nobody needs is left out by --without");
    }
    const list = await host.run({ argv: ["tar", "--list", "--quoting-style=c", "--file", part], doing, okStatuses: [0, 2] });
    const members = list.stdout.reduce((count, byte) => (byte === 10 ? count + 1 : count), 0);
    // 1 is a word about a file that grew or shrank, of both kinds of tar(1).
    if (list.status !== 0 || members !== announced || !["0", "1"].includes(read)) {
      throw notRead(
        `${doing}: ${members} of ${announced} paths came, and tar(1) ended with status ${read}`,
        words,
        "files that come and go are left out by --without, or the machine is read when it has less to do",
      );
    }
    const added = accountsOf(events);
    for (const account of added) await append(host, part, scratch, account);
    files.rename(part, file);
    return {
      kernel: said("system")[0] ?? "",
      release: said("release")[0] || undefined,
      members: members + added.length,
      sizeBytes: files.lstat(file).sizeBytes,
      sha256: wish.isDigested === true ? fileDigests(host, file).sha256 : undefined,
      changed: said("changed"),
      left: said("left"),
    };
  } finally {
    if (files.exists(part)) files.unlink(part);
    files.removeTree(scratch);
  }
}

/** Each line belongs to the file that was named last. */
function accountsOf(events: readonly ScriptEvent[]): readonly Account[] {
  const accounts: Account[] = [];
  for (const { name, fields, rest } of events) {
    const [path = "", mode = "", uid = "", gid = ""] = fields;
    if (name === "accounts") accounts.push({ path, mode, uid, gid, lines: [] });
    if (name === "line") accounts.at(-1)?.lines.push(rest);
  }
  return accounts;
}

async function append(host: Host, archive: string, scratch: string, { path, mode, uid, gid, lines }: Account): Promise<void> {
  const { files } = host;
  files.makeDirectory(`${scratch}/${path}`.replace(/\/[^/]*$/, ""), { parents: true });
  files.writeFile(`${scratch}/${path}`, lines.map((line) => `${line}\n`).join(""), 0o600);
  const owner = [`--owner=${uid}`, `--group=${gid}`, `--mode=${mode}`, "--numeric-owner", "--mtime=@0"];
  await host.run({
    argv: ["tar", "--append", "--format=gnu", ...owner, "--file", archive, "--directory", scratch, `./${path}`],
    doing: `adding /${path} without its passwords to ${archive}`,
  });
}

function notRead(message: string, words: readonly string[], hint: string): Problem {
  return new Problem({ code: "E_WORLD_READ", message, details: words.filter((line) => line.trim() !== ""), hint });
}

function full(doing: string, file: string, cause: unknown): Problem {
  return new Problem({
    code: "E_NO_SPACE",
    message: `the disk filled up while ${doing}`,
    where: file,
    hint: "nothing of it was kept; free some space, for example with `garth store gc`",
    exit: 3,
    cause,
  });
}
