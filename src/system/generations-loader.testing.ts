/** For the tests of generations on Linux: a loader, of which systemd-boot's rules are all there is. */

export interface LoaderEntry {
  readonly file: string;
  readonly sortKey: string;
  readonly version: string;
  readonly linux: string;
  readonly initrd: string;
  readonly options: string;
  /** undefined: not counted. */
  readonly triesLeft: number | undefined;
  readonly text: string;
}

export interface BootedEntry extends LoaderEntry {
  readonly system: string;
  readonly generation: number;
  readonly trialSeconds: number | undefined;
}

/** Name of a file -> its text. */
export function parseEntries(files: ReadonlyMap<string, string>): readonly LoaderEntry[] {
  return [...files].map(([file, text]) => {
    const lines = text.split("\n");
    const field = (key: string): string => lines.find((line) => line.startsWith(`${key} `))?.slice(key.length + 1) ?? "";
    const tries = /\+(\d+)(?:-\d+)?\.conf$/.exec(file)?.[1];
    return {
      file,
      sortKey: field("sort-key"),
      version: field("version"),
      linux: field("linux"),
      initrd: field("initrd"),
      options: field("options"),
      triesLeft: tries === undefined ? undefined : Number(tries),
      text,
    };
  });
}

/** systemd-boot(7) and its order: no tries left is last; then the sort key, ascending; then the version, descending; then the name, descending. */
export function chooseEntry(entries: readonly LoaderEntry[]): BootedEntry {
  const order = (one: LoaderEntry, other: LoaderEntry): number =>
    Number(one.triesLeft === 0) - Number(other.triesLeft === 0) ||
    Number(one.sortKey > other.sortKey) - Number(one.sortKey < other.sortKey) ||
    Number(other.version) - Number(one.version) ||
    Number(other.file > one.file) - Number(other.file < one.file);
  const [first] = entries.toSorted(order);
  if (first === undefined) throw new Error("the loader finds nothing to start");
  const option = (name: string): string | undefined => new RegExp(`(?:^| )${name}=(\\S*)`).exec(first.options)?.[1];
  const trial = option("garth\\.trial");
  return {
    ...first,
    system: option("garth\\.system") ?? "",
    generation: Number(option("garth\\.generation")),
    trialSeconds: trial === undefined ? undefined : Number(trial),
  };
}

/** The loader's config_entry_bump_counters: NAME+LEFT[-DONE].conf. */
export function triedName(file: string): string {
  const [, name = "", left = "0", done = "0"] = /^(.*)\+(\d+)(?:-(\d+))?\.conf$/.exec(file) ?? [];
  return `${name}+${Math.max(0, Number(left) - 1)}-${Number(done) + 1}.conf`;
}
