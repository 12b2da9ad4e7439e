/**
 * The .deb files of a lock, each checked against the lock, in distfiles.
 *
 *     in distfiles? ──all──► done, and no network
 *          │ some not
 *     in the lists of last time? ──all──► apt-get download ──fails──┐
 *          │ some not                                              │
 *     apt-get update ◄─────────────────────────────────────────────┘
 *          │
 *     in the lists of today? ──some not──► E_PIN_GONE
 *          │ all
 *     apt-get download ──► each digest right? ──► distfiles
 */
import { Problem } from "../../base/index.ts";
import { fileDigests } from "../../host/index.ts";
import type { WorldSource } from "../../recipe/index.ts";
import type { LockedPackage, WorldLock } from "../../world/index.ts";
import { type Apt, aptWords } from "../fetch/apt.ts";
import { parseStanzas } from "../fetch/aptsources.ts";
import { distfilePath, findDistfile, keepDistfile, newPart } from "../fetch/distfiles.ts";
import { type MirrorFailure, nobodyHasIt } from "../fetch/problems.ts";
import { openWorldApt } from "./resolve.ts";
import type { WorldContext } from "./types.ts";

/** Where the package lies among distfiles; all of them are there. */
export type DebFiles = ReadonlyMap<LockedPackage, string>;

/** @throws Problem E_PIN_GONE, E_APT_UPDATE, E_FETCH_FAILED, E_HASH_MISMATCH */
export async function acquireDebs(context: WorldContext, world: WorldSource, lock: WorldLock): Promise<DebFiles> {
  const found = new Map<LockedPackage, string>();
  const missing: LockedPackage[] = [];
  for (const each of lock.packages) {
    const file = findDistfile(context, each.sha256, undefined, (path, actual) => {
      context.emit({ kind: "fetch-failed", from: path, reason: `wrong sha256: ${actual}` });
    });
    if (file === undefined) missing.push(each);
    else found.set(each, file);
  }
  if (missing.length > 0) {
    const apt = await openWorldApt(context, world);
    const isDone =
      apt.hasLists() && (await pinsGone(apt, missing)).length === 0 && (await download(context, apt, missing)).length === 0;
    if (!isDone) await downloadFresh(context, apt, world, missing);
    for (const each of missing) found.set(each, distfilePath(context, each.sha256));
  }
  return found;
}

async function downloadFresh(
  context: WorldContext,
  apt: Apt,
  world: WorldSource,
  wanted: readonly LockedPackage[],
): Promise<void> {
  await apt.update();
  const missing = wanted.filter((each) => !context.host.files.exists(distfilePath(context, each.sha256)));
  if (missing.length === 0) return;
  const gone = await pinsGone(apt, missing);
  if (gone.length > 0) throw pinGone(world, gone);
  const failures = await download(context, apt, missing);
  if (failures.length > 0) throw nobodyHasIt(`the packages of the world ${world.name}`, failures);
}

interface Gone {
  readonly pin: LockedPackage;
  /** Versions that the mirrors have now. */
  readonly have: readonly string[];
}

/** Pins that the package lists do not hold, by name, version and digest. */
async function pinsGone(apt: Apt, wanted: readonly LockedPackage[]): Promise<readonly Gone[]> {
  const result = await apt.run(["apt-cache", "show", ...wanted.map((each) => each.name)], "looking for pinned packages");
  const listed = parseStanzas(result.stdout).map((stanza) => ({
    name: stanza.get("package") ?? "",
    version: stanza.get("version") ?? "",
    sha256: stanza.get("sha256") ?? "",
  }));
  return wanted
    .filter((pin) => !listed.some((each) => each.name === pin.name && each.version === pin.version && each.sha256 === pin.sha256))
    .map((pin) => ({ pin, have: listed.filter((each) => each.name === pin.name).map((each) => each.version) }));
}

function pinGone(world: WorldSource, gone: readonly Gone[]): Problem {
  const first = gone[0]?.pin;
  const others = gone.length > 1 ? ` (and ${gone.length - 1} more)` : "";
  return new Problem({
    code: "E_PIN_GONE",
    message: `the world ${world.name} is pinned to ${first?.name} ${first?.version}${others}, which the mirrors no longer have`,
    details: gone.map(({ pin, have }) => {
      const now = have.length === 0 ? "the mirrors have none" : `the mirrors have ${have.join(", ")}`;
      return `${pin.name} ${pin.version} (sha256 ${pin.sha256}): ${now}`;
    }),
    where: world.lock,
    hint: "set the world's policy to `refresh` to take the new versions and write the lock, or put the .deb into distfiles under its SHA-256",
  });
}

/** Returns what did not come. */
async function download(context: WorldContext, apt: Apt, wanted: readonly LockedPackage[]): Promise<readonly MirrorFailure[]> {
  const { files } = context.host;
  const from = "apt-get download";
  const bytes = wanted.reduce((sum, each) => sum + each.sizeBytes, 0);
  context.emit({ kind: "fetch-started", what: `${wanted.length} packages, ${Math.ceil(bytes / 1e6)} MB`, from });
  const directory = newPart(context);
  files.makeDirectory(directory, { mode: 0o755 });
  try {
    const names = wanted.map((each) => `${each.name}=${each.version}`);
    const result = await apt.run(["apt-get", "download", ...names], "fetching packages", directory);
    const byDigest = new Map<string, string>();
    const byName = new Map<string, string>();
    for (const entry of files.list(directory)) {
      const name = Buffer.from(entry).toString("utf8");
      const { sha256 } = fileDigests(context.host, `${directory}/${name}`);
      byDigest.set(sha256, `${directory}/${name}`);
      byName.set(name.replace(/_.*$/, ""), sha256);
    }
    const words = aptWords(result.stderr);
    return wanted.flatMap((each): MirrorFailure[] => {
      const file = byDigest.get(each.sha256);
      if (file !== undefined) {
        keepDistfile(context, file, each.sha256);
        return [];
      }
      const label = `${from} ${each.name}=${each.version}`;
      const other = byName.get(each.name);
      const own = words.filter((line) => line.includes(`/${each.name}_`));
      const failure: MirrorFailure =
        other === undefined
          ? { from: label, reason: own.join("; ") || words.join("; ") || "apt gave no such file" }
          : {
              from: label,
              reason: `wrong sha256: ${other}`,
              mismatch: { algorithm: "sha256", expected: each.sha256, found: other },
            };
      context.emit({ kind: "fetch-failed", from: label, reason: failure.reason });
      return [failure];
    });
  } finally {
    files.removeTree(directory);
  }
}
