/** What changed between two locks, in lines for people. */
import type { LockedPackage, WorldLock } from "./types.ts";

/** `+ name version`, `- name version`, `~ name old -> new`; sorted by name. `before` is undefined where there was no lock. */
export function diffLocks(before: WorldLock | undefined, after: WorldLock): readonly string[] {
  const old = byName(before);
  const now = byName(after);
  const lines: string[] = [];
  for (const name of [...new Set([...old.keys(), ...now.keys()])].toSorted()) {
    const [left, right] = [old.get(name), now.get(name)];
    if (left === undefined) lines.push(`+ ${name} ${right?.version}`);
    else if (right === undefined) lines.push(`- ${name} ${left.version}`);
    else if (left.version !== right.version) lines.push(`~ ${name} ${left.version} -> ${right.version}`);
    else if (left.sha256 !== right.sha256 || left.architecture !== right.architecture) {
      lines.push(`~ ${name} ${left.version} -> ${right.version} (another file under the same version)`);
    }
  }
  return lines;
}

function byName(lock: WorldLock | undefined): ReadonlyMap<string, LockedPackage> {
  return new Map((lock?.packages ?? []).map((each) => [each.name, each]));
}
