/** Templates of one directory. */
import { closest, Problem } from "../base/index.ts";
import { buildTemplate } from "./build.ts";
import { forged, readTexts, templateNames, templateOf } from "./files.ts";
import { type ImportContext, importTemplate } from "./import.ts";
import { TEMPLATE_NAME } from "./manifest.ts";
import { removeTemplate } from "./place.ts";
import type { Template, TemplateStore } from "./types.ts";
import { verifyTemplate } from "./verify.ts";

export type TemplatesContext = ImportContext;

export function openTemplates(context: TemplatesContext): TemplateStore {
  const { host, directory } = context;
  const noTemplate = (name: string): Problem => {
    const names = templateNames(host, directory);
    const near = closest(name, names);
    return new Problem({
      code: "E_NO_TEMPLATE",
      message: `there is no template ${JSON.stringify(name)}`,
      details: names.length === 0 ? [] : [`there are ${names.join(", ")}`],
      hint: near === undefined ? "`garth template build` and `garth template import` make one" : `did you mean ${near}?`,
      exit: 2,
    });
  };
  const find = (name: string): Template => {
    const texts = TEMPLATE_NAME.test(name) ? readTexts(host, directory, name) : undefined;
    if (texts === undefined) throw noTemplate(name);
    return templateOf(directory, name, texts);
  };
  const all = (): readonly (Template | { readonly name: string; readonly problem: Problem })[] =>
    templateNames(host, directory).map((name) => {
      try {
        return find(name);
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        // A name that no template can have, in its place.
        return { name, problem: error.code === "E_NO_TEMPLATE" ? forged(directory, name, "its name is none") : error };
      }
    });
  return {
    list: () => all().flatMap((one) => ("problem" in one ? [] : [one])),
    broken: () => all().flatMap((one) => ("problem" in one ? [one] : [])),
    find,
    verify: async (name, { signal } = {}) => {
      const found = TEMPLATE_NAME.test(name) ? await verifyTemplate(context, name, signal) : undefined;
      if (found === undefined) throw noTemplate(name);
      return found;
    },
    remove: (name) => {
      if (!TEMPLATE_NAME.test(name) || !removeTemplate(context, name)) throw noTemplate(name);
    },
    build: async (request) => await buildTemplate(context, request),
    import: async (request) => await importTemplate(context, request),
  };
}
