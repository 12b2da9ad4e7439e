/**
 * The second half of the line: worlds and slices, the system item, its image, and the gate. Image and gate are not made and run again
 * for the same input while what they made is there; the system is planned each time, and its item found by what was planned.
 */
import { canonicalJson, isStorePath, operatingSystemOf, sha256, type StorePath } from "../base/index.ts";
import type { Builder, StepResult } from "../build/index.ts";
import {
  type ComposeContext,
  type ComposedSystem,
  composeSystem,
  Listings,
  realiseParts,
  realiseSlices,
  reportSlices,
  slicesOf,
  type SystemParts,
} from "../compose/index.ts";
import {
  type GateDeclaration,
  gate as gateOf,
  gateDigest,
  gateProblem,
  gateReceipt,
  type GateReport,
  resolveGate,
  runGate,
} from "../gate/index.ts";
import { imageWishOf, LAYOUT, makeImage } from "../image/index.ts";
import type { RepositoryDeclaration } from "../pkg/index.ts";
import type { ReceiptFields } from "../receipt/index.ts";
import type { Buildable } from "../recipe/index.ts";
import type { Trust } from "../repository/index.ts";
import type { SystemDeclaration } from "../system/index.ts";
import type { TemplateDeclaration } from "../template/index.ts";
import type { SliceDeclaration } from "../world/index.ts";
import type { Outcome, Shipping } from "./run.ts";
import { noteResult, readFields, resultOf } from "./records.ts";
import { foreign } from "./refusals.ts";
import { rootName } from "./roots.ts";
import type { ShippedSystem } from "./types.ts";

/** Part of every key: raised when what a stage makes from the same input changes. */
const GATING = "gate-1";

export interface NamedSystem {
  readonly name: string;
  readonly declaration: SystemDeclaration;
  readonly gate: GateDeclaration | undefined;
  readonly template: TemplateDeclaration | undefined;
}

export interface Made {
  readonly builder: Builder;
  readonly outputs: ReadonlyMap<Buildable, StepResult>;
  readonly repositories: ReadonlyMap<RepositoryDeclaration<Buildable>, { readonly location: string; readonly trust: Trust }>;
}

/** What the stages of one system hand on. */
export interface SystemLine {
  readonly shipping: Shipping;
  readonly system: NamedSystem;
  readonly context: ComposeContext;
  readonly listings: Listings;
  readonly made: Made;
}

export function openSystemLine(shipping: Shipping, system: NamedSystem, made: Made): SystemLine {
  const { host, store, now, system: platform } = shipping.context;
  const { signal } = shipping.request;
  const context: ComposeContext = {
    host,
    store,
    now,
    system: platform,
    makeWorld: (source) => made.builder.world(source, signal),
    fetch: (source) => made.builder.fetch(source, signal),
    outputOf: async (recipe) => outputOf(made, recipe),
  };
  return { shipping, system, context, listings: new Listings(host, store), made };
}

export async function worldStage(line: SystemLine): Promise<Outcome<ReadonlyMap<SliceDeclaration, StorePath>>> {
  const { context, listings, system, shipping } = line;
  const { store, receipts, ledger, now } = shipping.context;
  const wanted = slicesOf(system.declaration);
  const { worlds, slices } = await realiseSlices(context, listings, wanted);
  const kept: string[] = [];
  let isNew = false;
  for (const [world, path] of worlds) {
    const cut = wanted.filter((slice) => slice.world === world);
    const key = sha256(canonicalJson({ what: "slices-1", world: path, slices: cut.map((slice) => slices.get(slice) ?? "") }));
    const before = readFields(resultOf(ledger, key));
    const fields = before ?? sliceFields(listings, path, cut, slices);
    if (before === undefined) noteResult(ledger, key, fields, now());
    isNew ||= before === undefined;
    store.addRoot(rootName(shipping.project, world.name, "world"), path);
    kept.push(receipts.keep("world", `${world.name}-${world.label}`, fields));
  }
  for (const [slice, path] of slices) store.addRoot(rootName(shipping.project, slice.name, "slice"), path);
  return {
    how: isNew ? "done" : "unchanged",
    summary: `${system.name}: ${[...slices].map(([slice, path]) => `${slice.role} ${path}`).join("; ")}`,
    receipts: kept,
    result: slices,
  };
}

const SHOWN = 12;

function sliceFields(
  listings: Listings,
  world: StorePath,
  cut: readonly SliceDeclaration[],
  slices: ReadonlyMap<SliceDeclaration, StorePath>,
): ReceiptFields {
  const { overlaps, gaps } = reportSlices(listings, world, cut);
  const shown = (paths: readonly string[]): string =>
    paths.length <= SHOWN ? paths.join(" ") : `${paths.slice(0, SHOWN).join(" ")} and ${paths.length - SHOWN} more`;
  const perSlice = cut.flatMap((slice) => [
    [`${slice.name.replaceAll(/[^A-Za-z0-9]+/g, "_")}_slice`, slices.get(slice) ?? ""] as const,
    [`${slice.name.replaceAll(/[^A-Za-z0-9]+/g, "_")}_keep`, slice.keep.join(" ")] as const,
    [`${slice.name.replaceAll(/[^A-Za-z0-9]+/g, "_")}_prune`, slice.prune.join(" ")] as const,
  ]);
  return {
    world_store: world,
    ...Object.fromEntries(perSlice),
    overlap_count: String(overlaps.length),
    overlaps: shown(overlaps.map(({ path, slices: names }) => `${path} (${names.join(", ")})`)),
    gap_count: String(gaps.length),
    gaps: shown(gaps),
  };
}

export interface SystemResult {
  readonly fields: ReceiptFields;
  readonly composed: ComposedSystem;
}

export async function systemStage(
  line: SystemLine,
  slices: ReadonlyMap<SliceDeclaration, StorePath>,
): Promise<Outcome<SystemResult>> {
  const { context, listings, system, shipping, made } = line;
  const { store, receipts } = shipping.context;
  const { spec } = system.declaration;
  if (spec.family !== operatingSystemOf(context.system) && spec.family === "linux") throw foreign(system.name, spec.family);
  const parts = await realiseParts(context, system.declaration, slices, {
    repositoryOf: (declaration) => {
      const found = [...made.repositories].find(([each]) => each === declaration)?.[1];
      if (found === undefined) throw new Error(`the repository ${declaration.name} was not published`);
      return found;
    },
  });
  const composed = await composeSystem(context, listings, spec, parts.paths);
  const fields = systemFields(composed, parts, slices, line);
  const { system: closure, development } = composed;
  store.addRoot(rootName(shipping.project, system.name, "system"), closure);
  if (development !== undefined) store.addRoot(rootName(shipping.project, system.name, "development"), development);
  return {
    how: composed.isNew ? "done" : "unchanged",
    summary: `${system.name} -> ${closure}`,
    receipts: [receipts.keep("system", system.name, fields)],
    result: { fields, composed },
  };
}

export function plain(value: unknown): ReturnType<typeof JSON.parse> {
  return JSON.parse(JSON.stringify(value));
}

function holds(store: Shipping["context"]["store"], paths: readonly (string | undefined)[]): boolean {
  return paths.every((path) => {
    const known = storePathOf(path);
    return known === undefined || store.isValid(known);
  });
}

export function storePathOf(text: string | undefined): StorePath | undefined {
  return text !== undefined && isStorePath(text) ? text : undefined;
}

function outputOf({ outputs }: Made, recipe: Buildable): StorePath {
  const path = outputs.get(recipe)?.outputs["out"];
  if (path === undefined) throw new Error(`${recipe.name} was left out of the build`);
  return path;
}

/** Where everything came from: counted, and each by its path. */
function systemFields(
  composed: ComposedSystem,
  { paths, catalogues }: SystemParts,
  slices: ReadonlyMap<SliceDeclaration, StorePath>,
  { system }: SystemLine,
): ReceiptFields {
  const { declaration } = system;
  const native = [...new Set([paths.kernel, paths.bootloader, ...paths.base])];
  const fromHost = native.filter((path) => paths.unpinned.has(path));
  const pinned = native.filter((path) => !paths.unpinned.has(path));
  const runtime = declaration.base.flatMap((slice) => (slice.role === "runtime" ? (slices.get(slice) ?? []) : []));
  const packages = [...paths.packages, ...paths.installed];
  const sources = [...composed.composition.packages].filter(({ listing }) =>
    listing.some(({ path }) => path === "share/garth/source"),
  );
  return {
    closure_path: composed.system,
    profile_store: composed.profile,
    native_base_store_count: String(pinned.length),
    native_base_stores: pinned.join(" "),
    host_base_store_count: String(fromHost.length),
    host_base_stores: fromHost.join(" "),
    base_package_store_count: String(paths.base.length),
    runtime_store: runtime.join(" "),
    kernel_store: paths.kernel,
    boot_store: paths.bootloader,
    package_store_count: String(packages.length),
    package_stores: packages.join(" "),
    catalogue_sha256: catalogues.join(" "),
    materialized_source_store_count: String(sources.length),
    development_store: composed.development ?? "",
    store_item_count: String(composed.closure.length),
    kernel_file: composed.kernelFile,
    initrd_file: composed.initrdFile ?? "",
    command_line: composed.commandLine.join(" "),
  };
}

export interface ImageResult {
  readonly fields: ReceiptFields;
  readonly path: StorePath;
  readonly sha256: string;
}

export async function imageStage(line: SystemLine, made: SystemResult): Promise<Outcome<ImageResult>> {
  const { system, shipping } = line;
  const { host, store, ledger, receipts, now, system: platform } = shipping.context;
  const { spec } = system.declaration;
  const key = sha256(
    canonicalJson({
      what: LAYOUT,
      system: made.composed.system,
      development: made.composed.development ?? "",
      disk: plain(spec.disk),
    }),
  );
  const before = readFields(resultOf(ledger, key));
  const isThere = before !== undefined && holds(store, [before["image_path"]]);
  const fields = isThere ? before : await make();
  if (!isThere) noteResult(ledger, key, fields, now());
  const path = storePathOf(fields["image_path"]);
  if (path === undefined) throw new Error("an image without a path");
  store.addRoot(rootName(shipping.project, system.name, "image"), path);
  return {
    how: isThere ? "unchanged" : "done",
    summary: `${system.name} -> ${path}, ${fields["image_size_bytes"] ?? ""} bytes, sha256 ${fields["raw_sha256"] ?? ""}`,
    receipts: [receipts.keep("image", system.name, fields)],
    result: { fields, path, sha256: fields["raw_sha256"] ?? "" },
  };

  async function make(): Promise<ReceiptFields> {
    const { composed } = made;
    const image = await makeImage(host, store, system.name, imageWishOf(composed, platform), shipping.request.signal);
    const { plan } = image;
    return {
      image_path: image.path,
      raw_sha256: image.sha256,
      image_size_bytes: String(image.sizeBytes),
      disk_capacity: spec.disk.sizeBytes === undefined ? "from contents" : String(spec.disk.sizeBytes),
      root_size: String(plan.rootUsage.sizeBytes),
      root_free: String(plan.rootUsage.freeBytes),
      esp_size: String(plan.esp.sizeBytes),
      esp_fstype: "fat",
      root_fstype: spec.disk.pool !== undefined ? "zfs" : spec.family === "freebsd" ? "ufs" : "ext4",
      partition_scheme: "gpt",
      image_format: "raw",
      boot_mode: "uefi",
      serial_console: spec.console,
      root_partition_label: spec.disk.rootLabel,
      efi_partition_label: spec.disk.espLabel,
      store_item_count: String(composed.closure.length),
      entry_count: String(plan.entries),
      closure_path: composed.system,
    };
  }
}

export async function gateStage(line: SystemLine, made: SystemResult, image: ImageResult): Promise<Outcome<ReceiptFields>> {
  const { system, shipping } = line;
  const { host, store, ledger, receipts, now, machines, hostKeyFile } = shipping.context;
  const { request } = shipping;
  const { spec } = system.declaration;
  const declared = system.gate ?? gateOf();
  const digest = gateDigest(resolveGate(declared, spec.family));
  const key = sha256(canonicalJson({ what: GATING, image: image.sha256, gate: digest }));
  const before = readFields(resultOf(ledger, key));
  const isThere = before !== undefined && request.again !== true && holds(store, [before["verdict_path"]]);
  const fields = isThere ? before : await boot();
  if (!isThere && fields["verdict"] === "pass") noteResult(ledger, key, fields, now());
  const path = storePathOf(fields["verdict_path"]);
  if (path !== undefined) store.addRoot(rootName(shipping.project, system.name, "verdict"), path);
  return {
    how: isThere ? "unchanged" : "done",
    summary: `${system.name}: ${fields["verdict"] ?? ""} after ${fields["boot_seconds"] ?? "?"} s on ${fields["accelerator"] ?? ""}, ${path ?? ""}`,
    receipts: [receipts.keep("boot", system.name, fields)],
    result: fields,
  };

  async function boot(): Promise<ReceiptFields> {
    const listensToSsh = spec.services.some(({ listens }) => listens === 22);
    const report = await runGate(
      { host, store, machines: await machines(), keyFile: hostKeyFile, now },
      {
        name: system.name,
        image: { file: store.physical(image.path), format: "raw", sha256: image.sha256, storePath: image.path },
        gate: declared,
        machine: {
          system: shipping.context.system,
          cpus: 1,
          network: {
            kind: "user",
            mac: "52:54:00:67:61:01",
            forward: listensToSsh ? [{ hostPort: 0, guestPort: 22 }] : [],
            isolated: true,
          },
        },
        ...(request.signal && { signal: request.signal }),
        ...(request.onGate && { onEvent: request.onGate }),
      },
    );
    const fields = bootFields(report, made);
    if (report.verdict === "pass") return fields;
    receipts.keep("boot", system.name, fields);
    throw gateProblem(report);
  }
}

function bootFields(report: GateReport, made: SystemResult): ReceiptFields {
  const isNative = made.fields["host_base_store_count"] === "0";
  return {
    ...gateReceipt(report),
    closure_path: made.composed.system,
    host_base_store_count: made.fields["host_base_store_count"] ?? "",
    native_base_store_count: made.fields["native_base_store_count"] ?? "",
    native_runtime_ready: report.verdict === "pass" && isNative ? "ok" : "no",
  };
}

export function shipped(
  system: NamedSystem,
  made: SystemResult,
  image: ImageResult | undefined,
  verdict: string | undefined,
  template: string | undefined,
): ShippedSystem {
  return {
    name: system.name,
    closure: made.composed.system,
    image: image === undefined ? undefined : { path: image.path, sha256: image.sha256 },
    verdict: storePathOf(verdict),
    template,
    kernel: made.fields["kernel_file"] ?? "",
    initrd: made.fields["initrd_file"] === "" ? undefined : made.fields["initrd_file"],
    commandLine: made.fields["command_line"] ?? "",
    composed: made.composed,
  };
}
