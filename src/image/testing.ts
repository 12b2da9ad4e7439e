/** For the tests of this room: a small system and its image, cut into its partitions. */
import { execFileSync } from "node:child_process";
import type { ComposedSystem } from "../compose/index.ts";
import { composed, fill, GUEST, type Guest, guest, guestOptions, type Workplace, workplace } from "../compose/testing.ts";
import type { Host } from "../host/index.ts";
import type { SystemOptions } from "../system/index.ts";
import { type ImageWish, inspectImage, makeImage } from "./index.ts";

export const DISK = { esp: "34M", root: "24M" } as const;

export interface SmallImage extends Disposable {
  readonly place: Workplace;
  readonly host: Host;
  readonly declared: Guest;
  readonly system: ComposedSystem;
  /** The disk, a store item, and its digest as it was told. */
  readonly file: string;
  readonly sha256: string;
  readonly scratch: string;
  /** File of a partition's own. */
  readonly part: (number: 1 | 2) => string;
  readonly composedWith: (more: Partial<SystemOptions>) => Promise<ComposedSystem>;
}

export function wishOf(system: ComposedSystem): ImageWish {
  return {
    system: system.system,
    root: system.root,
    disk: system.spec.disk,
    family: system.spec.family,
    architecture: "x86_64",
    timeSeconds: 1,
  };
}

export const tool = (...[program, ...words]: readonly [string, ...string[]]): string =>
  execFileSync(program, words, { encoding: "utf8" });
export const sha256Of = (file: string): string => tool("sha256sum", file).slice(0, 64);

export async function smallImage(): Promise<SmallImage> {
  const place = workplace();
  const { host } = place.context;
  const declared = guest(fill(place.directory(), { ...GUEST, "var/large": "x".repeat(300_000) }));
  const scratch = place.directory();
  const composedWith = (more: Partial<SystemOptions>): Promise<ComposedSystem> => composed(place, guestOptions(declared, more));
  const system = await composedWith({ disk: DISK });
  const made = await makeImage(host, place.store, "small", wishOf(system));
  const file = place.store.physical(made.path);
  const part = (number: number): string => `${scratch}/part-${number}`;
  for (const { number, firstByte, sizeBytes } of inspectImage(host, file).partitions) {
    const range = [`skip=${firstByte}`, `count=${sizeBytes}`, "bs=1M", "iflag=skip_bytes,count_bytes"];
    tool("dd", `if=${file}`, `of=${part(number)}`, ...range, "conv=sparse", "status=none");
  }
  const { sha256 } = made;
  return {
    place,
    host,
    declared,
    system,
    file,
    sha256,
    scratch,
    part,
    composedWith,
    [Symbol.dispose]: () => place[Symbol.dispose](),
  };
}
