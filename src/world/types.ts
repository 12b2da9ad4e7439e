/** What a lock file holds. No host and no URL: the same lock works with every mirror, and with none once the files are there. */

export interface LockedPackage {
  readonly name: string;
  /** Debian's version, with epoch and revision: `1:1.2.13.dfsg-1`. */
  readonly version: string;
  /** The world's own architecture, or `all`. */
  readonly architecture: string;
  /** Of the .deb file. */
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface WorldLock {
  readonly suite: string;
  /** Debian's name: `amd64`, `arm64`. */
  readonly architecture: string;
  /** The packages that were asked for, sorted. `packages` is what they came to with everything they need. */
  readonly requested: readonly string[];
  /** Sorted by name, then architecture; no name twice for one architecture. */
  readonly packages: readonly LockedPackage[];
}
