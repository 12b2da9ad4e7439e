/**
 * template: images that may be cloned, and what a machine made from one looks like; signed by the host that made them.
 *
 *     system, passed its gate ──build───┐
 *     cloud image, its checksum ─import─┴─► aside ─► in its place: image, sidecar, description, manifest ─► signed
 *                                                                                       │
 *                                          pool ◄── Template ◄── verify, before a clone ┘
 *
 * A template is named for good by the digest of its manifest, which holds the digests of everything else, and says where the image
 * came from: which verdict of a gate, or which file with which checksum. One that is not what this host signed is refused, by the
 * name of the file that differs.
 *
 * An image that is imported gets what makes its clones read their seed disk: settings for cloud-init, and garth-seed.
 *
 * Limits: images are raw, of at most 2 TiB; seed files are put into ext4 roots alone; a signature is that of this host, so that a
 * template that was carried here from elsewhere is imported, not copied.
 *
 * Project files import this module: what makes templates is loaded when one is made.
 */
import type { TemplatesContext } from "./open.ts";
import type { Sidecar, TemplateStore } from "./types.ts";
import type { SidecarTexts } from "./sidecar-values.ts";

export { type SidecarFields, template, type TemplateDeclaration, type TemplateFields } from "./declare.ts";
export type { SidecarTexts } from "./sidecar-values.ts";
export type { TemplatesContext } from "./open.ts";
export type * from "./types.ts";

export async function openTemplates(context: TemplatesContext): Promise<TemplateStore> {
  const { openTemplates: open } = await import("./open.ts");
  return open(context);
}

/** A sidecar file. @throws Problem E_BAD_SIDECAR with every fault and its line (exit 2) */
export async function parseSidecar(text: string, file: string): Promise<Sidecar> {
  const { parseSidecar: parse } = await import("./sidecar.ts");
  return parse(text, file);
}

/** What a declaration says. @throws Problem E_BAD_SIDECAR (exit 2) */
export async function sidecarOf(texts: SidecarTexts, what: string): Promise<Sidecar> {
  const { sidecarFrom } = await import("./sidecar.ts");
  return sidecarFrom(texts, what);
}

/** The text of a sidecar that says everything. */
export async function renderSidecar(sidecar: Sidecar): Promise<string> {
  const { renderSidecar: render } = await import("./sidecar.ts");
  return render(sidecar);
}
