/**
 * Publishing: read what comes, plan, then act in an order in which every crash leaves either the old catalogue or the new one.
 *
 *   1. take the lock; clear away what a dead publisher left
 *   2. read and verify the present catalogue; inspect each package that comes, whole
 *   3. plan and lint; stop here if anything is wrong
 *   4. copy packages in under names that hold their digest, fsync            (no catalogue names them yet)
 *   5. write and fsync the new generation of catalogue files; set the links for people to what comes
 *   6. rename(2) the link `.garth/current`                                    (readers see all of the new catalogue, or none)
 *   7. remove the links of what went, and the generations before the last one
 *
 * Packages that leave the catalogue stay on disk for clients that still hold the old one; `prune` deletes them after a grace.
 */
import { Problem, sha256, sha256Hasher } from "../base/index.ts";
import { type Host, isErrno } from "../host/index.ts";
import { ARCHIVE_OF, buildArchive, renderData, renderMeta, renderPackagesite } from "./catalogue.ts";
import { type Freshness, nextIssue, renderFreshness } from "./freshness.ts";
import { fingerprintOf, loadKey } from "./keys.ts";
import { CATALOGUE_FILES, type Layout, layoutOf } from "./layout.ts";
import { withLock } from "./lock.ts";
import { type Incoming, planPublication, type PublishPlan } from "./plan.ts";
import { compactManifest, inspectPackage } from "./read-package.ts";
import { currentGeneration, loadState, type RepositoryState } from "./state.ts";
import type { PublishReport, PublishRequest, SigningKey } from "./types.ts";

const COPY_BYTES = 4 << 20;
/** From so many packages on, one syncfs(2) is cheaper than an fsync(2) of each. */
const BULK = 32;

/** @throws Problem E_LINT, E_REPOSITORY_*, E_KEY_*, and what `inspectPackage` throws */
export async function publish(host: Host, request: PublishRequest): Promise<PublishReport> {
  const layout = layoutOf(request.directory);
  const key = loadKey(host, request.keyFile, [layout.root]);
  return withLock(host, layout, async () => {
    clearAway(host, layout);
    const state = await loadState(host, layout, key.publicPem);
    const plan = await makePlan(host, layout, state, request);
    refuseErrors(plan, layout);
    return carryOut(host, layout, key, state, plan, request.nowMs);
  });
}

/** What `publish` would do, without the lock and without touching anything. */
export async function planPublish(host: Host, request: PublishRequest): Promise<PublishPlan> {
  const layout = layoutOf(request.directory);
  const state = await loadState(host, layout, loadKey(host, request.keyFile, [layout.root]).publicPem);
  return makePlan(host, layout, state, request);
}

/** A repository of nothing, so that clients can be configured before the first package. Leaves an existing one as it is. */
export function initRepository(host: Host, request: Omit<PublishRequest, "add" | "remove">): Promise<PublishReport> {
  return publish(host, { ...request, add: [] });
}

async function makePlan(host: Host, layout: Layout, state: RepositoryState, request: PublishRequest): Promise<PublishPlan> {
  const wish = await wishOf(host, request);
  return planPublication(state.lines, wish, (path) => host.files.exists(`${layout.root}/${path}`));
}

async function wishOf(host: Host, request: PublishRequest): Promise<Parameters<typeof planPublication>[1]> {
  const add: Incoming[] = [];
  for (const file of request.add) {
    const { manifest, sha256: digest, sizeBytes } = await inspectPackage(host, file);
    add.push({ file, manifest: compactManifest(manifest), sha256: digest, sizeBytes });
  }
  return { add, remove: request.remove ?? [], replace: request.replace ?? false };
}

interface InnerFiles {
  readonly data: Uint8Array;
  readonly packagesite: Uint8Array;
}

/** The acting half, shared with `prune` and `sign`, which make their own plans. */
export async function carryOut(
  host: Host,
  layout: Layout,
  key: SigningKey,
  state: Pick<RepositoryState, "generation" | "freshness">,
  plan: PublishPlan,
  nowMs: number,
): Promise<PublishReport> {
  const packagesite = renderPackagesite(plan.lines);
  const data = renderData(packagesite);
  const catalogueSha256 = sha256(data);
  const changed = plan.changed || state.generation === undefined || state.freshness?.catalogueSha256 !== catalogueSha256;
  if (changed) {
    const freshness = { catalogueSha256, issuedAtMs: nextIssue(nowMs, state.freshness) };
    await replaceCatalogue(host, layout, key, { data, packagesite }, plan, freshness);
  }
  return {
    directory: layout.root,
    abi: plan.abi,
    packageCount: plan.lines.length,
    added: plan.added,
    unchanged: plan.unchanged,
    removed: plan.removed,
    catalogueSha256,
    signatureType: "pubkey+fingerprints",
    publicKeySha256: fingerprintOf(key.publicPem),
    changed,
    warnings: plan.lint.filter(({ severity }) => severity === "warning"),
  };
}

async function replaceCatalogue(
  host: Host,
  layout: Layout,
  key: SigningKey,
  inner: InnerFiles,
  plan: PublishPlan,
  freshness: Freshness,
): Promise<void> {
  const { files } = host;
  const undo: (() => void)[] = [];
  try {
    for (const directory of [layout.hashed, layout.generations]) files.makeDirectory(directory, { parents: true });
    const bulk = plan.copies.length > BULK;
    for (const copy of plan.copies) {
      if (copyPackage(host, layout, copy, !bulk)) undo.push(() => files.unlink(`${layout.root}/${copy.to}`));
    }
    if (bulk) files.syncFileSystem(layout.hashed);
    else if (plan.copies.length > 0) files.sync(layout.hashed);
    // From now on their age counts as the time since they left the catalogue.
    for (const path of plan.retired)
      if (files.exists(`${layout.root}/${path}`)) files.setTimes(`${layout.root}/${path}`, freshness.issuedAtMs);

    const previous = currentGenerationIfAny(host, layout);
    const generation = (previous ?? 0) + 1;
    const path = `${layout.generations}/${generation}`;
    undo.push(() => files.removeTree(path));
    files.removeTree(path);
    await writeGeneration(host, layout, path, previous, key, inner, freshness);
    for (const [link, target] of plan.links) if (target !== undefined) undo.push(setLink(host, target, `${layout.root}/${link}`));
    switchLink(host, `generations/${generation}`, layout.current);
    undo.length = 0;
    files.sync(layout.private);
    for (const [link, target] of plan.links) {
      if (target === undefined && files.lstatIfAny(`${layout.root}/${link}`) !== undefined)
        files.unlink(`${layout.root}/${link}`);
    }
    clearAway(host, layout);
  } catch (cause) {
    for (const step of undo.toReversed()) step();
    throw isErrno(cause, "ENOSPC", "EDQUOT") ? diskFull(layout, cause) : cause;
  }
}

async function writeGeneration(
  host: Host,
  layout: Layout,
  path: string,
  previous: number | undefined,
  key: SigningKey,
  inner: InnerFiles,
  freshness: Freshness,
): Promise<void> {
  const { files } = host;
  files.makeDirectory(path);
  const { data, packagesite } = inner;
  const archives = await Promise.all([
    buildArchive(data, freshness.catalogueSha256, "data", key),
    buildArchive(packagesite, sha256(packagesite), "packagesite.yaml", key),
  ]);
  const before = previous === undefined ? undefined : `${layout.generations}/${previous}`;
  const earlier = before === undefined ? undefined : files.lstatIfAny(`${before}/data.pkg`);
  // Clients ask "modified since?" in whole seconds, so a new catalogue is at least one second newer than the last.
  const seconds = Math.max(Math.floor(freshness.issuedAtMs / 1000), Math.floor((earlier?.mtimeMs ?? 0) / 1000) + 1);
  const write = (name: string, content: Uint8Array | string): void => {
    files.writeFile(`${path}/${name}`, content, 0o644);
    files.setTimes(`${path}/${name}`, seconds * 1000);
    files.sync(`${path}/${name}`);
  };
  write(ARCHIVE_OF.data, archives[0]);
  write(ARCHIVE_OF["packagesite.yaml"], archives[1]);
  write("freshness.json", renderFreshness(freshness, key));
  for (const name of ["meta.conf", "meta"]) {
    const meta = renderMeta();
    if (before !== undefined && files.exists(`${before}/${name}`) && files.readText(`${before}/${name}`) === meta) {
      files.hardLink(`${before}/${name}`, `${path}/${name}`);
    } else write(name, meta);
  }
  files.sync(path);
  files.sync(layout.generations);
}

/** false when it is there already: the name holds its digest, and what is there is checked against it. */
function copyPackage(host: Host, layout: Layout, copy: PublishPlan["copies"][number], durable: boolean): boolean {
  const { files } = host;
  const to = `${layout.root}/${copy.to}`;
  const present = files.lstatIfAny(to);
  if (present?.type === "file" && present.sizeBytes === copy.sizeBytes && digestOf(host, to) === copy.sha256) return false;
  const temporary = `${layout.hashed}/.incoming`;
  const input = files.open(copy.from, "r");
  try {
    const output = files.open(temporary, "w", 0o644);
    const hash = sha256Hasher();
    try {
      const chunk = new Uint8Array(Math.min(COPY_BYTES, copy.sizeBytes + 1));
      for (let offset = 0, count = -1; count !== 0; offset += count) {
        count = files.read(input, chunk, offset);
        hash.update(chunk.subarray(0, count));
        files.write(output, chunk.subarray(0, count));
      }
    } finally {
      files.close(output);
    }
    if (hash.digest("hex") !== copy.sha256) throw changedMeanwhile(copy.from);
    if (durable) files.sync(temporary);
    files.rename(temporary, to);
    return true;
  } catch (cause) {
    if (files.exists(temporary)) files.unlink(temporary);
    throw cause;
  } finally {
    files.close(input);
  }
}

function digestOf(host: Host, path: string): string {
  return sha256(host.files.readFile(path));
}

/** The links readers come in by. data.pkg last: a client that finds it finds the others. */
function linkCatalogue(host: Host, layout: Layout): void {
  for (const name of CATALOGUE_FILES.toReversed()) {
    const path = `${layout.root}/${name}`;
    if (host.files.lstatIfAny(path) === undefined) switchLink(host, `.garth/current/${name}`, path);
  }
}

/** Returns how to take it back. */
function setLink(host: Host, target: string, path: string): () => void {
  const before = host.files.lstatIfAny(path) === undefined ? undefined : Buffer.from(host.files.readLink(path)).toString();
  switchLink(host, target, path);
  return () => (before === undefined ? host.files.unlink(path) : switchLink(host, before, path));
}

function switchLink(host: Host, target: string, path: string): void {
  const temporary = `${path}.new`;
  if (host.files.lstatIfAny(temporary) !== undefined) host.files.unlink(temporary);
  host.files.symlink(target, temporary);
  host.files.rename(temporary, path);
}

/** Generations other than the current one and the one before it, and the beginnings of what a dead publisher was writing. */
export function clearAway(host: Host, layout: Layout): void {
  const { files } = host;
  const current = currentGenerationIfAny(host, layout);
  const keep = new Set(current === undefined ? [] : [String(current), String(current - 1)]);
  if (files.exists(layout.generations)) {
    for (const name of files.list(layout.generations).map((bytes) => Buffer.from(bytes).toString())) {
      if (!keep.has(name)) files.removeTree(`${layout.generations}/${name}`);
    }
  }
  if (files.exists(`${layout.hashed}/.incoming`)) files.unlink(`${layout.hashed}/.incoming`);
  if (current !== undefined) linkCatalogue(host, layout);
}

function currentGenerationIfAny(host: Host, layout: Layout): number | undefined {
  try {
    return currentGeneration(host, layout);
  } catch (error) {
    if (error instanceof Problem) return undefined;
    throw error;
  }
}

export function refuseErrors(plan: PublishPlan, layout: Layout): void {
  const errors = plan.lint.filter(({ severity }) => severity === "error");
  if (errors.length === 0) return;
  const shown = errors.slice(0, 20).map(({ package: of, field, message }) => `${of}: ${field} ${message}`);
  throw new Problem({
    code: "E_LINT",
    message: `${layout.root} was left as it is: ${errors.length === 1 ? "one fault" : `${errors.length} faults`} that clients would trip over`,
    details: errors.length > shown.length ? [...shown, `and ${errors.length - shown.length} more`] : shown,
  });
}

/** The packages on disk, by their path in a catalogue. */
export function packagesOnDisk(host: Host, layout: Layout): ReadonlySet<string> {
  if (!host.files.exists(layout.hashed)) return new Set();
  return new Set(host.files.list(layout.hashed).map((name) => `All/Hashed/${Buffer.from(name).toString()}`));
}

function changedMeanwhile(path: string): Problem {
  return new Problem({ code: "E_PACKAGE_CHANGED", message: `${path} changed while it was published; nothing of it was used` });
}

function diskFull(layout: Layout, cause: unknown): Problem {
  return new Problem({
    code: "E_DISK_FULL",
    message: `there is no space left on the file system of ${layout.root}; the repository is as it was`,
    hint: "garth repo prune deletes packages no catalogue names",
    where: layout.root,
    exit: 3,
    cause,
  });
}
