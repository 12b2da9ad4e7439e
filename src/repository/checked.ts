/** The bytes of one package of a trusted catalogue, held against size and sum on the way. */
import { Problem } from "../base/index.ts";
import type { CatalogueEntry } from "../pkg/index.ts";
import type { RepositorySource } from "./source.ts";
import { sumCheck } from "./sums.ts";

/** Whoever reads to the end has had exactly what was signed. @throws Problem E_PACKAGE_MISSING, E_PACKAGE_SIZE, E_PACKAGE_SUM */
export async function* checkedPackage(source: RepositorySource, entry: CatalogueEntry): AsyncGenerator<Uint8Array> {
  const chunks = await source.stream(entry.path, entry.pkgsize + 1);
  if (chunks === undefined) throw packageFault(source, entry, "E_PACKAGE_MISSING", "is not there, though the catalogue names it");
  const check = sumCheck(entry.sum, `${source.name}/${entry.path}`);
  let sizeBytes = 0;
  for await (const chunk of chunks) {
    sizeBytes += chunk.length;
    if (sizeBytes > entry.pkgsize)
      throw packageFault(source, entry, "E_PACKAGE_SIZE", `is longer than the ${entry.pkgsize} bytes of the catalogue`);
    check.update(chunk);
    yield chunk;
  }
  if (sizeBytes !== entry.pkgsize)
    throw packageFault(source, entry, "E_PACKAGE_SIZE", `has ${sizeBytes} bytes instead of ${entry.pkgsize}`);
  if (!check.matches()) throw packageFault(source, entry, "E_PACKAGE_SUM", "does not have the sum of the catalogue");
}

export function packageFault(source: RepositorySource, entry: CatalogueEntry, code: `E_${string}`, why: string): Problem {
  const message = `${source.name}/${entry.path} ${why}`;
  return new Problem({ code, message, hint: "it was changed or damaged after the catalogue was signed" });
}

/** @throws Problem E_PACKAGE_SUM */
export function expectNamed(
  source: RepositorySource,
  entry: CatalogueEntry,
  { name, version }: { readonly name: string; readonly version: string },
): void {
  if (name === entry.manifest.name && version === entry.manifest.version) return;
  throw packageFault(source, entry, "E_PACKAGE_SUM", `is ${name}-${version}, not what the catalogue says`);
}
