/**
 * A template of a disk that somebody else made: a cloud image in a file or at a URL.
 *
 *     source ─► its checksum ─► raw ─► boots as it is said? ─► seed files put in ─► in its place
 *
 * Nothing of the source is used before its checksum holds. A qcow2 that names other files is refused: whoever opens the disk would open
 * those, too.
 */
import { isSha256, Problem } from "../base/index.ts";
import { readQcow2Header } from "../formats/index.ts";
import { convertImage, type DiskKind, diskDigest, diskKind, makeRaw } from "../image/index.ts";
import type { Fetch } from "../recipe/index.ts";
import { fetchurl } from "../recipe/index.ts";
import type { StorePath } from "../base/index.ts";
import { type BuildContext, checkRequest } from "./build.ts";
import { requireEsp, withDisk } from "./disk.ts";
import { readTexts, templateFile } from "./files.ts";
import { insertSeedFiles } from "./insert.ts";
import { parseManifest } from "./manifest.ts";
import { aside, manifestFor, place, refuseTaken } from "./place.ts";
import type { Made, TemplateImport, TemplateOrigin } from "./types.ts";
import { verifyTemplate } from "./verify.ts";

export interface ImportContext extends BuildContext {
  /** A source by itself, digests checked, into the store. */
  readonly fetch: (source: Fetch, signal?: AbortSignal) => Promise<StorePath>;
}

/** A disk says how large it is; one that is larger than this lies. */
const DISK_BYTES_MAX = 2 * 1024 ** 4;

/**
 * @throws Problem E_BAD_TEMPLATE, E_TEMPLATE_EXISTS, E_NO_SUCH_FILE, E_NOT_AN_IMAGE, E_NO_UEFI, E_IMAGE_ROOT (exit 2); E_HASH_MISMATCH,
 * E_IMAGE_REFUSED, E_QCOW2_DAMAGED, those of the fetcher (exit 1); E_TOOL_MISSING, E_NO_SPACE (exit 3); the signal's reason
 */
export async function importTemplate(context: ImportContext, request: TemplateImport): Promise<Made> {
  checkRequest(request);
  const { host } = context;
  const { name, sidecar, signal, replace = false, onNote = () => undefined } = request;
  if (!isSha256(request.sha256))
    throw bad(
      `importing ${name}: ${JSON.stringify(request.sha256)} is no SHA-256`,
      "`sha256sum FILE` prints it; the makers of an image publish it",
    );
  const known = replace ? undefined : await existing(context, request);
  if (known !== undefined) return { template: known, how: "unchanged" };
  refuseTaken(context, name, replace);
  const source = await sourceFile(context, request);
  return await aside(context, async (own) => {
    onNote(`${name}: checking ${request.source}`);
    const copy = `${own}/source`;
    await convertImage(host, { from: source, to: copy, container: "raw", seed: "", digest: false, ...(signal && { signal }) });
    const found = await diskDigest(host, copy, signal);
    if (found !== request.sha256) throw mismatch(request, found);
    const kind = checkedKind(context, copy, request.source);
    const image = `${own}/image`;
    if (kind.container === "raw") host.files.rename(copy, image);
    else {
      onNote(`${name}: converting it`);
      await makeRaw(host, copy, kind, image);
      host.files.unlink(copy);
    }
    if (sidecar.bootMode === "uefi") requireEsp(host, image, `the template ${name}`);
    if (sidecar.patchMode === "nocloud-seed") {
      onNote(`${name}: putting in what reads its seed`);
      await insertSeedFiles({ host, directory: own, image: "image", name });
    }
    signal?.throwIfAborted();
    const template = await place(context, own, {
      name,
      image: { file: image, sha256: await diskDigest(host, image, signal) },
      sidecar,
      description: request.description,
      origin: originOf(request, kind),
      replace,
    });
    return { template, how: "made" };
  });
}

function bad(message: string, hint: string): Problem {
  return new Problem({ code: "E_BAD_TEMPLATE", message, hint, exit: 2 });
}

function originOf({ source, sha256 }: TemplateImport, { container }: DiskKind): TemplateOrigin {
  return { kind: "import", source, sha256, format: container === "qcow2" ? "qcow2" : "raw" };
}

/** The same import, done before: of the same file, for the same sidecar and description. */
async function existing(context: ImportContext, request: TemplateImport) {
  const { host, directory } = context;
  const { name, signal } = request;
  const texts = readTexts(host, directory, name);
  const manifest = texts && parseManifest(texts.manifest);
  if (manifest?.origin.kind !== "import" || manifest.origin.sha256 !== request.sha256) return undefined;
  const image = { file: templateFile(directory, name, "image"), sha256: manifest.image.sha256 };
  const wanted = manifestFor({ ...request, image, origin: manifest.origin }, manifest.image.sizeBytes);
  const isSame = wanted.sidecarSha256 === manifest.sidecarSha256 && wanted.descriptionSha256 === manifest.descriptionSha256;
  return isSame ? await verifyTemplate(context, name, signal) : undefined;
}

/** Where it lies on this host. */
async function sourceFile(
  { host, store, fetch }: ImportContext,
  { source, sha256, name, signal, onNote }: TemplateImport,
): Promise<string> {
  if (/^https?:\/\//i.test(source)) {
    onNote?.(`${name}: fetching ${source}`);
    const item = await fetch(fetchurl({ urls: [source], sha256, name: `template-${name}` }), signal);
    store.pin([item]);
    return store.physical(item);
  }
  const path = /^file:/i.test(source) && URL.canParse(source) ? decodeURIComponent(new URL(source).pathname) : source;
  if (!path.startsWith("/"))
    throw bad(`importing ${name}: ${JSON.stringify(source)} is neither an absolute path nor a URL`, "http, https or file");
  const stat = host.files.exists(path) ? host.files.lstat(host.files.realPath(path)) : undefined;
  if (stat?.type !== "file")
    throw new Problem({ code: "E_NO_SUCH_FILE", message: `importing ${name}: there is no file ${path}`, where: path, exit: 2 });
  return host.files.realPath(path);
}

function mismatch({ name, source, sha256 }: TemplateImport, found: string): Problem {
  return new Problem({
    code: "E_HASH_MISMATCH",
    message: `importing ${name}: ${source} is not the file that was promised`,
    details: [`expected sha256 ${sha256}`, `found    sha256 ${found}`],
    where: source,
    hint: "nothing was kept; if the makers changed it for a good reason, say the new checksum",
  });
}

/** @throws Problem E_NOT_AN_IMAGE (exit 2), E_IMAGE_REFUSED, E_QCOW2_DAMAGED (exit 1) */
function checkedKind({ host }: ImportContext, file: string, source: string): DiskKind {
  const kind = diskKind(host, file);
  if (kind.container !== "raw" && kind.container !== "qcow2")
    throw new Problem({
      code: "E_NOT_AN_IMAGE",
      message: `${source} is ${kind.container}, and a template is made of raw or qcow2`,
      where: source,
      hint: "qemu-img convert -O qcow2 makes one of it",
      exit: 2,
    });
  const refused = (why: string): Problem =>
    new Problem({
      code: "E_IMAGE_REFUSED",
      message: `${source} is refused: ${why}`,
      where: source,
      hint: "qemu-img convert, on a machine that trusts it, makes a disk that stands alone",
    });
  const header = kind.container === "qcow2" ? withDisk(host, file, (readAt) => readQcow2Header(readAt)) : undefined;
  if (header?.backingFile !== undefined) throw refused(`it builds on another file, ${JSON.stringify(header.backingFile)}`);
  if (header?.hasExternalData === true) throw refused("its data lies in another file");
  if (header?.isEncrypted === true) throw refused("it is encrypted");
  if (kind.diskBytes > DISK_BYTES_MAX) throw refused(`it says that it has ${kind.diskBytes} bytes, more than ${DISK_BYTES_MAX}`);
  if (kind.diskBytes === 0 || kind.diskBytes % 512 !== 0) throw refused(`its ${kind.diskBytes} bytes are no whole sectors`);
  return kind;
}
