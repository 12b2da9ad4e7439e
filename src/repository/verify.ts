/**
 * Reading somebody's repository, in the order in which trust grows: signature of the catalogue, then its age against the newest
 * one seen, then what it says; and for each package its size and sum before a byte of it is unpacked.
 */
import { Problem, sha256, sha256Hasher } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import type { CatalogueEntry } from "../pkg/index.ts";
import { parseUcl, type UclObject } from "../formats/index.ts";
import { oneChunk } from "./archive.ts";
import { checkedPackage, expectNamed, packageFault } from "./checked.ts";
import { type InnerName, openCatalogue, parseInner, sameEntries } from "./catalogue.ts";
import {
  type FreshnessOptions,
  type FreshnessRecord,
  judgeFreshness,
  MAXIMUM_STATEMENT_BYTES,
  verifyFreshness,
} from "./freshness.ts";
import { key, lineOf, lintCatalogue, lintEntry } from "./plan.ts";
import { inspectStream } from "./read-package.ts";
import { otherModeFault, verifyCatalogue, type Verified } from "./signature.ts";
import type { RepositorySource } from "./source.ts";
import type { Lint, Trust, VerifiedCatalogue } from "./types.ts";

const MAXIMUM_META_BYTES = 1 << 20;
const MAXIMUM_ARCHIVE_BYTES = 1 << 30;

export interface ReadOptions extends FreshnessOptions {
  readonly trust: Trust;
  /** What was kept from the last read of this repository. */
  readonly record?: FreshnessRecord;
}

export interface ReadResult {
  readonly catalogue: VerifiedCatalogue;
  /** To keep until the next read. */
  readonly record: FreshnessRecord;
}

/**
 * The catalogue, once it is trusted: `data`, or where a repository has only that, `packagesite`.
 *
 * @throws Problem E_SIGNATURE_*, E_KEY_*, E_CATALOGUE_*, E_ARCHIVE_*, E_REPOSITORY_LIMIT, E_FETCH_FAILED, E_BAD_UCL
 */
export async function readRepository(host: Host, source: RepositorySource, options: ReadOptions): Promise<ReadResult> {
  const names = archiveNames(await readMeta(source));
  for (const archive of names) {
    // A second time when something was published between the reading of catalogue and statement.
    for (const attempt of ["first", "last"] as const) {
      const signed = await readArchive(host, source, archive, options.trust);
      if (signed === undefined) break;
      const { inner, innerName, name, verified } = signed;
      const catalogueSha256 = sha256(inner);
      // The statement is about `data`; a reader that was only given the other archive has to do without.
      const text = innerName === "data" ? await source.read("freshness.json", MAXIMUM_STATEMENT_BYTES) : undefined;
      const statement = text === undefined ? undefined : verifyFreshness(Buffer.from(text).toString(), verified.key, source.name);
      if (statement !== undefined && statement.catalogueSha256 !== catalogueSha256 && attempt === "first") continue;
      const record = judgeFreshness(options.record, catalogueSha256, statement, options, source.name);
      const entries = parseInner(inner, innerName, name);
      return { catalogue: { entries, catalogueSha256, signatureMode: verified.mode }, record };
    }
  }
  throw new Problem({
    code: "E_CATALOGUE_MISSING",
    message: `${source.name} holds no catalogue`,
    details: names.flatMap(({ files }) => files).map((file) => `no ${file}`),
    hint: "is this the root of a repository?",
  });
}

interface ArchiveNames {
  readonly innerName: InnerName;
  /** In the order clients ask for them. */
  readonly files: readonly string[];
}

interface SignedArchive {
  readonly innerName: InnerName;
  readonly inner: Uint8Array;
  readonly name: string;
  readonly verified: Verified;
  /** What clients that trust in the other way would refuse. */
  readonly otherFault: string | undefined;
}

/** undefined when the repository does not have it. */
async function readArchive(
  host: Host,
  source: RepositorySource,
  { innerName, files }: ArchiveNames,
  trust: Trust,
): Promise<SignedArchive | undefined> {
  for (const file of files) {
    const bytes = await source.read(file, MAXIMUM_ARCHIVE_BYTES);
    if (bytes === undefined) continue;
    const name = `${source.name}/${file}`;
    const { inner, signatures } = await openCatalogue(host, oneChunk(bytes), innerName, name);
    const verified = verifyCatalogue(inner, signatures, trust, name);
    return { innerName, inner, name, verified, otherFault: otherModeFault(inner, signatures, verified) };
  }
  return undefined;
}

export interface RepositoryCheck {
  readonly catalogueSha256: string;
  readonly packageCount: number;
  readonly lint: readonly Lint[];
  /** Packages that are missing or not what the catalogue says. */
  readonly bad: readonly { readonly package: string; readonly problem: Problem }[];
  readonly record: FreshnessRecord;
}

/** `repo verify`: the catalogue, and every package it names, each in full. */
export async function verifyRepository(host: Host, source: RepositorySource, options: ReadOptions): Promise<RepositoryCheck> {
  const { catalogue, record } = await readRepository(host, source, options);
  const lint: Lint[] = catalogue.entries.flatMap((entry) => lintEntry(entry));
  lint.push(...lintCatalogue(catalogue.entries.map(lineOf)), ...(await lintMeta(source)));
  const newer = await readArchive(host, source, { innerName: "data", files: ["data.pkg"] }, options.trust);
  const older = await readArchive(host, source, { innerName: "packagesite.yaml", files: ["packagesite.pkg"] }, options.trust);
  for (const [field, archive] of [
    ["data", newer],
    ["packagesite", older],
  ] as const) {
    if (archive?.otherFault === undefined) continue;
    lint.push({ severity: "error", package: "*", field, message: archive.otherFault });
  }
  if (older === undefined) {
    const message = "is not there: old clients, which know no data.pkg, find nothing";
    lint.push({ severity: "warning", package: "*", field: "packagesite", message });
  } else if (!sameEntries(parseInner(older.inner, older.innerName, older.name), catalogue.entries)) {
    lint.push({
      severity: "error",
      package: "*",
      field: "packagesite",
      message: "does not say the same as data: old clients see another repository",
    });
  }
  const bad: { readonly package: string; readonly problem: Problem }[] = [];
  for (const entry of catalogue.entries) {
    try {
      await verifyPackage(host, source, entry);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      bad.push({ package: key(entry.manifest), problem });
    }
  }
  const { catalogueSha256 } = catalogue;
  return { catalogueSha256, packageCount: catalogue.entries.length, lint, bad, record };
}

/**
 * One package of a trusted catalogue: size and sum first, over the bytes as they lie, and only then what is inside.
 *
 * @throws Problem E_PACKAGE_MISSING, E_PACKAGE_SIZE, E_PACKAGE_SUM, and what `inspectPackage` throws
 */
export async function verifyPackage(host: Host, source: RepositorySource, entry: CatalogueEntry): Promise<void> {
  const hash = sha256Hasher();
  for await (const chunk of checkedPackage(source, entry)) hash.update(chunk);
  const second = await source.stream(entry.path, entry.pkgsize);
  if (second === undefined) throw packageFault(source, entry, "E_PACKAGE_MISSING", "went away while it was checked");
  const { manifest, sha256: again } = await inspectStream(host, second, `${source.name}/${entry.path}`);
  if (again !== hash.digest("hex")) throw packageFault(source, entry, "E_PACKAGE_SUM", "was another one when it was read again");
  expectNamed(source, entry, manifest);
}

/** Clients ask for it first, and without a version they go no further. */
async function lintMeta(source: RepositorySource): Promise<readonly Lint[]> {
  const bytes = await source.read("meta.conf", MAXIMUM_META_BYTES);
  if (bytes === undefined) return [];
  const meta = parseUcl(Buffer.from(bytes).toString(), `${source.name}/meta.conf`);
  if (meta["version"] !== undefined) return [];
  return [{ severity: "error", package: "*", field: "meta.conf", message: "says no version: clients refuse it" }];
}

async function readMeta(source: RepositorySource): Promise<UclObject> {
  const bytes = (await source.read("meta.conf", MAXIMUM_META_BYTES)) ?? (await source.read("meta", MAXIMUM_META_BYTES));
  if (bytes === undefined) return {};
  const meta = parseUcl(Buffer.from(bytes).toString(), `${source.name}/meta.conf`);
  const version = meta["version"] ?? 2;
  if (version !== 1 && version !== 2) {
    throw new Problem({
      code: "E_META_VERSION",
      message: `${source.name} is of version ${JSON.stringify(version)}, which is not known`,
    });
  }
  return meta;
}

/** meta.conf is not signed: from it come only names of files, which are then verified like any other. */
function archiveNames(meta: UclObject): readonly ArchiveNames[] {
  const format =
    typeof meta["packing_format"] === "string" && /^[a-z0-9]{2,8}$/.test(meta["packing_format"])
      ? meta["packing_format"]
      : "tzst";
  return [
    { innerName: "data", files: ["data.pkg", `data.${format}`] },
    { innerName: "packagesite.yaml", files: ["packagesite.pkg", `packagesite.${format}`] },
  ];
}
