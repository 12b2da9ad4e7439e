/** garth system: closures, their differences, their roots, and disks of them. */
import { formatSize, isStorePath, type StorePath } from "../../base/index.ts";
import type { Garth } from "../../app/index.ts";
import type { Context, Given, Handler } from "../command.ts";
import { containerFor } from "../containers.ts";
import { usageProblem } from "../parse.ts";
import { absolute } from "../paths.ts";
import type { ShippedSystem } from "../../ship/index.ts";
import { type Shipped, shipSystem, systemReference } from "../system-of.ts";
import { convertedText, convertTo } from "./image.ts";
import { plainSystem } from "./ship.ts";
import { oneItem } from "./store.ts";

function document({ report, system }: Shipped): object {
  return { project: report.project, stages: report.stages, ...plainSystem(system), fields: report.final };
}

export const build: Handler = async (context, given) => {
  const shipped = await shipSystem(context, given, systemReference(given.arguments[0] ?? ""), { until: "system" });
  const { system } = shipped;
  return { data: document(shipped), text: () => system.closure, pass: system.name };
};

export const rootfs: Handler = async (context, given) => {
  const garth = await context.garth();
  const [word = "", target] = given.arguments;
  const shipped = await shipSystem(context, given, systemReference(word), { until: "system" });
  const { system } = shipped;
  const { root } = system.composed;
  const { rootText, writeRoot } = await garth.compose();
  if (target === undefined) {
    const mtree = rootText(system.composed);
    return { data: { ...document(shipped), entries: root.entries.length, mtree }, text: () => mtree };
  }
  const directory = absolute(context, target);
  const written = writeRoot({ host: garth.host, store: garth.store }, root, directory, context.signal);
  if (!written.owned) context.note(`${directory}: owners and set-id bits are left out: only root may give files away`);
  const text = () => `${directory}: ${written.entries} paths, ${formatSize(written.contentBytes)}`;
  return { data: { ...document(shipped), directory, ...written }, text, pass: system.name };
};

export const image: Handler = async (context, given) => {
  const garth = await context.garth();
  const [out, format] = [given.text("out"), given.text("format")];
  if (out === undefined && format !== undefined)
    throw usageProblem(
      `--format ${format}: it is the format of a copy, and there is none without --out FILE`,
      "the image in the store is raw",
    );
  const container = out === undefined ? "raw" : containerFor(format, out);
  const shipped = await shipSystem(context, given, systemReference(given.arguments[0] ?? ""), { until: "image" });
  const { system } = shipped;
  if (system.image === undefined) throw new Error(`no image of ${system.name}`);
  const { path, sha256 } = system.image;
  if (out === undefined) return { data: document(shipped), text: () => path, pass: system.name };
  const file = garth.store.physical(path);
  const kind = (await garth.image()).diskKind(garth.host, file);
  const made = { file, name: system.name, kind, storePath: path, sha256, shipped: system };
  const copy = await convertTo(context, garth, made, { to: absolute(context, out), container });
  return { data: { ...document(shipped), copy }, text: () => `${path}\n${convertedText(copy)}`, pass: system.name };
};

export const diff: Handler = async (context, given) => {
  const garth = await context.garth();
  const [left, right] = [await systemItem(context, given, garth, 0), await systemItem(context, given, garth, 1)];
  const { compareSystems, Listings } = await garth.compose();
  const { host, store } = garth;
  const difference = compareSystems({ host, store, listings: new Listings(host, store) }, left, right);
  return { data: { left, right, ...difference }, text: () => difference.lines.join("\n"), exit: left === right ? 0 : 1 };
};

/** A closure: of a SYSTEM, shipped so far, or one that is in the store. */
export async function systemItem(context: Context, given: Given, garth: Garth, index: number): Promise<StorePath> {
  const word = given.arguments[index] ?? "";
  const isItem =
    isStorePath(word) || (!/[#/]/.test(word) && !word.endsWith(".ts") && word !== "." && garth.store.find(word).length > 0);
  if (isItem) {
    const item = oneItem(garth.store, word);
    garth.store.pin([item]);
    return item;
  }
  const { system }: { readonly system: ShippedSystem } = await shipSystem(context, given, systemReference(word), {
    until: "system",
  });
  return system.closure;
}
