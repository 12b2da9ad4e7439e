import { hashPart, Problem } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { isErrno } from "../host/index.ts";
import type { Ledger } from "../ledger/index.ts";
import { add, addFixed, addTexts, addWritten, pathOf } from "./add.ts";
import { adoptTrees } from "./adopt.ts";
import { committer } from "./commit.ts";
import { physicalOf, type StoreContext } from "./context.ts";
import { compareTrees, dump, sideOf, why } from "./explain.ts";
import { collect } from "./gc.ts";
import { allItems, closureOf, findItems, idOf, queryItem, realisationsOf, referrersOf } from "./items.ts";
import { optimise } from "./optimise.ts";
import { examine, register } from "./output.ts";
import { dropDeadPins, dropOwnPins, isLiving, pin } from "./pins.ts";
import type { CommitStep } from "./plan.ts";
import { addRoot, removeRoot, roots } from "./roots.ts";
import type { Store } from "./types.ts";
import { verify } from "./verify.ts";

export interface OpenStoreOptions {
  readonly host: Host;
  /** Opened with `STORE_MIGRATION` among its migrations. The store does not close it. */
  readonly ledger: Ledger;
  /** Physical directory of the items: `<root>/frx/store`. */
  readonly storeDirectory: string;
  /** `<root>/frx/var/garth`; on the same file system as the items. */
  readonly stateDirectory: string;
  readonly now: () => number;
  /** Told before and after each step of a registration. */
  readonly onStep?: (step: CommitStep, when: "before" | "after") => void;
}

function prepareDirectories(host: Host, storeDirectory: string, stateDirectory: string): void {
  const { files } = host;
  for (const directory of [storeDirectory, stateDirectory]) {
    if (files.exists(directory)) continue;
    try {
      files.makeDirectory(directory, { parents: true });
    } catch (error) {
      if (!isErrno(error, "EACCES", "EPERM", "EROFS")) throw error;
      throw new Problem({
        code: "E_NO_RIGHT",
        message: `${directory} cannot be made`,
        hint: "choose another place with --root or GARTH_ROOT, or run as root",
        where: directory,
        exit: 3,
        cause: error,
      });
    }
  }
  if (files.lstat(files.realPath(storeDirectory)).device !== files.lstat(files.realPath(stateDirectory)).device) {
    throw new Problem({
      code: "E_DIFFERENT_FILE_SYSTEMS",
      message: `${storeDirectory} and ${stateDirectory} are on different file systems; items are moved into the store by rename`,
      hint: "put both under one mount",
      exit: 3,
    });
  }
}

/** @throws Problem E_DIFFERENT_FILE_SYSTEMS, E_NO_RIGHT */
export function openStore(options: OpenStoreOptions): Store {
  const { host, ledger, storeDirectory, stateDirectory, now } = options;
  const { files } = host;
  prepareDirectories(host, storeDirectory, stateDirectory);
  const scratchParent = `${stateDirectory}/tmp/store`;
  let scratch: string | undefined;
  let names = 0;
  const context: StoreContext = {
    host,
    files,
    ledger,
    directory: storeDirectory,
    linksDirectory: `${storeDirectory}/.links`,
    stateDirectory,
    rootsDirectory: `${stateDirectory}/roots`,
    scratchParent,
    now,
    onStep: options.onStep ?? ((): void => {}),
    scratch: () => {
      if (scratch === undefined) {
        scratch = `${scratchParent}/${scratchName(host.processIdentity)}`;
        files.makeDirectory(scratch, { parents: true, mode: 0o755 });
      }
      return scratch;
    },
    fresh: (label) => {
      names += 1;
      return `${context.scratch()}/${label}-${names}`;
    },
  };
  const commits = committer(context);
  return {
    directory: storeDirectory,
    get temporaryDirectory() {
      return context.scratch();
    },
    physical: (path) => physicalOf(context, path),
    query: (path) => queryItem(ledger, path),
    isValid: (path) => idOf(ledger, path) !== undefined,
    all: () => allItems(ledger),
    find: (text) => findItems(ledger, text),
    add: (source, name, addOptions) => add(context, commits, source, name, addOptions),
    pathOf: (source, name, addOptions) => pathOf(context, source, name, addOptions),
    addText: (name, text, references) => single(addTexts(context, [{ name, text, references }])),
    addTexts: (items) => addTexts(context, items),
    addFixed: (physical, name, expected) => addFixed(context, commits, physical, name, expected),
    addWritten: (physical, name, sha256) => addWritten(context, commits, physical, name, sha256),
    register: (registration) => register(context, commits, registration),
    adopt: (trees) => adoptTrees(context, commits, trees),
    examine: (registration) => examine(context, registration),
    realisation: (drv) => realisationsOf(ledger, [drv]).get(drv),
    realisations: (drvs) => realisationsOf(ledger, drvs),
    pin: (paths) => pin(context, paths),
    addRoot: (link, target) => addRoot(context, link, target),
    removeRoot: (link) => removeRoot(context, link),
    roots: () => roots(context),
    references: (path) => queryItem(ledger, path)?.references ?? [],
    referrers: (path) => referrersOf(ledger, path),
    closure: (paths) => closureOf(ledger, paths),
    why: (path, reference) => why(context, path, reference),
    diff: (left, right) => compareTrees(context, sideOf(context, left), sideOf(context, right)),
    compare: (left, { physical, scratch }) =>
      compareTrees(context, sideOf(context, left), { physical, self: scratch === undefined ? undefined : hashPart(scratch) }),
    dump: (path) => dump(context, path),
    gc: (gcOptions) => collect(context, gcOptions),
    verify: (verifyOptions) => verify(context, verifyOptions),
    optimise: () => optimise(context),
    recover: () => recover(context),
    close: () => {
      if (scratch === undefined) return dropOwnPins(context);
      files.removeTree(scratch);
      scratch = undefined;
      dropOwnPins(context);
    },
  };
}

function single<T>(items: readonly T[]): T {
  const [item] = items;
  if (item === undefined) throw new Error("one item was added and none came back");
  return item;
}

/** A process identity as a file name that can stand as it is in a URL, as apt wants it, and back. */
function scratchName(identity: string): string {
  return identity.replaceAll(":", "+");
}

function ownerOf(name: string): string {
  return name.replaceAll("+", ":");
}

/** Scratch directories and pins of processes that are no more. */
function recover(context: StoreContext): void {
  const { files } = context;
  if (files.exists(context.scratchParent)) {
    for (const bytes of files.list(context.scratchParent)) {
      const name = Buffer.from(bytes).toString("utf8");
      if (isLiving(context, ownerOf(name))) continue;
      files.removeTree(`${context.scratchParent}/${name}`);
    }
  }
  dropDeadPins(context);
}
