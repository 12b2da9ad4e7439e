/**
 * Names of store items: `/frx/store/<64 lowercase hex>-<name>[-<version>]`.
 *
 * The hash is SHA-256 over the canonical JSON of a small identity record. The record says what kind of thing it is, what it
 * is called and what its content is, together with the version of this scheme; nothing about where or when it was made.
 */
import { sha256 } from "./digest.ts";
import { Problem } from "./problem.ts";

export const STORE_DIRECTORY = "/frx/store";
/** In it: a link for each item that came there by a package manager, and goes by it. */
export const PACKAGED_DIRECTORY = ".packaged";
/** Of a machine's root: a directory for each system it has been given, with a list of its store items (system/generations.ts). */
export const GENERATIONS_DIRECTORY = "var/lib/garth/system/generations";
export const SCHEME = "garth-1";

/** The logical path: the name used inside sandboxes, images and packages, wherever the physical store is. */
export type StorePath = `/frx/store/${string}`;

/** What a store path's hash is made from. */
export type Identity =
  /** One regular, non-executable file named by its bytes: a fetched tarball, an added file, a `.drv`. */
  | { readonly kind: "flat"; readonly sha256: string; readonly references: readonly StorePath[] }
  /** A tree named by its NAR: sources, worlds, and fixed outputs declared `recursive`. */
  | { readonly kind: "tree"; readonly narSha256: string; readonly references: readonly StorePath[] }
  /**
   * A build's output. `modulo` is the digest of its NAR with every reference to itself replaced by zeros, followed by the
   * offsets of those references; `references` leaves the output itself out, `self` says whether it was among them.
   */
  | { readonly kind: "output"; readonly modulo: string; readonly self: boolean; readonly references: readonly StorePath[] }
  /** Where the builder of a derivation writes before the content is known. `round` differs under `--check`. */
  | { readonly kind: "scratch"; readonly drv: StorePath; readonly output: string; readonly round: number };

const NAME = /^[A-Za-z0-9+_?=][A-Za-z0-9+._?=-]{0,190}$/;
const PATH = /^\/frx\/store\/([0-9a-f]{64})-([A-Za-z0-9+_?=][A-Za-z0-9+._?=-]{0,190})$/;

/** @throws Problem E_BAD_NAME */
export function storePath(identity: Identity, name: string): StorePath {
  if (!NAME.test(name)) {
    throw new Problem({
      code: "E_BAD_NAME",
      message: `${JSON.stringify(name)} cannot name a store item`,
      hint: "use 1 to 191 letters, digits and + - . _ ? =, not starting with a dot or a dash",
      exit: 2,
    });
  }
  return `${STORE_DIRECTORY}/${sha256(identityText(identity, name))}-${name}`;
}

/**
 * The canonical JSON of the identity with its name and scheme, written out: a command that has nothing to do makes thousands of
 * them. Names, digests and store paths hold nothing that JSON would escape; an output's name is quoted all the same.
 */
function identityText(identity: Identity, name: string): string {
  const end = `"scheme":"${SCHEME}"`;
  switch (identity.kind) {
    case "flat":
      return `{"kind":"flat","name":"${name}","references":${references(identity)},${end},"sha256":"${identity.sha256}"}`;
    case "tree":
      return `{"kind":"tree","name":"${name}","narSha256":"${identity.narSha256}","references":${references(identity)},${end}}`;
    case "output": {
      const { modulo, self } = identity;
      return `{"kind":"output","modulo":"${modulo}","name":"${name}","references":${references(identity)},${end},"self":${self}}`;
    }
    case "scratch": {
      const { drv, output, round } = identity;
      return `{"drv":"${drv}","kind":"scratch","name":"${name}","output":${JSON.stringify(output)},"round":${round},${end}}`;
    }
  }
}

function references({ references }: { readonly references: readonly StorePath[] }): string {
  return references.length === 0 ? "[]" : `["${references.toSorted().join('","')}"]`;
}

export function isStorePath(text: string): text is StorePath {
  return PATH.test(text);
}

/** @throws Problem E_BAD_STORE_PATH */
export function parseStorePath(text: string): StorePath {
  if (isStorePath(text)) return text;
  throw new Problem({
    code: "E_BAD_STORE_PATH",
    message: `${JSON.stringify(text)} is not a store path`,
    hint: `a store path looks like ${STORE_DIRECTORY}/<64 hex digits>-<name>`,
    exit: 2,
  });
}

/** `<64 hex>-<name>`, the last component. */
export function baseName(path: StorePath): string {
  return path.slice(STORE_DIRECTORY.length + 1);
}

export function hashPart(path: StorePath): string {
  return path.slice(STORE_DIRECTORY.length + 1, STORE_DIRECTORY.length + 65);
}

export function namePart(path: StorePath): string {
  return path.slice(STORE_DIRECTORY.length + 66);
}
