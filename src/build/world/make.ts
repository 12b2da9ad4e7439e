/** From .deb files to a tree. */
import { Problem } from "../../base/index.ts";
import { CLEAN_ENVIRONMENT, eachChunk, type Host, isErrno } from "../../host/index.ts";
import { type AttributeTable, parseTarList, type WorldLock } from "../../world/index.ts";
import { requireTool } from "../fetch/problems.ts";
import { runTool } from "../fetch/tool.ts";
import type { DebFiles } from "./acquire.ts";
import { cleanTree } from "./clean.ts";
import { debFileName, debianTreeCommand, type Purpose, repositoryFiles } from "./plan.ts";
import type { WorldContext } from "./types.ts";

/** Program, and the package of Debian that has it. */
const TOOLS: readonly (readonly [string, string])[] = [
  ["mmdebstrap", "mmdebstrap"],
  ["dpkg-deb", "dpkg"],
  ["setpriv", "util-linux"],
  ["unshare", "util-linux"],
];
const ROOTLESS_TOOLS: readonly (readonly [string, string])[] = [
  ["newuidmap", "uidmap"],
  ["tar", "tar"],
];

const PLAIN_PATH = /^[A-Za-z0-9/._:+-]+$/;

/**
 * Makes the tree in `scratch` and returns its directory.
 * @throws Problem E_TOOL_MISSING (exit 3), E_WORLD_FAILED with the tail of what mmdebstrap said, E_INTERRUPTED
 */
export async function makeTree(
  context: WorldContext,
  name: string,
  lock: WorldLock,
  debs: DebFiles,
  scratch: string,
  purpose: Purpose = "build",
): Promise<string> {
  const { host } = context;
  const doing = `making the world ${name}`;
  if (!host.system.endsWith("-linux")) throw notHere(name, host);
  for (const [program, packageName] of [...TOOLS, ...(host.isRoot ? [] : ROOTLESS_TOOLS)]) {
    requireTool(host, program, { doing, packageName });
  }
  // Without root the other user ids of the namespace must reach the packages, and a home directory is shut to them. With root, the
  // place must only be one that a line of sources.list(5) can say as it is.
  const open = host.isRoot && PLAIN_PATH.test(scratch) ? scratch : openPlace(host);
  try {
    host.files.chmod(open, 0o755);
    const repository = `${open}/repository`;
    await layOutRepository(context, lock, debs, repository);
    const tree = `${scratch}/tree`;
    const target = host.isRoot ? tree : `${scratch}/tree.tar`;
    await run(context, doing, debianTreeCommand({ repository, target, isRoot: host.isRoot, purpose }, lock), open);
    let owners: AttributeTable | undefined;
    if (!host.isRoot) {
      if (purpose === "system") owners = await ownersIn(context, target, doing);
      host.files.makeDirectory(tree);
      // Device nodes are for root alone, and cleanTree would remove them.
      await run(
        context,
        doing,
        ["tar", "--extract", "--file", target, "--directory", tree, "--no-same-owner", "--exclude=./dev/*"],
        scratch,
      );
      host.files.unlink(target);
    }
    cleanTree(host, tree, purpose, owners);
    return tree;
  } finally {
    if (open !== scratch) host.files.removeTree(open);
  }
}

/** Without root the tree has one owner; what the packages said is in the archive alone. */
async function ownersIn(context: WorldContext, archive: string, doing: string): Promise<AttributeTable> {
  const argv = ["tar", "--list", "--verbose", "--numeric-owner", "--quoting-style=c", "--file", archive] as const;
  const { stdout } = await runTool(context.host, { argv, doing, signal: context.signal });
  return parseTarList(stdout);
}

const OPEN_PLACE = /^garth-world-(?<owner>.+)-[A-Za-z0-9]{6}$/;

/** A directory in /tmp that says whose it is; those of dead processes are removed, the caller's own user's alone. */
function openPlace({ files, processIdentity, isAlive }: Host): string {
  const place = files.makeTemporaryDirectory(`/tmp/garth-world-${processIdentity.replaceAll(":", "+")}-`);
  const { uid } = files.lstat(place);
  for (const entry of files.list("/tmp")) {
    const name = Buffer.from(entry).toString("utf8");
    const owner = OPEN_PLACE.exec(name)?.groups?.["owner"]?.replaceAll("+", ":");
    if (owner === undefined || isAlive(owner)) continue;
    const stat = files.lstatIfAny(`/tmp/${name}`);
    if (stat?.type === "directory" && stat.uid === uid) files.removeTree(`/tmp/${name}`);
  }
  return place;
}

async function run(context: WorldContext, doing: string, argv: readonly [string, ...string[]], temporary: string): Promise<void> {
  const env = { ...CLEAN_ENVIRONMENT, TMPDIR: temporary, SOURCE_DATE_EPOCH: "1", DEBIAN_FRONTEND: "noninteractive" };
  try {
    // As root its namespaces take all of it along; without, mmdebstrap tidies up by itself when it is asked to end.
    const endWith = context.host.isRoot ? "SIGKILL" : "SIGTERM";
    await runTool(context.host, { argv, doing, env, cwd: temporary, signal: context.signal, endWith });
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== "E_COMMAND_FAILED") throw error;
    throw new Problem({
      code: "E_WORLD_FAILED",
      message: error.message,
      details: errorLines(error.details),
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      cause: error,
    });
  }
}

/** What went wrong, out of all that apt and dpkg say on the way. */
function errorLines(lines: readonly string[]): readonly string[] {
  const errors = lines.filter((line) => /^(?:E: |dpkg(?:-deb)?: error|newuidmap: |unshare: |tar: )/.test(line));
  return errors.length > 0 ? errors : lines;
}

async function layOutRepository(context: WorldContext, lock: WorldLock, debs: DebFiles, repository: string): Promise<void> {
  const { host } = context;
  host.files.makeDirectory(repository);
  // Whatever the umask is: apt may read as another user.
  host.files.chmod(repository, 0o755);
  const names: string[] = [];
  for (const each of lock.packages) {
    const file = debs.get(each);
    if (file === undefined) throw new Error(`${each.name} was not acquired`);
    const name = debFileName(each);
    bringIn(host, file, `${repository}/${name}`);
    names.push(`./${name}`);
  }
  // One shell for all of them; a line of its own, which no control file can hold, ends each.
  const controls = await runTool(host, {
    argv: ["sh", "-c", `for deb; do dpkg-deb --field "$deb" || exit; echo .; done`, "sh", ...names],
    doing: "reading what the packages say about themselves",
    cwd: repository,
    signal: context.signal,
  });
  const texts = controls.stdout.split(/^\.\n/m).slice(0, -1);
  for (const [name, text] of Object.entries(repositoryFiles(lock, texts))) host.files.writeFile(`${repository}/${name}`, text);
}

/** A second name for the file, or a copy where the two places are on different file systems or it is somebody else's. */
function bringIn(host: Host, file: string, to: string): void {
  try {
    host.files.hardLink(file, to);
  } catch (error) {
    if (!isErrno(error, "EXDEV", "EPERM", "EMLINK")) throw error;
    const descriptor = host.files.open(to, "wx");
    try {
      eachChunk(host, file, (chunk) => host.files.write(descriptor, chunk));
    } finally {
      host.files.close(descriptor);
    }
  }
}

function notHere(name: string, host: Host): Problem {
  return new Problem({
    code: "E_WORLD_UNSUPPORTED",
    message: `making the world ${name}: a tree of Debian packages is made on Linux, and this is ${host.system}`,
    hint: "make it on a Linux machine and bring it over: `garth store export`, `garth store import`",
    exit: 3,
  });
}
