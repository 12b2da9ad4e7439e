/**
 * A template put in its place: written aside in a directory of its own, then renamed file by file, the manifest last. Whoever looks
 * before that sees no template of the name, or the one before until its manifest is taken away; a mixture of two is never one.
 *
 * A directory that a killed process left is removed by the next that makes a template: its name says whose it is.
 */
import { Problem, sha256 } from "../base/index.ts";
import { openHostSigner } from "../gate/index.ts";
import type { Host } from "../host/index.ts";
import { signatureText, TEMPLATE_FILES, type TemplateFile, templateFile } from "./files.ts";
import { manifestText } from "./manifest.ts";
import { renderSidecar } from "./sidecar.ts";
import type { Sidecar, Template, TemplateManifest, TemplateOrigin } from "./types.ts";
import { verifyTemplate, type VerifyContext } from "./verify.ts";

const MAKING = ".making-";

/** Calls `work` with a directory on the same file system, which is gone afterwards. */
export async function aside<Result>(
  { host, directory }: VerifyContext,
  work: (aside: string) => Promise<Result>,
): Promise<Result> {
  host.files.makeDirectory(directory, { parents: true });
  sweep(host, directory);
  const own = host.files.makeTemporaryDirectory(`${directory}/${MAKING}${host.processIdentity}-`);
  try {
    return await work(own);
  } finally {
    host.files.removeTree(own);
  }
}

function sweep(host: Host, directory: string): void {
  for (const bytes of host.files.list(directory)) {
    const name = new TextDecoder().decode(bytes);
    const owner = name.slice(MAKING.length, name.lastIndexOf("-"));
    if (name.startsWith(MAKING) && !host.isAlive(owner)) host.files.removeTree(`${directory}/${name}`);
  }
}

export interface PlaceRequest {
  readonly name: string;
  /** Files in the directory aside, which are moved. */
  readonly image: { readonly file: string; readonly sha256: string };
  readonly direct?: {
    readonly kernel: { readonly file: string; readonly sha256: string };
    readonly initrd: { readonly file: string; readonly sha256: string } | undefined;
    readonly commandLine: string;
  };
  readonly sidecar: Sidecar;
  readonly description: string;
  readonly origin: TemplateOrigin;
  /** One of the same name goes. */
  readonly replace: boolean;
}

/** The text that would be signed. `sizeBytes` is of the image. */
export function manifestFor(request: Omit<PlaceRequest, "replace">, sizeBytes: number): TemplateManifest {
  const { name, image, direct, origin } = request;
  return {
    schema: 1,
    name,
    image: { sha256: image.sha256, sizeBytes },
    sidecarSha256: sha256(renderSidecar(request.sidecar)),
    descriptionSha256: sha256(descriptionText(request.description)),
    ...(direct && {
      direct: {
        kernelSha256: direct.kernel.sha256,
        ...(direct.initrd && { initrdSha256: direct.initrd.sha256 }),
        commandLine: direct.commandLine,
      },
    }),
    origin,
  };
}

function descriptionText(description: string): string {
  return `${description.trimEnd()}\n`;
}

/** @throws Problem E_TEMPLATE_EXISTS (exit 2) */
export function refuseTaken({ host, directory }: VerifyContext, name: string, replace: boolean): void {
  if (replace || !host.files.exists(templateFile(directory, name, "manifest"))) return;
  throw new Problem({
    code: "E_TEMPLATE_EXISTS",
    message: `there is a template ${name} already, and it is another one`,
    where: templateFile(directory, name, "manifest"),
    hint: "--replace takes its place, once no pool has machines of it; or name another",
    exit: 2,
  });
}

/** @throws Problem E_TEMPLATE_EXISTS (exit 2), E_KEY_PERMISSIONS, E_KEY_TYPE, E_BAD_KEY (exit 2) */
export async function place(context: VerifyContext, own: string, request: PlaceRequest): Promise<Template> {
  const { host, directory, keyFile } = context;
  const { files } = host;
  const { name, image, direct, sidecar } = request;
  const signer = await openHostSigner(host, keyFile);
  const manifest = manifestText(manifestFor(request, files.lstat(image.file).sizeBytes));
  const texts = {
    manifest,
    signature: signatureText(signer.publicKeySha256, signer.sign(manifest)),
    sidecar: renderSidecar(sidecar),
    description: descriptionText(request.description),
  } as const;
  const written = new Map<TemplateFile, string>([["image", image.file]]);
  if (direct !== undefined) written.set("kernel", direct.kernel.file);
  if (direct?.initrd !== undefined) written.set("initrd", direct.initrd.file);
  for (const which of ["sidecar", "description", "signature", "manifest"] as const) {
    const file = `${own}/new.${which}`;
    files.writeFile(file, texts[which]);
    written.set(which, file);
  }
  for (const file of written.values()) {
    files.chmod(file, 0o444);
    files.sync(file);
  }
  refuseTaken(context, name, request.replace);
  removeTemplate(context, name);
  // The manifest was put in last.
  for (const [which, file] of written) files.rename(file, templateFile(directory, name, which));
  files.sync(directory);
  const template = await verifyTemplate(context, name);
  if (template === undefined) throw new Error(`the template ${name} is gone the moment it was made`);
  return template;
}

/** false: there is none. What a process that was killed left of the name goes, too. */
export function removeTemplate({ host, directory }: VerifyContext, name: string): boolean {
  const found = host.files.exists(templateFile(directory, name, "manifest"));
  for (const which of TEMPLATE_FILES) {
    const file = templateFile(directory, name, which);
    if (host.files.lstatIfAny(file) !== undefined) host.files.unlink(file);
  }
  return found;
}
