/**
 * Where things lie in the directory of a repository:
 *
 *     data.pkg packagesite.pkg meta.conf meta freshness.json     symlinks to .garth/current/<name>
 *     All/Hashed/NAME-VERSION~HASH.pkg                           packages; a name never changes its content
 *     All/NAME-VERSION.pkg                                       symlinks for people; catalogues do not name them
 *     .garth/current -> generations/N                            switched by rename(2): all catalogue files change at once
 *     .garth/generations/N/                                      the catalogue files themselves
 *     .garth/lock                                                the publisher that is at work
 */
export const CATALOGUE_FILES = ["data.pkg", "packagesite.pkg", "meta.conf", "meta", "freshness.json"] as const;
export type CatalogueFile = (typeof CATALOGUE_FILES)[number];

export interface Layout {
  readonly root: string;
  readonly packages: string;
  readonly hashed: string;
  readonly private: string;
  readonly generations: string;
  readonly current: string;
  readonly lock: string;
}

export function layoutOf(directory: string): Layout {
  const root = directory.replace(/(?<=.)\/+$/, "");
  return {
    root,
    packages: `${root}/All`,
    hashed: `${root}/All/Hashed`,
    private: `${root}/.garth`,
    generations: `${root}/.garth/generations`,
    current: `${root}/.garth/current`,
    lock: `${root}/.garth/lock`,
  };
}

/** Relative to the root, as `path` in a catalogue. The first digits of the sum tell two packages of one name apart. */
export function hashedPath(name: string, version: string, sum: string): string {
  return `All/Hashed/${name}-${version}~${sum.slice(0, 10)}.pkg`;
}

export function plainPath(name: string, version: string): string {
  return `All/${name}-${version}.pkg`;
}
