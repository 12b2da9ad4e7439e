/** Keeping a repository: dropping old versions, and making the catalogue anew under another key. */
import { createPublicKey } from "node:crypto";
import { Problem } from "../base/index.ts";
import { renderCatalogueEntry } from "../pkg/index.ts";
import { type Host, isErrno } from "../host/index.ts";
import { lineOfText, planPrune, planPublication, type PublishPlan } from "./plan.ts";
import { fingerprintOf, loadKey } from "./keys.ts";
import { fileChunks } from "./archive.ts";
import { openCatalogue, parseInner } from "./catalogue.ts";
import { hashedPath, type Layout, layoutOf, plainPath } from "./layout.ts";
import { withLock } from "./lock.ts";
import { carryOut, clearAway, packagesOnDisk, refuseErrors } from "./publish.ts";
import { compactManifest, inspectPackage } from "./read-package.ts";
import { currentGeneration, lastFreshness, loadState } from "./state.ts";
import type { PruneReport, PublishReport, PublishRequest } from "./types.ts";

const DAY_MS = 86_400_000;

export interface PruneRequest extends Omit<PublishRequest, "add" | "remove" | "replace"> {
  /** Versions to keep of each package, 1 or more. */
  readonly keepVersions: number;
  /** How long a package stays on disk after it left the catalogue, for clients that still hold the old one. Default a day. */
  readonly graceMs?: number;
}

/** Publishes the smaller catalogue first, and deletes only files that no catalogue has named for the time of grace. */
export async function prune(host: Host, request: PruneRequest): Promise<PruneReport> {
  if (!Number.isInteger(request.keepVersions) || request.keepVersions < 1) {
    throw new Problem({ code: "E_BAD_ARGUMENT", message: "prune has to keep 1 version or more of each package", exit: 2 });
  }
  const layout = layoutOf(request.directory);
  const key = loadKey(host, request.keyFile, [layout.root]);
  return withLock(host, layout, async () => {
    clearAway(host, layout);
    const state = await loadState(host, layout, key.publicPem);
    const remove = planPrune(state.lines.map(lineOfText), request.keepVersions);
    const plan = planPublication(state.lines, { add: [], remove, replace: false }, () => true);
    refuseErrors(plan, layout);
    const report = await carryOut(host, layout, key, state, plan, request.nowMs);

    const named = new Set(plan.lines.map((text) => lineOfText(text).path));
    const deleted: string[] = [];
    let freedBytes = 0;
    for (const path of packagesOnDisk(host, layout)) {
      if (named.has(path)) continue;
      const file = `${layout.root}/${path}`;
      const { mtimeMs, sizeBytes } = host.files.lstat(file);
      if (request.nowMs - mtimeMs < (request.graceMs ?? DAY_MS)) continue;
      host.files.unlink(file);
      deleted.push(path);
      freedBytes += sizeBytes;
    }
    return { ...report, deleted, freedBytes };
  });
}

/** What `prune` would take out of the catalogue. */
export async function planPruning(
  host: Host,
  request: PruneRequest,
): Promise<readonly { readonly name: string; readonly version: string }[]> {
  const layout = layoutOf(request.directory);
  const state = await loadState(host, layout, loadKey(host, request.keyFile, [layout.root]).publicPem);
  return planPrune(state.lines.map(lineOfText), request.keepVersions);
}

/**
 * Makes the catalogue again from the packages in `All/`, each inspected, and signs it: after a change of key, or when catalogue
 * files were damaged. A package that is damaged itself is named and nothing changes. With `previousPublicPem` the time of the
 * last statement is carried on, so that readers do not take the new catalogue for an old one.
 */
export async function signRepository(
  host: Host,
  request: Omit<PublishRequest, "add" | "remove" | "replace"> & { readonly previousPublicPem?: string },
): Promise<PublishReport> {
  const layout = layoutOf(request.directory);
  const key = loadKey(host, request.keyFile, [layout.root]);
  return withLock(host, layout, async () => {
    const lines: string[] = [];
    const links = new Map<string, string>();
    const stray: string[] = [];
    const published = await publishedPaths(host, layout);
    for (const path of [...packagesOnDisk(host, layout)].toSorted()) {
      if (!path.endsWith(".pkg")) continue;
      const { manifest, sha256: sum, sizeBytes } = await inspectPackage(host, `${layout.root}/${path}`);
      if (hashedPath(manifest.name, manifest.version, sum) !== path) stray.push(path);
      if (published !== undefined && !published.has(path)) continue;
      const target = path.slice("All/".length);
      // Without a catalogue: of two builds of one version, the link for people says which one is published.
      if (published === undefined && linkTarget(host, `${layout.root}/${plainPath(manifest.name, manifest.version)}`) !== target)
        continue;
      lines.push(renderCatalogueEntry({ manifest: compactManifest(manifest), sum, path, pkgsize: sizeBytes }));
      links.set(plainPath(manifest.name, manifest.version), target);
    }
    if (stray.length > 0) {
      throw new Problem({
        code: "E_PACKAGE_CONTENT",
        message: `${layout.root} holds packages whose content is not what their name says`,
        details: stray,
        hint: "delete them, and publish them again from where they were made",
      });
    }
    const plan: PublishPlan = {
      ...planPublication(lines, { add: [], remove: [], replace: false }, () => true),
      changed: true,
      links,
    };
    refuseErrors(plan, layout);
    const publicPems = [key.publicPem, ...(request.previousPublicPem === undefined ? [] : [request.previousPublicPem])];
    const freshness = lastFreshness(host, layout, publicPems);
    return carryOut(host, layout, key, { generation: generationIfAny(), freshness }, plan, request.nowMs);

    function generationIfAny(): number | undefined {
      try {
        return currentGeneration(host, layout);
      } catch {
        return undefined;
      }
    }
  });
}

/** What the present catalogue names, whoever signed it; undefined where it cannot be read. */
async function publishedPaths(host: Host, layout: Layout): Promise<ReadonlySet<string> | undefined> {
  const name = `${layout.current}/packagesite.pkg`;
  if (!host.files.exists(name)) return undefined;
  try {
    const { inner } = await openCatalogue(host, fileChunks(host, name), "packagesite.yaml", name);
    return new Set(parseInner(inner, "packagesite.yaml", name).map(({ path }) => path));
  } catch (error) {
    if (error instanceof Problem) return undefined;
    throw error;
  }
}

function linkTarget(host: Host, path: string): string | undefined {
  try {
    return Buffer.from(host.files.readLink(path)).toString();
  } catch (error) {
    if (isErrno(error, "ENOENT", "EINVAL")) return undefined;
    throw error;
  }
}

/** For a trust decision: the fingerprint of a public key in PEM, refused where it is none. */
export function fingerprintOfPublicKey(publicPem: string): string {
  try {
    createPublicKey(publicPem);
  } catch (cause) {
    throw new Problem({ code: "E_BAD_KEY", message: "this is not a public key in PEM", exit: 2, cause });
  }
  return fingerprintOf(publicPem);
}
