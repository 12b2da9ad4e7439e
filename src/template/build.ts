/** A template of an image that passed its gate: its verdict says which image that is, and the template says which verdict. */
import { isStorePath, Problem, sha256 } from "../base/index.ts";
import { openHostSigner, readVerdict, type SignedVerdict } from "../gate/index.ts";
import { convertImage, diskDigest, diskKind, makeRaw } from "../image/index.ts";
import type { Store } from "../store/index.ts";
import { requireEsp } from "./disk.ts";
import { templateFile } from "./files.ts";
import { manifestText, TEMPLATE_NAME, TEMPLATE_NAME_WORDS } from "./manifest.ts";
import { aside, manifestFor, place, refuseTaken } from "./place.ts";
import type { Made, Sidecar, TemplateBuild } from "./types.ts";
import { verifyTemplate, type VerifyContext } from "./verify.ts";

export interface BuildContext extends VerifyContext {
  readonly store: Store;
}

/** @throws Problem E_BAD_TEMPLATE (exit 2) */
export function checkRequest(request: {
  readonly name: string;
  readonly description: string;
  readonly sidecar: Sidecar;
  readonly direct?: object | undefined;
}): void {
  const bad = (message: string, hint?: string): Problem =>
    new Problem({ code: "E_BAD_TEMPLATE", message, ...(hint === undefined ? {} : { hint }), exit: 2 });
  const { name, description, sidecar, direct } = request;
  if (!TEMPLATE_NAME.test(name)) throw bad(`${JSON.stringify(name)} cannot name a template`, `a name has ${TEMPLATE_NAME_WORDS}`);
  if (description.length > 4000 || /[^\P{Cc}\n\t]/u.test(description))
    throw bad(`the description of ${name} is not text of at most 4000 characters`);
  if ((sidecar.bootMode === "direct") === (direct !== undefined)) return;
  throw bad(
    direct === undefined
      ? `the template ${name} is to boot directly, and nothing says which kernel`
      : `the template ${name} has a kernel beside its image, and boots by ${sidecar.bootMode}`,
    direct === undefined ? "TPL_BOOT_MODE=direct is for images of a declared system" : "TPL_BOOT_MODE=direct loads it",
  );
}

/**
 * @throws Problem E_BAD_TEMPLATE, E_TEMPLATE_EXISTS, E_NO_VERDICT, E_NO_UEFI (exit 2); E_NOT_PASSED, E_VERDICT_FORGED,
 * E_TEMPLATE_IMAGE (exit 1); E_NO_SPACE (exit 3); the signal's reason
 */
export async function buildTemplate(context: BuildContext, request: TemplateBuild): Promise<Made> {
  checkRequest(request);
  const { host, store, directory, keyFile } = context;
  const { name, sidecar, description, signal, replace = false } = request;
  const { publicPem } = await openHostSigner(host, keyFile);
  const signed = await readVerdict(host, store, request.verdict, { trusted: publicPem });
  const source = imageOf(context, signed);
  store.pin([request.verdict]);
  const verdictFile = `${store.physical(request.verdict)}/verdict.json`;
  const direct = request.direct && {
    kernel: fileIn(context, request.direct.kernel),
    initrd: request.direct.initrd === undefined ? undefined : fileIn(context, request.direct.initrd),
    commandLine: request.direct.commandLine,
  };
  const { container, diskBytes } = diskKind(host, source);
  const common = {
    name,
    sidecar,
    description,
    ...(direct && { direct }),
    origin: {
      kind: "system",
      system: request.system,
      verdict: request.verdict,
      verdictSha256: sha256(host.files.readFile(verdictFile)),
    },
  } as const;
  if (container === "raw") {
    // What there is is the same, or it is not: nothing has to be copied to know.
    const wanted = manifestText(
      manifestFor({ ...common, image: { file: source, sha256: signed.verdict.image.sha256 } }, diskBytes),
    );
    if (host.files.readTextIfAny(templateFile(directory, name, "manifest")) === wanted) {
      const template = await verifyTemplate(context, name, signal);
      if (template !== undefined) return { template, how: "unchanged" };
    }
  }
  refuseTaken(context, name, replace);
  if (sidecar.bootMode === "uefi" && container === "raw") requireEsp(host, source, `the template ${name}`);
  return await aside(context, async (own) => {
    const image = `${own}/image`;
    if (container === "raw")
      await convertImage(host, { from: source, to: image, container, seed: "", digest: false, ...(signal && { signal }) });
    else await makeRaw(host, source, { container, diskBytes }, image);
    // Of the copy, which is what machines will read; of what a container held, the container was judged.
    const judged = await diskDigest(host, container === "raw" ? image : source, signal);
    if (judged !== signed.verdict.image.sha256) throw notJudged(source, signed, judged);
    if (sidecar.bootMode === "uefi" && container !== "raw") requireEsp(host, image, `the template ${name}`);
    const digest = container === "raw" ? judged : await diskDigest(host, image, signal);
    const copied = direct && {
      kernel: copyIn(context, direct.kernel, `${own}/kernel`),
      initrd: direct.initrd && copyIn(context, direct.initrd, `${own}/initrd`),
      commandLine: direct.commandLine,
    };
    signal?.throwIfAborted();
    const { direct: _, ...rest } = common;
    const template = await place(context, own, {
      ...rest,
      image: { file: image, sha256: digest },
      ...(copied && { direct: copied }),
      replace,
    });
    return { template, how: "made" };
  });
}

/** Where the image lies that was judged. @throws Problem E_NOT_PASSED, E_NO_SUCH_FILE */
function imageOf({ host, store }: BuildContext, { path, verdict }: SignedVerdict): string {
  if (verdict.verdict !== "pass") {
    throw new Problem({
      code: "E_NOT_PASSED",
      message: `the image ${verdict.image.path} did not pass its gate, and becomes no template`,
      where: path,
      hint: `garth gate show ${path} says why`,
    });
  }
  const image = verdict.image.path;
  if (isStorePath(image)) store.pin([image]);
  const file = isStorePath(image) ? store.physical(image) : image;
  if (!host.files.exists(file)) {
    throw new Problem({
      code: "E_NO_SUCH_FILE",
      message: `the image ${verdict.image.path} that was judged is not there any more`,
      where: file,
      hint: "`garth gate run` makes it and judges it again",
      exit: 2,
    });
  }
  return host.files.realPath(file);
}

function notJudged(file: string, { verdict, path }: SignedVerdict, found: string): Problem {
  return new Problem({
    code: "E_TEMPLATE_IMAGE",
    message: `${file} is not the image that passed its gate`,
    details: [`judged: ${verdict.image.sha256}`, `found:  ${found}`],
    where: path,
    hint: "`garth store verify` looks for damage; `garth gate run` judges what is there now",
  });
}

/** A file of the store by its logical path, or any other. */
function fileIn({ host, store }: BuildContext, path: string): { readonly file: string; readonly sha256: string } {
  const logical = "/frx/store/";
  const file = path.startsWith(logical) ? `${store.directory}/${path.slice(logical.length)}` : path;
  if (!host.files.exists(file))
    throw new Problem({ code: "E_NO_SUCH_FILE", message: `there is no ${path}`, where: file, exit: 2 });
  return { file: host.files.realPath(file), sha256: sha256(host.files.readFile(file)) };
}

function copyIn(
  { host }: BuildContext,
  { file, sha256: digest }: { readonly file: string; readonly sha256: string },
  to: string,
): { readonly file: string; readonly sha256: string } {
  host.files.writeFile(to, host.files.readFile(file));
  return { file: to, sha256: digest };
}
