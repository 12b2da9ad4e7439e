/** Which packages of a catalogue a list of names comes to. */
import { closest, compareVersions, Problem } from "../base/index.ts";
import type { CatalogueEntry } from "../pkg/index.ts";
import type { Trust } from "../repository/index.ts";
import type { RemoteRepository } from "../world/index.ts";

export function trustOf(trust: RemoteRepository["trust"]): Trust {
  return "publicKey" in trust
    ? { mode: "pubkey", publicPem: trust.publicKey }
    : { mode: "fingerprints", trusted: trust.fingerprints, revoked: [] };
}

export interface Wanted {
  /** A directory or a URL. */
  readonly location: string;
  /** Names of packages. */
  readonly packages: readonly string[];
}

/** The newest of each name, what is needed before what needs it. @throws Problem E_PACKAGE_NOT_FOUND, E_PACKAGE_NEEDS */
export function withNeeds(entries: readonly CatalogueEntry[], { packages, location }: Wanted): readonly CatalogueEntry[] {
  const byName = new Map<string, CatalogueEntry>();
  for (const entry of entries) {
    const { name, version } = entry.manifest;
    const known = byName.get(name);
    if (known === undefined || compareVersions(known.manifest.version, version) < 0) byName.set(name, entry);
  }
  const order = new Set<CatalogueEntry>();
  /** Packages may need each other in a circle. */
  const open = new Set<string>();
  const visit = (name: string, by: string | undefined): void => {
    const entry = byName.get(name);
    if (entry === undefined) throw by === undefined ? notFound(name, [...byName.keys()], location) : needs(by, name, location);
    if (order.has(entry) || open.has(name)) return;
    open.add(name);
    for (const need of Object.keys(entry.manifest.deps)) visit(need, name);
    order.add(entry);
  };
  for (const name of packages) visit(name, undefined);
  return [...order];
}

function notFound(name: string, known: readonly string[], where: string): Problem {
  const meant = closest(name, known);
  return new Problem({
    code: "E_PACKAGE_NOT_FOUND",
    message: `the repository has no package ${name}`,
    details:
      known.length === 0 ? ["it is empty"] : [`it has ${known.slice(0, 20).join(", ")}${known.length > 20 ? ", ..." : ""}`],
    where,
    hint: meant === undefined ? "publish it there first" : `did you mean ${meant}?`,
    exit: 2,
  });
}

function needs(by: string, name: string, where: string): Problem {
  return new Problem({
    code: "E_PACKAGE_NEEDS",
    message: `the package ${by} needs ${name}, which the repository does not have`,
    where,
    hint: "publish what it needs into the same repository",
  });
}
