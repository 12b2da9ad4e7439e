/**
 * One publisher at a time. The lock is a file that holds the identity of a process; one whose process is gone is taken over, so
 * a crash never needs cleaning up by hand. Readers take no lock.
 */
import { Problem } from "../base/index.ts";
import { type Host, isErrno } from "../host/index.ts";
import type { Layout } from "./layout.ts";

/** @throws Problem E_REPOSITORY_BUSY */
export async function withLock<T>(host: Host, layout: Layout, work: () => Promise<T>): Promise<T> {
  acquire(host, layout);
  try {
    return await work();
  } finally {
    host.files.unlink(layout.lock);
  }
}

function acquire(host: Host, layout: Layout): void {
  const { files } = host;
  files.makeDirectory(layout.private, { parents: true });
  const mine = `${layout.lock}.${host.processIdentity.replaceAll(/[^A-Za-z0-9-]/g, "_")}.${process.hrtime.bigint()}`;
  files.writeFile(mine, host.processIdentity, 0o644);
  try {
    // link(2) makes the lock appear with its content, so nobody reads an empty one.
    if (linked(host, mine, layout.lock)) return;
    const holder = host.files.readTextIfAny(layout.lock);
    if (holder !== undefined && host.isAlive(holder)) throw busy(layout, holder);
    takeOver(host, layout, mine, holder);
  } finally {
    files.unlink(mine);
  }
}

/** Of several that see the same dead holder, the one whose rename succeeds goes on. */
function takeOver(host: Host, layout: Layout, mine: string, dead: string | undefined): void {
  const aside = `${mine}.dead`;
  if (dead !== undefined) {
    try {
      host.files.rename(layout.lock, aside);
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error;
    }
    const moved = host.files.readTextIfAny(aside);
    if (moved !== undefined && moved !== dead) {
      // Somebody else was quicker and holds it now: it was theirs that was moved.
      linked(host, aside, layout.lock);
      host.files.unlink(aside);
      throw busy(layout, moved);
    }
    if (moved !== undefined) host.files.unlink(aside);
  }
  if (!linked(host, mine, layout.lock)) throw busy(layout, host.files.readTextIfAny(layout.lock) ?? "another process");
}

function linked(host: Host, existing: string, path: string): boolean {
  try {
    host.files.hardLink(existing, path);
    return true;
  } catch (error) {
    if (isErrno(error, "EEXIST")) return false;
    throw error;
  }
}

function busy(layout: Layout, holder: string): Problem {
  return new Problem({
    code: "E_REPOSITORY_BUSY",
    message: `another process publishes into ${layout.root} just now`,
    details: [`held by ${holder}`],
    hint: "wait for it to end and try again",
    where: layout.lock,
  });
}
