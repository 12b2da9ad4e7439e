/**
 * MANIFEST of FreeBSD's distribution sets, as release/Makefile and bsdinstall(8) have it: a line for each set, with tabs between
 *
 *     base.txz  SHA-256  number of files  base  "Base system (MANDATORY)"  on
 */
import { isSha256, Problem } from "../base/index.ts";

/** Name of a set -> its digest. @throws Problem E_SET_MANIFEST for what is no such list */
export function parseSetManifest(text: string, where: string): ReadonlyMap<string, string> {
  const sets = new Map<string, string>();
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const [name = "", digest = ""] = line.split("\t");
    if (name === "" || name.includes("/") || !isSha256(digest) || sets.has(name)) {
      throw new Problem({
        code: "E_SET_MANIFEST",
        message: `reading the MANIFEST of FreeBSD's sets: line ${index + 1} is not a set with its SHA-256`,
        details: [line.slice(0, 200)],
        where,
        hint: "it lies beside the sets, by the name MANIFEST; get it again",
        exit: 2,
      });
    }
    sets.set(name, digest);
  }
  return sets;
}
