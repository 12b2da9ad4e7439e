/** Slices as items: hard links to the files of their world, and a record of what was kept and what was left out. */
import { canonicalJson, hashPart, namePart, Problem, type StorePath } from "../base/index.ts";
import { ABOUT, ATTRIBUTES_FILE, renderAttributes, selectEntries, type SliceDeclaration } from "../world/index.ts";
import type { ComposeContext } from "./context.ts";
import { linkOrCopy } from "./copy.ts";
import { makeItem } from "./item.ts";
import type { Listings } from "./listing.ts";

const RULE = "slice-1";
export const SLICE_RECORD = `${ABOUT}/slice.json`;

/** @throws Problem E_EMPTY_SLICE */
export async function makeSlice(
  context: ComposeContext,
  listings: Listings,
  slice: Pick<SliceDeclaration, "name" | "role" | "keep" | "prune">,
  world: StorePath,
): Promise<StorePath> {
  const { name, role, keep, prune } = slice;
  // Half of the world's hash tells which one it was, and is no reference: an image of the slice does not need the world.
  const record = canonicalJson({
    schema: "garth-slice-1",
    role,
    keep,
    prune,
    world: `${namePart(world)} ${hashPart(world).slice(0, 32)}`,
  });
  const { path } = await makeItem(context, {
    rule: RULE,
    name,
    arguments: [record],
    inputs: [world],
    make: (directory) => {
      const { listing, attributes } = listings.of(world);
      const entries = selectEntries(listing, { keep, prune: [...prune, ABOUT] });
      if (entries.length === 0) throw emptySlice(slice, world);
      const { files } = context.host;
      const from = context.store.physical(world);
      for (const entry of entries) {
        const to = `${directory}/${entry.path}`;
        if (entry.type === "directory") files.makeDirectory(to);
        else if (entry.type === "symlink") files.symlink(entry.target ?? "", to);
        else linkOrCopy(context.host, `${from}/${entry.path}`, to);
      }
      files.makeDirectory(`${directory}/${ABOUT}`);
      files.writeFile(`${directory}/${ATTRIBUTES_FILE}`, renderAttributes(attributes, entries));
      files.writeFile(`${directory}/${SLICE_RECORD}`, `${record}\n`);
    },
  });
  return path;
}

function emptySlice({ name, keep }: Pick<SliceDeclaration, "name" | "keep">, world: StorePath): Problem {
  return new Problem({
    code: "E_EMPTY_SLICE",
    message: `the slice ${name} keeps nothing of its world`,
    details: keep.map((pattern) => `keep ${pattern}`),
    where: world,
    hint: "paths are relative to the root of the world; `garth store ls` shows the world, `ls` what is in it",
    exit: 2,
  });
}
