/**
 * What a repository holds, read from its own signed catalogue, which is therefore the only index there is: nothing beside it can
 * be out of date, and nothing a stranger wrote into the directory gets a signature.
 */
import { createPublicKey } from "node:crypto";
import { Problem } from "../base/index.ts";
import { type Host, isErrno } from "../host/index.ts";
import { oneChunk } from "./archive.ts";
import { openCatalogue } from "./catalogue.ts";
import { type Freshness, verifyFreshness } from "./freshness.ts";
import type { Layout } from "./layout.ts";
import { verifyCatalogue } from "./signature.ts";

export interface RepositoryState {
  /** undefined before the first publication. */
  readonly generation: number | undefined;
  /** Rendered entries, sorted. */
  readonly lines: readonly string[];
  readonly freshness: Freshness | undefined;
}

/** The number of the generation readers see. */
export function currentGeneration(host: Host, layout: Layout): number | undefined {
  try {
    const target = Buffer.from(host.files.readLink(layout.current)).toString();
    const number = /^generations\/([1-9][0-9]{0,14})$/.exec(target)?.[1];
    if (number !== undefined) return Number(number);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    if (!isErrno(error, "EINVAL")) throw error;
  }
  throw new Problem({
    code: "E_REPOSITORY_DAMAGED",
    message: `${layout.current} does not lead to a catalogue`,
    hint: "garth repo sign rebuilds the catalogue from the packages",
    where: layout.current,
  });
}

/**
 * @throws Problem E_NOT_OUR_REPOSITORY, E_REPOSITORY_DAMAGED, E_SIGNATURE_* when the catalogue was not signed with this key
 */
export async function loadState(host: Host, layout: Layout, publicPem: string): Promise<RepositoryState> {
  const generation = currentGeneration(host, layout);
  if (generation === undefined) {
    refuseForeign(host, layout);
    return { generation, lines: [], freshness: undefined };
  }
  const path = `${layout.generations}/${generation}`;
  try {
    const name = `${path}/packagesite.pkg`;
    // A whole frame of our own making is decompressed in one go, three times as fast as a stream.
    const tar = await Bun.zstdDecompress(host.files.readFile(name));
    const opened = await openCatalogue(host, oneChunk(tar), "packagesite.yaml", name);
    const { key } = verifyCatalogue(opened.inner, opened.signatures, { mode: "pubkey", publicPem }, name);
    const text = Buffer.from(opened.inner.buffer, opened.inner.byteOffset, opened.inner.length).toString();
    const lines = text === "" ? [] : text.slice(0, -1).split("\n");
    return { generation, lines, freshness: verifyFreshness(host.files.readText(`${path}/freshness.json`), key, layout.root) };
  } catch (cause) {
    throw damaged(layout, cause);
  }
}

/** The freshness statement of what is there, as far as it can be believed: signed by any of the keys. */
export function lastFreshness(host: Host, layout: Layout, publicPems: readonly string[]): Freshness | undefined {
  for (const publicPem of publicPems) {
    try {
      return verifyFreshness(host.files.readText(`${layout.current}/freshness.json`), createPublicKey(publicPem), layout.root);
    } catch (error) {
      if (!(error instanceof Problem) && !isErrno(error, "ENOENT")) throw error;
    }
  }
  return undefined;
}

function refuseForeign(host: Host, layout: Layout): void {
  for (const file of ["data.pkg", "packagesite.pkg", "meta.conf"]) {
    if (host.files.lstatIfAny(`${layout.root}/${file}`) === undefined) continue;
    throw new Problem({
      code: "E_NOT_OUR_REPOSITORY",
      message: `${layout.root} holds a repository that Garth did not make (there is a ${file})`,
      hint: "publish its packages into a new directory: garth repo publish NEW-DIRECTORY OLD/All/*.pkg",
      where: layout.root,
      exit: 2,
    });
  }
}

function damaged(layout: Layout, cause: unknown): Problem {
  const why = cause instanceof Problem ? `${cause.code}: ${cause.message}` : String(cause);
  return new Problem({
    code: cause instanceof Problem && cause.code.startsWith("E_SIGNATURE") ? cause.code : "E_REPOSITORY_DAMAGED",
    message: `the catalogue of ${layout.root} cannot be taken over`,
    details: [why],
    hint: "if the key was changed on purpose or a file was damaged, garth repo sign makes the catalogue again from the packages",
    where: layout.root,
    cause,
  });
}
