/**
 * A slot is what one running build has to itself: a numeric build user and a scratch directory.
 *
 * The users are a pool shared by every Garth on the machine, 35001:35001 and up, without passwd entries; each is leased in the
 * ledger, and the lease of a dead process is taken over. Without root the only user is the caller's own, in a user namespace.
 * A slot is opened when it is first needed and used again by later builds, so that a build costs no transaction for it. What
 * has to be undone if this process dies (remove the directory) is registered when the slot is opened,
 * before the directory is made.
 *
 *     open ──► free ──take──► taken ──giveBack──► free        close: all are removed
 */
import { Problem } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import type { Ledger } from "../ledger/index.ts";
import {
  BUILD_ID_COUNT,
  type BuildUser,
  buildUserLease,
  FIRST_BUILD_ID,
  nextBuildUser,
  type Sandbox,
  type SandboxIdentity,
} from "../sandbox/index.ts";

const UNDO = "build-scratch";
const BARE_MAX = 1000;

export interface Slot {
  readonly identity: SandboxIdentity;
  /** Empty while the slot is free. A run's scratch is below it. */
  readonly directory: string;
}

/** A directory for scratch that may outlive the process, for `--keep-failed`. */
export interface Keepable extends Slot {
  /** Leaves it to the person. */
  keep(): void;
  /** Removes it. */
  discard(): void;
}

export interface Slots {
  /** @throws Problem E_NO_BUILD_USER when all are taken by living builds */
  take(): Slot;
  /** A path below the slot's directory where nothing ever was. */
  fresh(slot: Slot, label: string): string;
  /** The slot is free; `scratch` is removed meanwhile. */
  giveBack(slot: Slot, scratch: string): void;
  /** All that was given back is removed. @throws what the removal throws */
  settled(): Promise<void>;
  /** At `tmp/kept/<label>`; what an earlier build left there is removed. */
  keepable(slot: Slot, label: string): Keepable;
  close(): void;
}

export interface SlotsContext {
  readonly host: Host;
  readonly ledger: Ledger;
  readonly temporary: string;
  /** Of the leases: this process and which of its builders. */
  readonly owner: string;
  readonly isAlive: (owner: string) => boolean;
  readonly now: () => number;
}

export function openSlots(context: SlotsContext): Slots {
  const { host, ledger, temporary, owner } = context;
  const own = `${temporary}/build-${owner.replaceAll(/[^0-9A-Za-z]+/g, "-").slice(-40)}`;
  const free: Slot[] = [];
  const undo = new Map<Slot, number>();
  const removals = new Set<Promise<void>>();
  /**
   * Empty scratch directories wait for the end: ext4 does not give out an inode again for some seconds after it was freed, and
   * looks past every such one when a file is made.
   */
  const bare: string[] = [];
  let runs = 0;

  function register({ directory }: Slot): number {
    return ledger.registerUndo(host.processIdentity, UNDO, directory);
  }

  function remove(scratch: string): void {
    const removal = host.files.removeTreeBeside(scratch).finally(() => removals.delete(removal));
    // Whoever asks `settled` hears of a failure.
    removal.catch(() => undefined);
    removals.add(removal);
  }

  function open(): Slot {
    const slot = ledger.transaction(() => {
      const identity: SandboxIdentity = host.isRoot
        ? leaseUser(context, new Set([...undo.keys()].map((each) => each.identity.uid)))
        : { kind: "user-namespace", uid: FIRST_BUILD_ID, gid: FIRST_BUILD_ID };
      const opened: Slot = { identity, directory: `${own}/${host.isRoot ? identity.uid : undo.size + 1}` };
      undo.set(opened, register(opened));
      return opened;
    });
    host.files.makeDirectory(slot.directory, { parents: true, mode: 0o711 });
    return slot;
  }

  return {
    take: () => free.pop() ?? open(),
    fresh(slot, label) {
      runs += 1;
      return `${slot.directory}/${runs}-${label}`;
    },
    giveBack(slot, scratch) {
      free.push(slot);
      if (isBare(host, scratch) && bare.length < BARE_MAX) bare.push(scratch);
      else remove(scratch);
    },
    settled: async () => {
      for (const scratch of bare.splice(0)) remove(scratch);
      await Promise.all(removals);
    },
    keepable(slot, label) {
      const keepable: Slot = { identity: slot.identity, directory: `${temporary}/kept/${label}` };
      const id = register(keepable);
      host.files.removeTree(keepable.directory);
      host.files.makeDirectory(keepable.directory, { parents: true, mode: 0o711 });
      return {
        ...keepable,
        keep: () => ledger.forgetUndo(id),
        discard: () => {
          host.files.removeTree(keepable.directory);
          ledger.forgetUndo(id);
        },
      };
    },
    close() {
      if (undo.size === 0) return;
      host.files.removeTree(own);
      // Not waiting for the disk: what is undone twice is undone.
      ledger.quickTransaction(() => {
        for (const [slot, id] of undo) {
          if (slot.identity.kind === "drop") ledger.release(buildUserLease(slot.identity), owner);
          ledger.forgetUndo(id);
        }
      });
      undo.clear();
      free.length = 0;
    },
  };
}

/** Directories of one level with nothing in them. */
function isBare({ files }: Host, scratch: string): boolean {
  if (files.lstatIfAny(scratch) === undefined) return true;
  return files.list(scratch).every((name) => {
    const path = `${scratch}/${Buffer.from(name).toString("latin1")}`;
    return files.lstatIfAny(path)?.type === "directory" && files.list(path).length === 0;
  });
}

/** Stops and removes what dead processes left. One query when there is nothing. */
export async function recoverSlots(host: Host, ledger: Ledger, sandbox: Sandbox): Promise<void> {
  const left = ledger.abandoned((identity) => host.isAlive(identity)).filter(({ kind }) => kind === UNDO);
  if (left.length === 0) return;
  await sandbox.sweep();
  for (const { id, data: directory } of left) {
    host.files.removeTree(directory);
    removeIfEmpty(host, directory.slice(0, directory.lastIndexOf("/")));
    ledger.forgetUndo(id);
  }
}

function removeIfEmpty(host: Host, directory: string): void {
  if (host.files.exists(directory) && host.files.list(directory).length === 0) host.files.removeDirectory(directory);
}

function leaseUser({ ledger, owner, isAlive, now }: SlotsContext, taken: ReadonlySet<number>): BuildUser {
  const refused = new Set(taken);
  for (let user = nextBuildUser(refused); user !== undefined; user = nextBuildUser(refused)) {
    if (ledger.acquire(buildUserLease(user), owner, isAlive, now()) === undefined) return user;
    refused.add(user.uid);
  }
  throw new Problem({
    code: "E_NO_BUILD_USER",
    message: `taking a build user: all ${BUILD_ID_COUNT} are in use by running builds`,
    hint: "wait for other builds to end, or run this one with fewer jobs",
    exit: 3,
  });
}
