/**
 * The files of a catalogue: `meta.conf` (unsigned), `data.pkg` for clients from 1.20 on and `packagesite.pkg` for older ones, the
 * same entries in both. Everything here is a function of the entries and the key: the same packages give the same bytes.
 */
import { type JsonValue, Problem } from "../base/index.ts";
import { renderUcl, tarArchive } from "../formats/index.ts";
import type { Host } from "../host/index.ts";
import { type CatalogueEntry, parseCatalogueEntry, renderCatalogueEntry } from "../pkg/index.ts";
import { memberBytes, openArchive } from "./archive.ts";
import { type FoundSignatures, signCatalogue } from "./signature.ts";
import type { SigningKey } from "./types.ts";

/** The inner file of an archive. */
export type InnerName = "data" | "packagesite.yaml";

export const ARCHIVE_OF: Readonly<Record<InnerName, string>> = { data: "data.pkg", "packagesite.yaml": "packagesite.pkg" };

/** Measured on 20,000 entries: smaller than level 3 (1.07 to 1.23 MB of 10.8), in half the time. */
const ZSTD_LEVEL = 1;

/** Limits of pkg 2.8.2: what it refuses, nobody needs to read. */
const MAXIMUM_INNER_BYTES = 1 << 30;
const MAXIMUM_SIGNATURE_BYTES = 1 << 20;
const MAXIMUM_SIGNATURES = 8;

/** What pkg 2.8 writes. Paths of packages and names of archives are in the signed catalogue or fixed, so nothing here is trusted. */
export function renderMeta(): string {
  return renderUcl({
    version: 2,
    packing_format: "tzst",
    manifests: "packagesite.yaml",
    data: "data",
    filesite: "files",
    manifests_archive: "packagesite",
    filesite_archive: "files",
  });
}

/** `packagesite.yaml`: one rendered entry a line, in the order they are to have. */
export function renderPackagesite(lines: readonly string[]): Uint8Array {
  return Buffer.from(lines.length === 0 ? "" : `${lines.join("\n")}\n`);
}

const DATA_HEAD = Buffer.from('{"groups":[],"expired_packages":[],"packages":[');
const DATA_TAIL = Buffer.from("]}");

/** `data`, from `packagesite.yaml`: the same entries as one JSON array, on one line because clients read it with getline(3). */
export function renderData(packagesite: Uint8Array): Uint8Array {
  const entries = packagesite.subarray(0, Math.max(0, packagesite.length - 1));
  const data = Buffer.concat([DATA_HEAD, entries, DATA_TAIL]);
  // JSON has no line feed inside of a string, so each one here is between two entries.
  for (let at = data.indexOf(0x0a); at >= 0; at = data.indexOf(0x0a, at + 1)) data[at] = 0x2c;
  return data;
}

/** `digest` is the SHA-256 of the inner file, in hex. */
export async function buildArchive(
  inner: Uint8Array,
  digest: string,
  innerName: InnerName,
  key: SigningKey,
): Promise<Uint8Array> {
  const member = { type: "file", mode: 0o644, uname: "root", gname: "wheel", mtimeSeconds: 0 } as const;
  const members = [...signCatalogue(digest, innerName, key), { name: innerName, bytes: inner }];
  const tar = tarArchive(
    members.map(({ name, bytes }) => ({ member: { ...member, path: name, sizeBytes: bytes.length }, content: bytes })),
  );
  return Bun.zstdCompress(tar, { level: ZSTD_LEVEL });
}

export interface OpenedArchive {
  readonly inner: Uint8Array;
  readonly signatures: FoundSignatures;
}

/**
 * Takes an archive apart without judging its signatures. The inner file is only handed on, not looked into.
 *
 * @throws Problem E_ARCHIVE_*, E_CATALOGUE_INCOMPLETE
 */
export async function openCatalogue(
  host: Host,
  source: AsyncGenerator<Uint8Array>,
  innerName: InnerName,
  name: string,
): Promise<OpenedArchive> {
  const seen = new Set<string>();
  const certificates = new Map<string, { sig?: Uint8Array; pub?: Uint8Array }>();
  let inner: Uint8Array | undefined;
  let signature: Uint8Array | undefined;
  const limits = {
    members: MAXIMUM_SIGNATURES + 8,
    contentBytes: MAXIMUM_INNER_BYTES + MAXIMUM_SIGNATURES * MAXIMUM_SIGNATURE_BYTES,
  };
  for await (const entry of openArchive(host, source, name, limits)) {
    if (seen.has(entry.path)) throw incomplete(name, `has two members named ${entry.path}`);
    seen.add(entry.path);
    if (entry.type !== "file") throw incomplete(name, `has a member ${entry.path} that is not a regular file`);
    if (entry.path === innerName) inner = await memberBytes(entry, MAXIMUM_INNER_BYTES, name);
    else if (entry.path === "signature") signature = await memberBytes(entry, MAXIMUM_SIGNATURE_BYTES, name);
    else if (/\.(?:sig|pub)$/.test(entry.path)) {
      const certificate = entry.path.slice(0, -4);
      const bytes = await memberBytes(entry, MAXIMUM_SIGNATURE_BYTES, name);
      certificates.set(certificate, { ...certificates.get(certificate), [entry.path.slice(-3)]: bytes });
      if (certificates.size > MAXIMUM_SIGNATURES) throw incomplete(name, `has more than ${MAXIMUM_SIGNATURES} signatures`);
    }
  }
  if (inner === undefined) throw incomplete(name, `has no member ${innerName}`);
  return { inner, signatures: { signature, certificates } };
}

/** @throws Problem E_BAD_CATALOGUE, E_BAD_MANIFEST */
export function parseInner(inner: Uint8Array, innerName: InnerName, name: string): readonly CatalogueEntry[] {
  return innerEntries(inner, innerName, name).map((entry) => parseCatalogueEntry(entry, name));
}

function innerEntries(inner: Uint8Array, innerName: InnerName, name: string): readonly JsonValue[] {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(inner);
    if (innerName === "packagesite.yaml") {
      return text.split("\n").flatMap((line): readonly JsonValue[] => (line === "" ? [] : [JSON.parse(line)]));
    }
    const data: JsonValue = JSON.parse(text);
    if (typeof data === "object" && data !== null && "packages" in data && Array.isArray(data.packages)) return data.packages;
  } catch (cause) {
    throw badCatalogue(name, cause);
  }
  throw badCatalogue(name);
}

/** Whether two catalogues say the same, apart from the order of their entries. */
export function sameEntries(left: readonly CatalogueEntry[], right: readonly CatalogueEntry[]): boolean {
  const rendered = (entries: readonly CatalogueEntry[]): string => entries.map(renderCatalogueEntry).toSorted().join("\n");
  return rendered(left) === rendered(right);
}

function badCatalogue(name: string, cause?: unknown): Problem {
  return new Problem({ code: "E_BAD_CATALOGUE", message: `${name} is not a catalogue of packages`, cause });
}

function incomplete(name: string, why: string): Problem {
  return new Problem({ code: "E_CATALOGUE_INCOMPLETE", message: `the catalogue ${name} ${why}` });
}
