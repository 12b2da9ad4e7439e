/**
 * An installer medium: one file that is a CD, a USB stick, and a disk of a virtual machine.
 *
 *     ImagePlan ──planMedium──► parts ──digested──► garth/install ──► installer (system: installer.ts) ──planIso──► written, in one pass
 *
 * Nothing lies between: the bytes of the system's disk come from where they are, and no image of it is made.
 */
import { Problem, sha256, sha256Hasher } from "../base/index.ts";
import {
  type Content,
  type FatEntry,
  fatSizeFor,
  type FileSystemEntry,
  ISO_ESP_AT,
  type IsoPlan,
  planFat,
  planIso,
} from "../formats/index.ts";
import type { Host } from "../host/index.ts";
import type { Store } from "../store/index.ts";
import {
  type Composition,
  type EspFile,
  INITRD_ON_ESP,
  type InstallChoices,
  type InstallerWish,
  kernelRelease,
  moduleTexts,
  planFreebsdInstaller,
  planLinuxInstaller,
  type PlannedTree,
} from "../system/index.ts";
import { locateIn } from "./make.ts";
import { type Medium, mediumSums, mediumText, planMedium } from "./medium.ts";
import { derivedUuid, type ImageWish, planImage } from "./plan.ts";
import { PieceReader, WINDOW_BYTES, writeBlocks } from "./write.ts";

export interface IsoWish {
  readonly image: ImageWish;
  readonly composition: Composition;
  /** Logical path of the kernel: Linux. */
  readonly kernelFile: string;
  readonly choices: InstallChoices;
}

export interface MadeIso {
  readonly file: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly label: string;
  /** SHA-256 of garth/install: `garth.install.medium` of the kernel's parameters. */
  readonly medium: string;
  /** Of a disk that it installs onto. */
  readonly leastBytes: number;
  readonly dataBytes: number;
}

export interface IsoOptions {
  /** The archive that an initial RAM disk is. */
  readonly renderInitrd: (tree: PlannedTree) => Uint8Array;
  readonly signal?: AbortSignal;
}

const ESP_SLACK_BYTES = 1 << 20;
/** Strings of a kernel that has ISO 9660 in itself: names of functions, and of its configuration. */
const CD9660_TEXTS = ["cd9660_mount", "options\tCD9660"] as const;

/** `file` must not be there. @throws Problem E_FILE_EXISTS, those of planImage, of the installers and of writeBlocks */
export async function makeIso(
  host: Host,
  store: Pick<Store, "directory">,
  wish: IsoWish,
  file: string,
  options: IsoOptions,
): Promise<MadeIso> {
  if (host.files.exists(file))
    throw new Problem({
      code: "E_FILE_EXISTS",
      message: `making an installer medium: ${file} is there already`,
      where: file,
      hint: "name another file, or remove it",
      exit: 2,
    });
  const locate = locateIn(store);
  const plan = planImage(wish.image);
  const medium = planMedium(plan);
  const sums = mediumSums(medium, digestParts(host, medium, locate, options.signal));
  const name = wish.composition.spec.name;
  const text = mediumText({ system: wish.image.system, name, plan, medium, sums });
  const digest = sha256(text);
  const label = `GARTH_${digest.slice(0, 16).toUpperCase()}`;
  const installer = { composition: wish.composition, system: wish.image.system, medium: digest, choices: wish.choices };
  const { entries, esp } =
    wish.image.family === "linux"
      ? { entries: [], esp: linuxEsp(host, wish, installer, locate, options) }
      : planFreebsdInstaller(installer, { label, reads: kernelReads(host, wish, locate), timeSeconds: wish.image.timeSeconds });
  const iso = planVolume({ wish, medium, label, texts: { install: text, sums }, entries, esp });
  const { sha256: written } = await writeBlocks(host, iso.image, file, {
    locate,
    ...(options.signal && { signal: options.signal }),
  });
  const { leastBytes, dataBytes } = medium;
  return { file, sizeBytes: iso.image.sizeBytes, sha256: written, label, medium: digest, leastBytes, dataBytes };
}

function planVolume({
  wish,
  medium,
  label,
  texts,
  entries,
  esp,
}: {
  readonly wish: IsoWish;
  readonly medium: Medium;
  readonly label: string;
  readonly texts: { readonly install: string; readonly sums: string };
  readonly entries: readonly FileSystemEntry[];
  readonly esp: readonly EspFile[];
}): IsoPlan {
  const { timeSeconds } = wish.image;
  const uuid = (what: string): string => derivedUuid(`iso-1 ${label} ${what}`);
  const fat = esp.map(({ path, content }): FatEntry => ({ path, type: "file", content }));
  const file = (path: string, bytes: Uint8Array): FileSystemEntry => {
    const content: Content = { kind: "bytes", bytes };
    return { type: "file", path, content, mode: 0o444, uid: 0, gid: 0, timeSeconds };
  };
  const encoder = new TextEncoder();
  return planIso(
    [
      ...entries,
      file("garth/gpt", medium.gpt),
      file("garth/install", encoder.encode(texts.install)),
      file("garth/map", encoder.encode(medium.map)),
      file("garth/sums", encoder.encode(texts.sums)),
    ],
    {
      label,
      timeSeconds,
      esp: planFat({
        sizeBytes: fatSizeFor(fat, ESP_SLACK_BYTES),
        label: "GARTHBOOT",
        volumeId: Number.parseInt(sha256(`iso-1 ${label}`).slice(0, 8), 16),
        entries: fat,
        timeSeconds,
        partitionOffsetBytes: ISO_ESP_AT,
      }),
      packed: medium.parts.map(({ name, image }) => ({ path: `garth/data/${name}`, pieces: image.pieces, mode: 0o444 })),
      disk: { diskGuid: uuid("disk"), espGuid: uuid("esp"), contentGuid: uuid("content") },
    },
  );
}

function linuxEsp(
  { files }: Host,
  { composition, kernelFile }: IsoWish,
  wish: InstallerWish,
  locate: (file: string) => string,
  options: IsoOptions,
): readonly EspFile[] {
  const { kernel } = composition;
  const read = Object.values(moduleTexts(kernelRelease(kernel))).map(
    (path) => [path, files.readTextIfAny(locate(`${kernel.path}/${path}`)) ?? ""] as const,
  );
  const { sizeBytes } = files.lstat(locate(kernelFile));
  const { initrd, esp } = planLinuxInstaller(wish, { kind: "file", file: kernelFile, sizeBytes }, new Map(read));
  return [...esp, { path: INITRD_ON_ESP, content: { kind: "bytes", bytes: options.renderInitrd(initrd) } }];
}

/** Whether FreeBSD's kernel reads ISO 9660 without a module, which is not always there to be loaded. */
function kernelReads({ files }: Host, { composition }: IsoWish, locate: (file: string) => string): boolean {
  const file = locate(`${composition.kernel.path}/boot/kernel/kernel`);
  if (!files.exists(file)) return false;
  const bytes = Buffer.from(files.readFile(file));
  return CD9660_TEXTS.some((text) => bytes.includes(text));
}

function digestParts(
  host: Host,
  { parts }: Medium,
  locate: (file: string) => string,
  signal: AbortSignal | undefined,
): readonly string[] {
  const window = new Uint8Array(WINDOW_BYTES);
  return parts.map(({ image: { pieces, sizeBytes } }) => {
    const hasher = sha256Hasher();
    const reader = new PieceReader(host, pieces, locate);
    try {
      for (let at = 0; at < sizeBytes; at += window.length) {
        signal?.throwIfAborted();
        const view = window.subarray(0, Math.min(window.length, sizeBytes - at));
        reader.fill(view, at);
        hasher.update(view);
      }
    } finally {
      reader.close();
    }
    return hasher.digest("hex");
  });
}
