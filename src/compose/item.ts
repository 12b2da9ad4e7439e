/**
 * Items that Garth makes itself, without a sandbox: slices, profiles, systems. Each has a derivation, whose argv names the rule and all
 * that goes into it; so the same is made once, is found again, and can be asked what it came from.
 */
import { namePart, SCHEME, type StorePath, type System } from "../base/index.ts";
import { type Derivation, derivationPath, derivationReferences, derivationText } from "../recipe/index.ts";
import { BUILTIN_LIMITS } from "../world/index.ts";
import type { ComposeContext } from "./context.ts";

export interface ItemRequest {
  /** "slice-1": the rule and its version. Raised when the same input gives something else. */
  readonly rule: string;
  /** The item's name, after the hash. */
  readonly name: string;
  /** Everything the content follows from, besides the inputs. */
  readonly arguments: readonly string[];
  readonly inputs: readonly StorePath[];
  /** Fills an empty directory on the store's file system. Files may be hard links to those of valid items. */
  readonly make: (directory: string) => void | Promise<void>;
}

function derivationOf(request: ItemRequest, system: System): Derivation {
  return {
    scheme: SCHEME,
    name: request.name,
    version: "",
    system,
    builder: { argv: [`builtin:${request.rule}`, ...request.arguments], env: {}, cwd: "/" },
    inputs: [...new Set(request.inputs)].toSorted(),
    sources: [],
    outputs: ["out"],
    buildRoot: { kind: "host", paths: [] },
    network: false,
    limits: BUILTIN_LIMITS,
  };
}

export interface MadeItem {
  readonly path: StorePath;
  /** false where it was there already. */
  readonly isNew: boolean;
}

export async function makeItem(context: ComposeContext, request: ItemRequest): Promise<MadeItem> {
  const { host, store, system } = context;
  const derivation = derivationOf(request, system);
  const drv = derivationPath(derivation);
  const known = store.realisation(drv)?.["out"];
  if (known !== undefined && store.pin([known]).length > 0) return { path: known, isNew: false };
  const scratch = host.files.makeTemporaryDirectory(`${store.temporaryDirectory}/compose-`);
  try {
    const physical = `${scratch}/${request.name}`;
    host.files.makeDirectory(physical);
    await request.make(physical);
    store.addText(namePart(drv), derivationText(derivation), derivationReferences(derivation));
    const referenceCandidates = store.closure([...request.inputs]);
    const { out } = await store.register({
      drv,
      outputs: { out: { physical, name: request.name, referenceCandidates, deriver: drv } },
    });
    if (out === undefined) throw new Error("the store registered no output");
    return { path: out.path, isNew: true };
  } finally {
    host.files.removeTree(scratch);
  }
}
