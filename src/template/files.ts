/**
 * A template as files of one directory, and read from them. That its manifest is there makes a template of them: it comes last and
 * goes first.
 *
 *     NAME.manifest         what is signed (manifest.ts)
 *     NAME.sig              `ed25519 SHA-256-OF-THE-PUBLIC-KEY BASE64`: of the bytes of the manifest
 *     NAME.img              the disk, raw, read-only
 *     NAME.conf             the sidecar
 *     NAME.img.DESCRIPTION  for people
 *     NAME.kernel, .initrd  where the hypervisor loads the kernel
 *     NAME.checked          which files were read the last time, and are the same as long as nobody touches them (verify.ts)
 */
import { Problem, sha256 } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { parseManifest } from "./manifest.ts";
import { parseSidecar } from "./sidecar.ts";
import type { Template } from "./types.ts";

const SUFFIXES = {
  manifest: ".manifest",
  signature: ".sig",
  image: ".img",
  sidecar: ".conf",
  description: ".img.DESCRIPTION",
  kernel: ".kernel",
  initrd: ".initrd",
  checked: ".checked",
} as const;
export type TemplateFile = keyof typeof SUFFIXES;
/** In the order in which they are taken away. */
export const TEMPLATE_FILES = [
  "manifest",
  "signature",
  "image",
  "sidecar",
  "description",
  "kernel",
  "initrd",
  "checked",
] as const satisfies readonly TemplateFile[];

export function templateFile(directory: string, name: string, which: TemplateFile): string {
  return `${directory}/${name}${SUFFIXES[which]}`;
}

/** Sorted. */
export function templateNames(host: Host, directory: string): readonly string[] {
  if (!host.files.exists(directory)) return [];
  return host.files
    .list(directory)
    .map((name) => new TextDecoder().decode(name))
    .flatMap((name) =>
      name.endsWith(SUFFIXES.manifest) && !name.startsWith(".") ? [name.slice(0, -SUFFIXES.manifest.length)] : [],
    )
    .toSorted();
}

export function forged(directory: string, name: string, why: string): Problem {
  return new Problem({
    code: "E_TEMPLATE_FORGED",
    message: `the template ${name} is not what this host signed: ${why}`,
    hint: `make it again with --replace, or remove it: garth template rm ${name}`,
    where: templateFile(directory, name, "manifest"),
  });
}

export interface TemplateTexts {
  readonly manifest: string;
  readonly signature: string;
  readonly sidecar: string;
  readonly description: string;
}

/** undefined when there is no template of that name. @throws Problem E_TEMPLATE_FORGED when one of its files is missing */
export function readTexts(host: Host, directory: string, name: string): TemplateTexts | undefined {
  const read = (which: TemplateFile): string | undefined => host.files.readTextIfAny(templateFile(directory, name, which));
  const manifest = read("manifest");
  if (manifest === undefined) return undefined;
  const needed = (which: TemplateFile): string => {
    const text = read(which);
    if (text === undefined) throw forged(directory, name, `${templateFile("", name, which).slice(1)} is missing`);
    return text;
  };
  return { manifest, signature: needed("signature"), sidecar: needed("sidecar"), description: needed("description") };
}

const SIGNATURE = /^ed25519 ([0-9a-f]{64}) ([A-Za-z0-9+/]{86}==)\n$/;

export function signatureText(publicKeySha256: string, signature: Uint8Array): string {
  return `ed25519 ${publicKeySha256} ${Buffer.from(signature).toString("base64")}\n`;
}

export function parseSignature(text: string): { readonly publicKeySha256: string; readonly signature: Uint8Array } | undefined {
  const [, publicKeySha256, base64] = SIGNATURE.exec(text) ?? [];
  if (publicKeySha256 === undefined || base64 === undefined) return undefined;
  return { publicKeySha256, signature: Buffer.from(base64, "base64") };
}

/** What the files say; whether it is true is for `verify`. @throws Problem E_TEMPLATE_FORGED, E_BAD_SIDECAR */
export function templateOf(directory: string, name: string, texts: TemplateTexts): Template {
  const manifest = parseManifest(texts.manifest);
  if (manifest === undefined) throw forged(directory, name, "its manifest is no manifest");
  const signature = parseSignature(texts.signature);
  if (signature === undefined) throw forged(directory, name, "its signature is no signature");
  const { direct } = manifest;
  return {
    name,
    digest: sha256(texts.manifest),
    manifest,
    sidecar: parseSidecar(texts.sidecar, templateFile(directory, name, "sidecar")),
    description: texts.description.trimEnd(),
    imageFile: templateFile(directory, name, "image"),
    direct: direct && {
      kernel: templateFile(directory, name, "kernel"),
      initrd: direct.initrdSha256 === undefined ? undefined : templateFile(directory, name, "initrd"),
      commandLine: direct.commandLine,
    },
    publicKeySha256: signature.publicKeySha256,
  };
}
