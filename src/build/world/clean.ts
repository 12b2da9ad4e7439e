/** Leaves of a fresh tree what its packages say, and nothing of the machine and the time it was made. */
import type { Host, Stat } from "../../host/index.ts";
import { ABOUT, type Attributes, ATTRIBUTES_FILE, type ListedEntry, renderAttributes } from "../../world/index.ts";
import {
  EMPTIED,
  isLeftOver,
  isOfOneMachine,
  isTranslation,
  MOUNT_POINTS,
  type Purpose,
  REMOVED,
  WITHOUT_FILES,
  WRITTEN,
} from "./plan.ts";

const SPECIAL_BITS = 0o7000;

/**
 * `owners` are those that files had in the archive the tree came out of, where the tree itself could not be given them. Of a system's
 * world owners and modes stay behind in a file beside the tree.
 */
export function cleanTree(host: Host, tree: string, purpose: Purpose = "build", owners?: ReadonlyMap<string, Attributes>): void {
  const { files } = host;
  for (const path of REMOVED[purpose]) files.removeTree(`${tree}/${path}`);
  const withoutFiles = purpose === "system" ? WITHOUT_FILES : [];
  for (const path of withoutFiles) removeFiles(host, `${tree}/${path}`);
  for (const path of EMPTIED.filter((each) => !withoutFiles.includes(each))) {
    if (files.lstatIfAny(`${tree}/${path}`)?.type !== "directory") continue;
    for (const entry of files.list(`${tree}/${path}`)) files.removeTree(child(`${tree}/${path}`, entry));
  }
  // Modes are given: the umask is of whoever runs this.
  for (const path of MOUNT_POINTS) {
    if (files.exists(`${tree}/${path}`)) continue;
    files.makeDirectory(`${tree}/${path}`);
    files.chmod(`${tree}/${path}`, 0o755);
  }
  for (const [path, text] of Object.entries(WRITTEN)) {
    files.removeTree(`${tree}/${path}`);
    files.writeFile(`${tree}/${path}`, text);
    files.chmod(`${tree}/${path}`, 0o644);
  }
  const cleaning: Cleaning = { host, tree, purpose, owners, listing: [], attributes: new Map() };
  walk(cleaning, "");
  if (purpose === "build") return;
  files.makeDirectory(`${tree}/${ABOUT}`);
  files.writeFile(`${tree}/${ATTRIBUTES_FILE}`, renderAttributes(cleaning.attributes, cleaning.listing));
}

/** Leaves directories, and links between them. */
function removeFiles(host: Host, directory: string | Uint8Array): void {
  if (host.files.lstatIfAny(directory)?.type !== "directory") return;
  for (const entry of host.files.list(directory)) {
    const path = typeof directory === "string" ? child(directory, entry) : Buffer.concat([directory, Buffer.from("/"), entry]);
    const { type } = host.files.lstat(path);
    if (type === "directory") removeFiles(host, path);
    else if (type !== "symlink") host.files.unlink(path);
  }
}

interface Cleaning {
  readonly host: Host;
  readonly tree: string;
  readonly purpose: Purpose;
  readonly owners: ReadonlyMap<string, Attributes> | undefined;
  readonly listing: ListedEntry[];
  readonly attributes: Map<string, Attributes>;
}

/** Debian's packages have names in UTF-8; one that has not is kept as it is, by its bytes. */
function child(directory: string, entry: Uint8Array): string | Uint8Array {
  const text = Buffer.from(entry).toString("utf8");
  if (!text.includes("\ufffd")) return `${directory}/${text}`;
  return Buffer.concat([Buffer.from(`${directory}/`), entry]);
}

function walk(cleaning: Cleaning, relative: string): void {
  const { host, tree, purpose, owners } = cleaning;
  const { files } = host;
  const directory = relative === "" ? tree : `${tree}/${relative}`;
  for (const entry of files.list(directory)) {
    const path = child(directory, entry);
    const name = Buffer.from(entry).toString("utf8");
    const below = relative === "" ? name : `${relative}/${name}`;
    const stat = files.lstat(path);
    const { type } = stat;
    const isPlain = type === "file" || type === "directory" || type === "symlink";
    const isUnwanted = purpose === "build" ? isTranslation(below) : isOfOneMachine(below);
    if (!isPlain || isLeftOver(below) || isUnwanted) {
      files.removeTree(path);
      continue;
    }
    if (purpose === "system") {
      if (type === "file" && BYTECODE.test(below)) trustBytecode(host, path);
      cleaning.listing.push({ path: below, type, executable: (stat.mode & 0o111) !== 0, sizeBytes: stat.sizeBytes });
      const own = ownAttributes(below, owners, stat);
      if (own !== undefined) cleaning.attributes.set(below, own);
    }
    if (type !== "symlink" && (stat.mode & SPECIAL_BITS) !== 0) files.chmod(path, stat.mode & ~SPECIAL_BITS);
    if (type === "directory" && typeof path === "string") walk(cleaning, below);
  }
}

const BYTECODE = /\/__pycache__\/[^/]+\.pyc$/;
/** Of the header's flags (PEP 552): named by a hash of the source, and whether that is to be compared. */
const HASHED = 1;
const CHECKED = 2;

/**
 * What Python compiled in a tree whose times mean nothing carries a hash of its source, and each import reads and hashes the source
 * again: half the time of an import. A system lies in a store where nothing changes, so the comparison is left out.
 */
function trustBytecode({ files }: Host, path: string | Uint8Array): void {
  const file = files.open(path, "r+");
  try {
    const header = new Uint8Array(8);
    const isWhole = files.read(file, header, 0) === header.length;
    // The magic number ends in a line break; the flags are 32 bits, little end first.
    if (!isWhole || header[2] !== 0x0d || header[3] !== 0x0a || header[4] !== (HASHED | CHECKED)) return;
    header[4] = HASHED;
    files.write(file, header);
  } finally {
    files.close(file);
  }
}

/** undefined for what the cleaning itself has made: that is root's, with the usual mode, whoever ran it. */
function ownAttributes(path: string, owners: Cleaning["owners"], { mode, uid, gid }: Stat): Attributes | undefined {
  if (Object.hasOwn(WRITTEN, path)) return undefined;
  return owners === undefined ? { mode, uid, gid } : owners.get(path);
}
