/**
 * Generations: which systems a machine has been given, which one its loader starts, and what it goes back to. Pure.
 *
 *     add ──► on trial ──next start──► ready ──confirm──► current          rollback: what was current before
 *                 └─────────────────── not ready ──the start after it──► failed; the machine runs what is current
 *
 * A generation is a directory; pointers are links; what the loader reads is the truth, and pointers are put right by it:
 *
 *     /var/lib/garth/system/generations/N/closure    -> /frx/store/...-system-...
 *                                        /items      names of its store items, one a line: what must stay for it
 *                                        /made       key=value: by=image|install|switch, and what that has to say
 *                                        /state      trial, good or failed
 *                          /current    -> generations/N     started from now on
 *                          /rollback   -> generations/M     was current before
 *                          /next       -> generations/K     started once, the next time
 *     /frx/var/garth/roots/current-system, rollback-system, system-N -> /frx/store/...
 *
 * What the loader reads is changed by one rename at a time, when everything that it names is on the disk:
 *
 *     Linux, on the ESP   loader/entries/garth-current.conf     the first that systemd-boot finds
 *                                        garth-next+1.conf      before it, with one try left (boot counting); with none behind all others
 *                                        garth-N.conf           for whoever stands at the menu
 *                         garth/<16 digits of the system>/kernel, initrd
 *     FreeBSD, in /boot   loader.conf                           settings of the current one, with its kernel and number
 *                         nextboot.conf                         those of the next one: the loader marks it as used before it goes on
 *                         garth/N -> /frx/store/...-system-.../boot
 *
 * The program `generations` of a system item does all of it in the machine (generations-program.ts), with its family's part for the loader
 * (generations-linux.ts, generations-freebsd.ts). An image has generation 1, made here, as that program would have made it.
 *
 * Limits: the loader itself (on the ESP, and FreeBSD's /boot/lua and its like) stays the one of the image or the installation.
 */
import { namePart, type StorePath } from "../base/index.ts";

/** In the root of a machine, without a slash in front. */
export const GENERATIONS = "var/lib/garth/system";
export const GENERATION_ROOTS = "frx/var/garth/roots";
/** Path in the system item. */
export const GENERATIONS_PROGRAM = "generations";

/** What is to be in the root of an image for its only generation. */
export type GenerationEntry =
  | { readonly path: string; readonly kind: "directory" }
  | { readonly path: string; readonly kind: "link"; readonly target: string }
  | { readonly path: string; readonly kind: "text"; readonly text: string };

/** `made`: how the machine came by it, in the order given. */
export function firstGeneration(
  system: StorePath,
  items: readonly StorePath[],
  made: Readonly<Record<string, string>>,
): readonly GenerationEntry[] {
  const directory = `${GENERATIONS}/generations/1`;
  const names = items.map((item) => item.slice("/frx/store/".length)).toSorted();
  return [
    { path: GENERATIONS, kind: "directory" },
    { path: `${GENERATIONS}/generations`, kind: "directory" },
    { path: directory, kind: "directory" },
    { path: `${directory}/closure`, kind: "link", target: system },
    { path: `${directory}/items`, kind: "text", text: names.map((name) => `${name}\n`).join("") },
    {
      path: `${directory}/made`,
      kind: "text",
      text: Object.entries(made)
        .map(([key, value]) => `${key}=${value}\n`)
        .join(""),
    },
    { path: `${directory}/state`, kind: "text", text: "good\n" },
    { path: `${GENERATIONS}/current`, kind: "link", target: "generations/1" },
    { path: "frx/var/garth", kind: "directory" },
    { path: GENERATION_ROOTS, kind: "directory" },
    { path: `${GENERATION_ROOTS}/current-system`, kind: "link", target: system },
    { path: `${GENERATION_ROOTS}/system-1`, kind: "link", target: system },
  ];
}

/** "web" of /frx/store/...-system-web: how the loader's menu calls it. */
export function titleOf(system: StorePath): string {
  return namePart(system).replace(/^system-/, "");
}

/** Directory on the ESP, below garth/, of a system's kernel and initial RAM disk. */
export function bootDirectory(system: StorePath): string {
  return system.slice("/frx/store/".length, "/frx/store/".length + 16);
}

/** `sort-key` of the Boot Loader Specification: what has the smaller one comes first, of one that is the same the higher version. */
export const SORT_KEYS = { next: "garth-0", current: "garth-1", menu: "garth-2" } as const;

export interface LinuxBootEntry {
  readonly system: StorePath;
  readonly generation: number;
  readonly sortKey: string;
  /** Seconds within which it has to be ready, where it is on trial. */
  readonly trialSeconds?: number;
  /** Kernel parameters of the system. */
  readonly commandLine: readonly string[];
}

/** An entry of the Boot Loader Specification, type 1. */
export function linuxBootEntry({ system, generation, sortKey, trialSeconds, commandLine }: LinuxBootEntry): string {
  const name = bootDirectory(system);
  const trial = trialSeconds === undefined ? [] : [`garth.trial=${trialSeconds}`];
  return [
    `title ${titleOf(system)} (generation ${generation})`,
    `sort-key ${sortKey}`,
    `version ${generation}`,
    `linux /garth/${name}/kernel`,
    `initrd /garth/${name}/initrd`,
    `options ${[`garth.system=${system}`, `garth.generation=${generation}`, ...trial, ...commandLine].join(" ")}`,
    "",
  ].join("\n");
}

/** loader.conf(5) behind the lines of the system's own: what a generation adds to them. */
export function freebsdBootLines(system: StorePath, generation: number): string {
  return [`kernel="garth/${generation}/kernel"`, `garth.system="${system}"`, `garth.generation="${generation}"`, ""].join("\n");
}
