/** garth template: images that may be cloned. */
import { formatSize, Problem } from "../../base/index.ts";
import type { Garth } from "../../app/index.ts";
import type { ReceiptFields } from "../../receipt/index.ts";
import type { Made, Sidecar, Template, TemplateOrigin } from "../../template/index.ts";
import type { Answer, Context, Given, Handler } from "../command.ts";
import { usageProblem } from "../parse.ts";
import { absolute, textOf } from "../paths.ts";
import { receiptFile } from "../receipts.ts";
import { table } from "../render/text.ts";
import { declaredSystem, shipSystem, type SystemReference, systemReference } from "../system-of.ts";

export const build: Handler = async (context, given) => {
  const garth = await context.garth();
  const { reference, isDeclared } = await whatOf(garth, systemReference(given.arguments[0] ?? ""));
  const asks = ["name", "conf", "description"].some((option) => given.text(option) !== undefined);
  if (isDeclared && !asks) {
    // The line makes it as the project declares it, and keeps its receipt.
    const { report, system } = await shipSystem(context, given, reference, { until: "template" });
    if (system.template === undefined) throw new Error(`no template of ${system.name}`);
    return await answered(garth, (await garth.templates()).find(system.template), report.final);
  }
  const { system } = await shipSystem(context, given, reference, { until: "gate" });
  const { verdict, closure, kernel, initrd, commandLine } = system;
  if (verdict === undefined) throw new Error(`no verdict of ${system.name}`);
  const sidecar = await sidecarFor(context, garth, given);
  const { declaration } = await declaredSystem(garth, reference);
  const made = await (
    await garth.templates()
  ).build({
    name: given.text("name") ?? declaration.spec.name,
    system: closure,
    verdict,
    sidecar,
    description: given.text("description") ?? "",
    replace: given.flag("replace"),
    ...(sidecar.bootMode === "direct" && { direct: { kernel, initrd, commandLine } }),
    signal: context.signal,
  });
  return await kept(context, given, garth, made);
};

/** A template that the file exports stands for its system; a system stands for the template that the file declares of it. */
async function whatOf(
  garth: Garth,
  reference: SystemReference,
): Promise<{ readonly reference: SystemReference; readonly isDeclared: boolean }> {
  const { file, name } = reference;
  const exported = [...(await garth.loadProject(file)).exports.values()];
  const templates = exported.flatMap((each) => (each.kind === "template" ? [each] : []));
  const [only, ...others] = templates;
  const meant = name === undefined ? (others.length === 0 ? only : undefined) : templates.find((each) => each.name === name);
  const system = exported.find((each) =>
    meant === undefined ? each.name === name && each.kind === "system" : each.value === meant.value.system,
  );
  const isDeclared = meant !== undefined || templates.some(({ value }) => value.system === system?.value);
  if (meant !== undefined && system === undefined)
    throw new Problem({
      code: "E_NOT_A_SYSTEM",
      message: `the system of the template ${meant.name} is not exported`,
      hint: "export what system({ ... }) returned, too",
      exit: 2,
    });
  return { reference: system === undefined ? reference : { file, name: system.name }, isDeclared };
}

async function sidecarFor(context: Context, garth: Garth, given: Given): Promise<Sidecar> {
  const file = given.text("conf");
  const { parseSidecar } = await garth.template();
  return await parseSidecar(
    file === undefined ? "" : textOf(context, garth.host, file),
    file === undefined ? "" : absolute(context, file),
  );
}

export const importOne: Handler = async (context, given) => {
  const garth = await context.garth();
  const [word = ""] = given.arguments;
  const sha256 = given.text("sha256");
  if (sha256 === undefined)
    throw usageProblem(
      `template import ${word}: --sha256 is missing`,
      "those who made the image publish it; `sha256sum FILE` prints that of a file",
    );
  const source = /^[a-z]+:\/\//i.test(word) ? word : absolute(context, word);
  const made = await (
    await garth.templates()
  ).import({
    name: given.text("name") ?? plainName(word),
    source,
    sha256,
    sidecar: await sidecarFor(context, garth, given),
    description: given.text("description") ?? `Made of ${source}.`,
    replace: given.flag("replace"),
    signal: context.signal,
    onNote: (text) => context.note(`template   ${text}`),
  });
  return await kept(context, given, garth, made);
};

/** ".../Debian-12-generic-amd64.qcow2" -> "debian-12-generic-amd64"; of the characters that a template may have in its name. */
function plainName(word: string): string {
  const base = word.slice(word.lastIndexOf("/") + 1).replace(/\.(?:raw|img|qcow2)$/i, "");
  return base
    .toLowerCase()
    .replaceAll(/[^a-z0-9.-]+/g, "-")
    .slice(0, 40)
    .replaceAll(/^[^a-z0-9]+|[^a-z0-9]+$/g, "");
}

async function kept(context: Context, given: Given, garth: Garth, { template, how }: Made): Promise<Answer> {
  const fields = receiptOf(template);
  garth.receipts.keep("template", template.name, fields);
  const copy = receiptFile(context, given);
  if (copy !== undefined) garth.writeReceipt(copy, fields);
  if (how === "unchanged") context.note(`template   ${template.name}: unchanged`);
  return await answered(garth, template, fields);
}

async function answered(garth: Garth, template: Template, fields: ReceiptFields): Promise<Answer> {
  const { data, text } = await shown(garth, template);
  return { data: { ...data, fields }, text, pass: template.name };
}

function receiptOf({ name, digest, imageFile, manifest, publicKeySha256 }: Template): ReceiptFields {
  const { image, origin } = manifest;
  const from: ReceiptFields =
    origin.kind === "system"
      ? { verdict_path: origin.verdict }
      : { source: origin.source, source_sha256: origin.sha256, source_format: origin.format };
  return {
    template: name,
    template_digest: digest,
    template_image: imageFile,
    image_sha256: image.sha256,
    ...from,
    public_key_sha256: publicKeySha256,
  };
}

function originText(origin: TemplateOrigin): string {
  if (origin.kind === "system") return `${origin.system}, judged by ${origin.verdict}`;
  return `${origin.source}, ${origin.format}, sha256 ${origin.sha256}`;
}

async function shown(garth: Garth, template: Template): Promise<{ readonly data: object; readonly text: () => string }> {
  const { name, digest, manifest, sidecar, description, imageFile, direct, publicKeySha256 } = template;
  const { renderSidecar } = await garth.template();
  const conf = await renderSidecar(sidecar);
  const text = (): string =>
    [
      table([
        ["template", name],
        ["digest", digest],
        ["image", `${imageFile}, ${formatSize(manifest.image.sizeBytes)}`],
        ["sha256", manifest.image.sha256],
        ...(direct === undefined ? [] : [["kernel", `${direct.kernel} ${direct.commandLine}`]]),
        ["made of", originText(manifest.origin)],
        ["signed by", publicKeySha256],
      ]),
      ...(description === "" ? [] : ["", description]),
      "",
      conf.trimEnd(),
    ].join("\n");
  return { data: template, text };
}

export const show: Handler = async (context, given) => {
  const garth = await context.garth();
  const [name = ""] = given.arguments;
  return await shown(garth, (await garth.templates()).find(name));
};

export const ls: Handler = async (context) => {
  const templates = await (await context.garth()).templates();
  const found = templates.list();
  const broken = templates.broken();
  const text = (): string => {
    if (found.length + broken.length === 0)
      return "there are no templates: `garth template build` and `garth template import` make them";
    const rows = found.map(({ name, sidecar, manifest, description }) => [
      name,
      sidecar.bootMode,
      formatSize(manifest.image.sizeBytes),
      manifest.origin.kind,
      description.split("\n")[0] ?? "",
    ]);
    return table([
      ["template", "boots by", "size", "from", ""],
      ...rows,
      ...broken.map(({ name, problem }) => [name, "-", "-", "BROKEN", problem.message]),
    ]);
  };
  const data = {
    templates: found,
    broken: broken.map(({ name, problem }) => ({ name, code: problem.code, message: problem.message })),
  };
  return { data, text };
};

export const verify: Handler = async (context, given) => {
  const templates = await (await context.garth()).templates();
  const names =
    given.arguments.length > 0 ? given.arguments : [...templates.list(), ...templates.broken()].map(({ name }) => name);
  const results: { readonly name: string; readonly digest?: string; readonly problem?: string }[] = [];
  for (const name of names) {
    try {
      const { digest } = await templates.verify(name, { signal: context.signal });
      results.push({ name, digest });
    } catch (error) {
      // One that was named and is not there is a fault of the command line; one that is not what it was is what is looked for.
      if (!(error instanceof Problem) || (error.code !== "E_TEMPLATE_FORGED" && error.code !== "E_BAD_SIDECAR")) throw error;
      results.push({ name, problem: error.message });
    }
  }
  const text = () =>
    results
      .map(({ name, digest, problem }) => (problem === undefined ? `sound   ${name} ${digest}` : `FORGED  ${name}: ${problem}`))
      .join("\n");
  return { data: results, text, exit: results.some(({ problem }) => problem !== undefined) ? 1 : 0 };
};

export const rm: Handler = async (context, given) => {
  const garth = await context.garth();
  const templates = await garth.templates();
  const pools = await garth.pools();
  const removed: string[] = [];
  for (const name of given.arguments) {
    const using = pools.pools().filter((pool) => pool.template === name);
    const machines = using.flatMap((pool) => pools.list(pool.name));
    if (machines.length > 0)
      throw new Problem({
        code: "E_TEMPLATE_IN_USE",
        message: `the template ${name} has ${machines.length === 1 ? "a machine" : `${machines.length} machines`}, which read its image`,
        details: machines.map(({ id, pool, state }) => `${id} of the pool ${pool}: ${state}`),
        hint: using.map((pool) => `garth pool drain ${pool.name}`).join("; "),
        exit: 2,
      });
    templates.remove(name);
    removed.push(name);
  }
  return { data: { removed }, text: () => removed.map((name) => `removed ${name}`).join("\n") };
};
