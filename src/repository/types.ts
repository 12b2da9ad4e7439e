/** Publishing and reading a signed repository for pkg(8). */
import type { CatalogueEntry } from "../pkg/index.ts";

export interface SigningKey {
  readonly type: "rsa";
  /** PEM, PKCS#8 or PKCS#1. */
  readonly privatePem: string;
  readonly publicPem: string;
}

export interface PublishRequest {
  /** Directory of the repository. Readers see `data.pkg`, `packagesite.pkg`, `meta.conf`, `meta`, `All/`. */
  readonly directory: string;
  /** Packages to add: absolute paths of .pkg files. */
  readonly add: readonly string[];
  readonly remove?: readonly { readonly name: string; readonly version: string }[];
  readonly keyFile: string;
  /** Milliseconds since 1970; goes into nothing that is compared, only into the freshness statement and file times. */
  readonly nowMs: number;
  /** Take a package in place of another of the same name and version with other content. Default: refuse (E_LINT). */
  readonly replace?: boolean;
}

export interface PublishReport {
  readonly directory: string;
  readonly abi: string;
  readonly packageCount: number;
  readonly added: readonly string[];
  readonly unchanged: readonly string[];
  readonly removed: readonly string[];
  readonly catalogueSha256: string;
  readonly signatureType: "pubkey+fingerprints";
  readonly publicKeySha256: string;
  /** false when the published catalogue was already the same, byte for byte. */
  readonly changed: boolean;
  readonly warnings: readonly Lint[];
}

export interface PruneReport extends PublishReport {
  /** Files no catalogue names any more, removed after their grace. */
  readonly deleted: readonly string[];
  readonly freedBytes: number;
}

/** A catalogue somebody published, signature, sums and age checked. */
export interface VerifiedCatalogue {
  readonly entries: readonly CatalogueEntry[];
  readonly catalogueSha256: string;
  readonly signatureMode: "pubkey" | "fingerprints";
}

export type Trust =
  | { readonly mode: "pubkey"; readonly publicPem: string }
  | { readonly mode: "fingerprints"; readonly trusted: readonly string[]; readonly revoked: readonly string[] };

export type Lint = {
  readonly severity: "error" | "warning";
  readonly package: string;
  readonly field: string;
  readonly message: string;
};
