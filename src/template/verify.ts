/**
 * Whether a template is what this host signed. Texts are held against the manifest each time; a large file is read when it is not the
 * one that was read the last time: the same device, inode, size and times. What was read is written down beside it and signed, so that
 * whoever changes a file cannot change that, too.
 */
import { canonicalJson, type JsonValue, sha256 } from "../base/index.ts";
import { type HostSigner, openHostSigner } from "../gate/index.ts";
import { type Host, isErrno, type Stat } from "../host/index.ts";
import { diskDigest } from "../image/index.ts";
import {
  forged,
  parseSignature,
  readTexts,
  signatureText,
  templateFile,
  type TemplateFile,
  templateOf,
  type TemplateTexts,
} from "./files.ts";
import { parseManifest } from "./manifest.ts";
import type { Template } from "./types.ts";

type LargeFile = "image" | "kernel" | "initrd";

interface Read {
  readonly sha256: string;
  /** `stampOf` when it was read. */
  readonly stamp: string;
}
type Checked = Readonly<Partial<Record<LargeFile, Read>>>;

export interface VerifyContext {
  readonly host: Host;
  readonly directory: string;
  readonly keyFile: string;
}

/** undefined when there is none of that name. @throws Problem E_TEMPLATE_FORGED; the signal's reason */
export async function verifyTemplate(context: VerifyContext, name: string, signal?: AbortSignal): Promise<Template | undefined> {
  const { host, directory, keyFile } = context;
  const texts = readTexts(host, directory, name);
  if (texts === undefined) return undefined;
  const signer = await openHostSigner(host, keyFile);
  checkSignature(directory, name, texts, signer);
  const manifest = parseManifest(texts.manifest);
  if (manifest === undefined) throw forged(directory, name, "its manifest is no manifest");
  if (manifest.name !== name) throw forged(directory, name, `its manifest is that of ${manifest.name}`);
  const differs = (which: TemplateFile, why = "was changed") =>
    forged(directory, name, `${templateFile("", name, which).slice(1)} ${why}`);
  if (sha256(texts.sidecar) !== manifest.sidecarSha256) throw differs("sidecar");
  if (sha256(texts.description) !== manifest.descriptionSha256) throw differs("description");
  const template = templateOf(directory, name, texts);

  const wanted: readonly (readonly [LargeFile, string])[] = [
    ["image", manifest.image.sha256],
    ...(manifest.direct === undefined ? [] : [["kernel", manifest.direct.kernelSha256] as const]),
    ...(manifest.direct?.initrdSha256 === undefined ? [] : [["initrd", manifest.direct.initrdSha256] as const]),
  ];
  const before = readChecked(context, name, signer);
  const now: Partial<Record<LargeFile, Read>> = {};
  for (const [which, digest] of wanted) {
    const file = templateFile(directory, name, which);
    const stat = host.files.lstatIfAny(file);
    if (stat?.type !== "file") throw differs(which, "is missing");
    if (which === "image" && stat.sizeBytes !== manifest.image.sizeBytes) throw differs("image");
    const known = before[which];
    const found = known?.stamp === stampOf(stat) ? known : await readLarge(host, file, signal);
    if (found?.sha256 !== digest) throw differs(which, found === undefined ? "changed while it was read" : "was changed");
    now[which] = found;
  }
  if (canonicalJson(asJson(now)) !== canonicalJson(asJson(before))) writeChecked(context, name, signer, now);
  return template;
}

function checkSignature(directory: string, name: string, texts: TemplateTexts, signer: HostSigner): void {
  const found = parseSignature(texts.signature);
  if (found === undefined) throw forged(directory, name, `${name}.sig was changed: it is no signature`);
  if (found.publicKeySha256 !== signer.publicKeySha256)
    throw forged(
      directory,
      name,
      `it was signed with another key, ${found.publicKeySha256}, and not with ${signer.publicKeySha256}`,
    );
  if (!signer.verify(texts.manifest, found.signature))
    throw forged(directory, name, `${name}.manifest or ${name}.sig was changed`);
}

function stampOf({ device, inode, sizeBytes, mtimeMs, ctimeMs }: Stat): string {
  return [device, inode, sizeBytes, mtimeMs, ctimeMs].join(" ");
}

/** undefined when somebody wrote to it meanwhile. */
async function readLarge(host: Host, file: string, signal: AbortSignal | undefined): Promise<Read | undefined> {
  const stamp = stampOf(host.files.lstat(file));
  const digest = await diskDigest(host, file, signal);
  return stampOf(host.files.lstat(file)) === stamp ? { sha256: digest, stamp } : undefined;
}

function asJson(checked: Checked): JsonValue {
  const value: JsonValue = JSON.parse(JSON.stringify(checked));
  return value;
}

/** Signed with the template's name: the one of another template says nothing here. */
function checkedText(name: string, checked: Checked): string {
  return `${canonicalJson({ checked: asJson(checked), name })}\n`;
}

function readChecked({ host, directory }: VerifyContext, name: string, signer: HostSigner): Checked {
  const text = host.files.readTextIfAny(templateFile(directory, name, "checked")) ?? "";
  const end = text.indexOf("\n") + 1;
  const signature = parseSignature(text.slice(end));
  if (signature === undefined || !signer.verify(text.slice(0, end), signature.signature)) return {};
  const { checked }: { readonly checked: Checked } = JSON.parse(text.slice(0, end));
  return checkedText(name, checked) === text.slice(0, end) ? checked : {};
}

function writeChecked({ host, directory }: VerifyContext, name: string, signer: HostSigner, checked: Checked): void {
  const text = checkedText(name, checked);
  const beside = `${directory}/.${name}.checked-${host.processIdentity.replaceAll(/[^A-Za-z0-9]/g, "-")}`;
  try {
    host.files.writeFile(beside, text + signatureText(signer.publicKeySha256, signer.sign(text)));
    host.files.rename(beside, templateFile(directory, name, "checked"));
  } catch (error) {
    // Somebody who may only read templates reads the whole of each.
    if (!isErrno(error, "EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT")) throw error;
    if (host.files.exists(beside)) host.files.unlink(beside);
  }
}
