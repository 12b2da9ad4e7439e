/**
 * Files put into the root of an image without mounting it, and so without root: debugfs(8) writes to an ext4 file system in a file, from
 * a list of commands. e2fsck looks at what came of it, and each file is read back.
 *
 * Limits: ext2 to ext4, on a partition of the disk. Everything else is refused: a clone of it would come up as somebody else.
 */
import { Problem } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { fileSystemOf, partitionsOf, withDisk } from "./disk.ts";
import { CLOUD_FILES, type GuestFile, SEED_FILES } from "./guest-files.ts";

/** e2fsck(8): 0 nothing to do, 1 corrected, 2 the same and reboot. */
const CORRECTED = [0, 1, 2];
const CHECK_TIMEOUT_MS = 600_000;

interface Editing {
  readonly host: Host;
  /** The image lies in it, as `image`. */
  readonly directory: string;
  readonly image: string;
  /** Of the template, for errors. */
  readonly name: string;
}

/** What was put where. @throws Problem E_IMAGE_ROOT (exit 2), E_TOOL_MISSING (exit 3) */
export async function insertSeedFiles(
  editing: Editing,
): Promise<{ readonly partition: number; readonly files: readonly string[] }> {
  const root = await findRoot(editing);
  const has = async (...paths: readonly string[]): Promise<boolean> => (await statAll(editing, root.at, paths)).size > 0;
  const hasCloudInit = await has("/etc/cloud", "/usr/bin/cloud-init");
  const hasSystemd = await has("/usr/lib/systemd/systemd", "/lib/systemd/systemd");
  if (!hasCloudInit && !hasSystemd)
    throw noRoot(editing, "it has neither cloud-init nor systemd, and nobody in it would read a seed", [
      "say TPL_PATCH_MODE=none for an image that knows who it is by other means",
    ]);
  const files = [...(hasCloudInit ? CLOUD_FILES : []), ...(hasSystemd ? SEED_FILES : [])];
  await write(editing, root.at, files);
  return { partition: root.number, files: files.map(({ path }) => path) };
}

interface Root {
  readonly number: number;
  /** Of the file system, in the image. */
  readonly at: number;
}

async function findRoot(editing: Editing): Promise<Root> {
  const { host, directory, image } = editing;
  const found = withDisk(host, `${directory}/${image}`, (readAt, sizeBytes) =>
    partitionsOf(readAt, sizeBytes)
      .filter(({ isEsp }) => !isEsp)
      .map(({ number, firstByte: at, sizeBytes: size }) => ({ number, at, size, ...fileSystemOf(readAt, at) })),
  );
  const roots: Root[] = [];
  for (const { number, at, size, kind, needsRecovery } of found) {
    if (kind !== "ext") continue;
    if (needsRecovery) await playJournal(editing, at, size);
    const directories = await statAll(editing, at, ["/etc", "/usr"]);
    if (directories.size === 2) roots.push({ number, at });
  }
  const [root, ...others] = roots;
  if (root !== undefined && others.length === 0) return root;
  const listed = found.map(({ number, kind }) => `partition ${number}: ${kind}`);
  if (root !== undefined) throw noRoot(editing, `${roots.length} of its partitions could be its root`, listed);
  throw noRoot(editing, "none of its partitions is an ext4 file system with /etc and /usr", listed);
}

/**
 * What a machine had written when it was switched off has to be in its place before anything else is. e2fsck opens a file system anew
 * when it has played the journal, and then forgets where on the disk it lies: it is given a file of its own.
 */
async function playJournal(editing: Editing, at: number, sizeBytes: number): Promise<void> {
  const { host, directory, image, name } = editing;
  const part = `${directory}/part`;
  await copyData(host, `${directory}/${image}`, at, part, 0, sizeBytes);
  await host.run({
    argv: ["e2fsck", "-p", "part"],
    cwd: directory,
    doing: `playing the journal in the image of the template ${name}`,
    okStatuses: CORRECTED,
    timeoutMs: CHECK_TIMEOUT_MS,
  });
  await copyData(host, part, 0, `${directory}/${image}`, at, sizeBytes);
  host.files.unlink(part);
}

const COPY_BYTES = 4 << 20;

/** What is no hole of the one file goes to the other, which is made when it is not there. */
async function copyData(
  { files }: Host,
  from: string,
  fromAt: number,
  to: string,
  toAt: number,
  sizeBytes: number,
): Promise<void> {
  const isNew = !files.exists(to);
  const source = files.open(from, "r");
  const target = files.open(to, isNew ? "wx" : "r+");
  const end = fromAt + sizeBytes;
  const shift = toAt - fromAt;
  try {
    if (isNew) files.truncate(target, toAt + sizeBytes);
    for (let run = files.nextData(source, fromAt, end); run !== undefined; run = files.nextData(source, run.to, end)) {
      if (run.from >= end) break;
      let at = run.from + files.copyRange(source, run.from, target, run.from + shift, run.to - run.from);
      // Where the kernel does not.
      while (at < run.to) {
        const bytes = new Uint8Array(Math.min(COPY_BYTES, run.to - at));
        const count = files.read(source, bytes, at);
        if (count === 0) return;
        await files.writeBeside(target, bytes.subarray(0, count), at + shift);
        at += count;
      }
    }
  } finally {
    files.close(source);
    files.close(target);
  }
}

function noRoot({ name, directory, image }: Editing, why: string, details: readonly string[]): Problem {
  return new Problem({
    code: "E_IMAGE_ROOT",
    message: `the template ${name} needs files in the root of its image, and they cannot be put there: ${why}`,
    details,
    where: `${directory}/${image}`,
    hint: "take an image whose root is ext4, or one that has garth-seed already and say TPL_PATCH_MODE=none",
    exit: 2,
  });
}

interface Found {
  readonly isDirectory: boolean;
  readonly isLink: boolean;
}

/** debugfs says what it reads on standard output, each command before its answer; what is not there it says elsewhere. */
async function statAll(editing: Editing, at: number, paths: readonly string[]): Promise<ReadonlyMap<string, Found>> {
  const output = await debugfs(
    editing,
    at,
    paths.map((path) => `stat ${path}`),
    false,
  );
  const found = new Map<string, Found>();
  for (const part of output.split(/^debugfs: stat /m).slice(1)) {
    const end = part.indexOf("\n");
    const type = /^Inode: \d+ +Type: (\w+)/m.exec(part)?.[1];
    if (type !== undefined)
      found.set(part.slice(0, end).trim(), { isDirectory: type === "directory", isLink: type === "symlink" });
  }
  return found;
}

async function write(editing: Editing, at: number, files: readonly GuestFile[]): Promise<void> {
  const { host, directory } = editing;
  const parents = [...new Set(files.flatMap(({ path }) => parentsOf(path)))];
  const before = await statAll(editing, at, [...parents, ...files.map(({ path }) => path)]);
  const commands = parents.flatMap((path) => (before.has(path) ? [] : [`mkdir ${path}`, `sif ${path} mode 040755`]));
  files.forEach(({ path, content }, index) => {
    const name = path.slice(path.lastIndexOf("/") + 1);
    if (before.has(path)) commands.push(`rm ${path}`);
    commands.push(`cd ${path.slice(0, path.lastIndexOf("/"))}`);
    if ("link" in content) {
      commands.push(`symlink ${name} ${content.link}`);
      return;
    }
    host.files.writeFile(`${directory}/put.${index}`, content.text);
    const set = (field: string, value: string): string => `sif ${path} ${field} ${value}`;
    commands.push(`write put.${index} ${name}`, set("mode", `0100${content.mode.toString(8)}`), set("uid", "0"), set("gid", "0"));
  });
  const output = await debugfs(editing, at, commands, true);
  const after = await check(editing, at, ["-f", "-n"], [0, 4, 8]);
  if (after.status !== 0) throw noRoot(editing, "e2fsck finds fault with it", after.text.trim().split("\n").slice(-10));
  for (const [index, { path, content }] of files.entries()) {
    if ("link" in content) {
      const link = await debugfs(editing, at, [`stat ${path}`], false);
      if (!link.includes(`Fast link dest: "${content.link}"`)) throw noRoot(editing, `${path} did not become a link`, [output]);
      continue;
    }
    const copy = `got.${index}`;
    await debugfs(editing, at, [`dump ${path} ${copy}`], false);
    if (host.files.readTextIfAny(`${directory}/${copy}`) !== content.text)
      throw noRoot(editing, `${path} was not written whole: its file system may be full`, [output]);
  }
}

/** "/a/b/c" -> "/a", "/a/b". */
function parentsOf(path: string): readonly string[] {
  const parts = path.split("/").slice(1, -1);
  return parts.map((_, index) => `/${parts.slice(0, index + 1).join("/")}`);
}

/** What it printed. Its status is 0 whatever happened: who calls looks at what came of it. */
async function debugfs(editing: Editing, at: number, commands: readonly string[], writes: boolean): Promise<string> {
  const { host, directory, image, name } = editing;
  host.files.writeFile(`${directory}/commands`, commands.map((command) => `${command}\n`).join(""));
  const ran = await host.run({
    // By a relative name: where the directory has a "?" in its own, debugfs would take what follows for options.
    argv: ["debugfs", ...(writes ? ["-w"] : []), "-f", "commands", `${image}?offset=${at}`],
    cwd: directory,
    doing: `writing into the image of the template ${name}`,
    timeoutMs: CHECK_TIMEOUT_MS,
  });
  return writes ? ran.stderr : ran.text();
}

async function check(
  { host, directory, image, name }: Editing,
  at: number,
  options: readonly string[],
  okStatuses: readonly number[],
): Promise<{ readonly status: number; readonly text: string }> {
  const ran = await host.run({
    argv: ["e2fsck", ...options, `${image}?offset=${at}`],
    cwd: directory,
    doing: `checking the image of the template ${name}`,
    okStatuses,
    timeoutMs: CHECK_TIMEOUT_MS,
  });
  return { status: ran.status, text: ran.text() };
}
