/** Carries the line out, stage by stage; a stage that has nothing to do says so. */
import { type Emit, Problem, sha256, type System } from "../base/index.ts";
import { type Builder, type BuildEvent, buildReceipt, type BuildResult, type StepResult } from "../build/index.ts";
import type { Host } from "../host/index.ts";
import type { Ledger } from "../ledger/index.ts";
import type { Machines } from "../machine/index.ts";
import { abiString, declaredAbi, describePackage, type PackageDeclaration, type RepositoryDeclaration } from "../pkg/index.ts";
import type { Pools } from "../pool/index.ts";
import { graphWithKeys, type Project } from "../project/index.ts";
import type { ReceiptFields, Receipts } from "../receipt/index.ts";
import { type Buildable, stepLabel } from "../recipe/index.ts";
import {
  createPackages,
  fingerprintOf,
  generateKey,
  loadKey,
  directorySource,
  prune,
  publicKeyFile,
  publish,
  readRepository,
  type SigningKey,
  type Trust,
  verifyRepository,
} from "../repository/index.ts";
import type { Store } from "../store/index.ts";
import type { TemplateStore } from "../template/index.ts";
import { abiOf } from "./abi.ts";
import { rootName } from "./roots.ts";
import { type Line, type MadePackage, packageKey, planLine, repositoryKey } from "./plan.ts";
import { noteResult, readFields, readPackages, resultOf } from "./records.ts";
import { type ShippedSystem, type ShipReport, type ShipRequest, type StageName, type StageReport, STAGES } from "./types.ts";

export interface ShipContext {
  readonly host: Host;
  readonly store: Store;
  readonly ledger: Ledger;
  readonly receipts: Receipts;
  /** `repos/` of the state directory. */
  readonly repositories: string;
  readonly system: System;
  readonly now: () => number;
  readonly builder: (emit: Emit<BuildEvent>) => Builder;
  readonly loadProject: (file: string | undefined) => Promise<Project>;
  readonly machines: () => Promise<Machines>;
  readonly templates: () => Promise<TemplateStore>;
  readonly pools: () => Promise<Pools>;
  /** Of the key that signs verdicts. */
  readonly hostKeyFile: string;
}

/** What a stage hands back; how long it took and that it is reported is the line's affair. */
export interface Outcome<Result> {
  readonly how: StageReport["how"];
  readonly summary: string;
  readonly receipts: readonly string[];
  readonly result: Result;
}

export interface Shipping {
  readonly context: ShipContext;
  readonly request: ShipRequest;
  readonly project: Project;
  readonly line: Line;
}

export async function ship(context: ShipContext, request: ShipRequest, emit: Emit<BuildEvent>): Promise<ShipReport> {
  const stages: StageReport[] = [];
  const stage = async <Result>(name: StageName, work: () => Promise<Outcome<Result>>): Promise<Result> => {
    request.signal?.throwIfAborted();
    const started = performance.now();
    const { result, ...outcome } = await work();
    const report: StageReport = { stage: name, ...outcome, durationMs: performance.now() - started };
    stages.push(report);
    request.onStage(report);
    return result;
  };

  const { project, line } = await stage("recipe", () => recipeStage(context, request));
  const shipping: Shipping = { context, request, project, line };
  const reaches = (name: StageName): boolean => STAGES.indexOf(name) <= STAGES.indexOf(request.until ?? "pool");
  const report = (final: ReceiptFields, systems: readonly ShippedSystem[] = []): ShipReport => ({
    project: project.file,
    stages,
    final,
    systems,
  });
  if (!reaches("build")) return report({});
  const built = await stage("build", () => buildStage(shipping, emit));
  let final = built.fields;
  if (!reaches("package")) return report(final);
  const made = new Map<PackageDeclaration<Buildable>, readonly MadePackage[]>();
  for (const declaration of line.packages) {
    const output = built.outputs.get(declaration.source);
    if (output === undefined) throw new Error(`${declaration.source.name} was left out of the build`);
    const packaged = await stage("package", () => packageStage(shipping, declaration, output, built.builder));
    made.set(declaration, packaged.packages);
    final = packaged.fields;
  }
  if (!reaches("repository")) return report(final);
  const published = new Map<RepositoryDeclaration<Buildable>, { readonly location: string; readonly trust: Trust }>();
  for (const declaration of line.repositories) {
    const packages = declaration.packages.flatMap((each) => made.get(each) ?? []);
    final = await stage("repository", () => repositoryStage(shipping, declaration, packages));
    const { publicPem } = loadKey(context.host, request.keyFile, []);
    published.set(declaration, { location: final["repo_path"] ?? "", trust: { mode: "pubkey", publicPem } });
  }
  if (!reaches("world") || line.systems.length === 0) return report(final);
  const systems: ShippedSystem[] = [];
  const { gateStage, imageStage, openSystemLine, shipped, systemStage, worldStage } = await import("./systems.ts");
  for (const system of line.systems) {
    const of = openSystemLine(shipping, system, { builder: built.builder, outputs: built.outputs, repositories: published });
    const slices = await stage("world", () => worldStage(of));
    if (!reaches("system")) continue;
    const composed = await stage("system", () => systemStage(of, slices));
    final = composed.fields;
    const image = reaches("image") ? await stage("image", () => imageStage(of, composed)) : undefined;
    final = image?.fields ?? final;
    if (image !== undefined && reaches("gate")) final = await stage("gate", () => gateStage(of, composed, image));
    const verdict = final["verdict_path"];
    if (system.template !== undefined && verdict !== undefined && reaches("template")) {
      const declared = system.template;
      const { poolStage, templateStage } = await import("./pools.ts");
      const template = await stage("template", () => templateStage(of, composed, declared, verdict));
      final = template.fields;
      if (reaches("pool")) final = await stage("pool", () => poolStage(of, template.template));
    }
    systems.push(shipped(system, composed, image, verdict, system.template?.name));
  }
  return report(final, systems);
}

async function recipeStage(context: ShipContext, request: ShipRequest): Promise<Outcome<{ project: Project; line: Line }>> {
  const project = await context.loadProject(request.file);
  const line = planLine(project, request.only);
  if (line.goals.length + line.systems.length === 0) {
    throw new Problem({
      code: "E_NOTHING_TO_SHIP",
      message: `${project.file} exports no recipe, package or repository`,
      hint: 'start with: import { autotools } from "garth"; export const hello = autotools({ ... });',
      exit: 2,
    });
  }
  const counted = [
    `${line.goals.length} ${line.goals.length === 1 ? "recipe" : "recipes"}`,
    `${line.packages.length} ${line.packages.length === 1 ? "package" : "packages"}`,
    `${line.repositories.length} ${line.repositories.length === 1 ? "repository" : "repositories"}`,
    ...(line.systems.length === 0 ? [] : [`${line.systems.length} ${line.systems.length === 1 ? "system" : "systems"}`]),
  ].join(", ");
  const fields = { project_file: project.file, project_sha256: project.digest, type_check: project.typeCheck };
  return {
    how: project.typeCheck === "checked" ? "done" : "unchanged",
    summary: `${project.file}: ${counted}`,
    receipts: [context.receipts.keep("recipe", sha256(project.file).slice(0, 12), fields)],
    result: { project, line },
  };
}

interface Built {
  readonly outputs: ReadonlyMap<Buildable, StepResult>;
  readonly builder: Builder;
  readonly fields: ReceiptFields;
}

async function buildStage(shipping: Shipping, emit: Emit<BuildEvent>): Promise<Outcome<Built>> {
  const { context, request, project, line } = shipping;
  const { host, store, receipts } = context;
  const { graph, keyOf } = graphWithKeys(host, project, line.goals, request.system ?? context.system);
  const builder = context.builder(emit);
  const { jobs, on, keepGoing, keepFailed, signal } = request;
  const where = { ...(on === undefined ? {} : { on }), ...(signal && { signal }) };
  const options = { jobs, keepGoing, keepFailed, rebuild: false, check: false, dryRun: false, ...where };
  const result = await builder.build(graph, options);
  const outputs = new Map<Buildable, StepResult>();
  for (const goal of line.goals) {
    const step = result.goals.get(keyOf(goal));
    if (step === undefined) throw new Error(`the builder left out ${goal.name}`);
    outputs.set(goal, step);
  }
  const results = [...outputs.values()];
  const kept = results.map((step) => {
    const label = stepLabel(step.step);
    for (const [name, path] of Object.entries(step.outputs)) store.addRoot(rootName(project, label, name), path);
    const fields = buildReceipt(step, store);
    return { name: receipts.keep("build", label, fields), fields };
  });
  return {
    how: wasBuilt(result) ? "done" : "unchanged",
    summary:
      results.length === 0
        ? "nothing to build"
        : results
            .map((step) => `${stepLabel(step.step)} -> ${step.outputs["out"] ?? Object.values(step.outputs).join(" ")}`)
            .join("; "),
    receipts: kept.map(({ name }) => name),
    result: { outputs, builder, fields: kept.at(-1)?.fields ?? {} },
  };
}

function wasBuilt(result: BuildResult): boolean {
  return result.steps.some((step) => step.how === "built");
}

interface Packaged {
  readonly packages: readonly MadePackage[];
  readonly fields: ReceiptFields;
}

async function packageStage(
  shipping: Shipping,
  declaration: PackageDeclaration<Buildable>,
  built: StepResult,
  builder: Builder,
): Promise<Outcome<Packaged>> {
  const { context, request, project } = shipping;
  const { store, ledger, receipts } = context;
  const output = built.outputs[declaration.output ?? "out"];
  const { recipe } = built.step;
  if (output === undefined) {
    throw new Problem({
      code: "E_BAD_PACKAGE",
      message: `the package ${declaration.name ?? recipe.name} is of the output ${declaration.output}, which ${recipe.name} does not have`,
      hint: `it has ${recipe.outputs.join(", ")}`,
      where: project.file,
      exit: 2,
    });
  }
  const description = describePackage(declaration, recipe);
  const abi = declaredAbi(declaration, description.name) ?? (await abiOf(context, built, builder, request.signal));
  const key = packageKey(description, output, abiString(abi));
  const before = readPackages(resultOf(ledger, key));
  const isThere = before !== undefined && before.every(({ path }) => store.isValid(path));
  const packages = isThere ? before : await makePackages(context, { description, output, abi });
  if (!isThere) noteResult(ledger, key, packages, context.now());
  const goal = packages.at(-1);
  if (goal === undefined) throw new Error(`no package was made of ${output}`);
  for (const each of packages) store.addRoot(rootName(project, `${goal.name}-package`, each.name), each.path);
  const fields = {
    pkg_path: goal.path,
    pkg_sha256: goal.sha256,
    pkg_name: goal.name,
    pkg_version: goal.version,
    out_path: output,
    abi: abiString(abi),
    package_count: String(packages.length),
    packages: packages.map(({ path }) => path).join(" "),
  };
  return {
    how: isThere ? "unchanged" : "done",
    summary: `${goal.name}-${goal.version}.pkg for ${abiString(abi)}, ${packages.length - 1} item packages`,
    receipts: [receipts.keep("package", `${goal.name}-${goal.version}`, fields)],
    result: { packages, fields },
  };
}

async function makePackages(
  { host, store }: ShipContext,
  what: Pick<Parameters<typeof createPackages>[2], "description" | "output" | "abi">,
): Promise<readonly MadePackage[]> {
  const directory = host.files.makeTemporaryDirectory(`${store.temporaryDirectory}/package-`);
  try {
    const created = await createPackages(host, store, { ...what, directory });
    const packages: MadePackage[] = [];
    for (const { file, manifest, sha256: digest } of created) {
      const { name, version } = manifest;
      const item = await store.addFixed(file, packageItemName(name, version), { form: "flat", sha256: digest });
      packages.push({ name, version, path: item.path, sha256: digest });
    }
    return packages;
  } finally {
    host.files.removeTree(directory);
  }
}

/** pkg allows `,` in a version and `@` in a name; a store item's name has neither. */
function packageItemName(name: string, version: string): string {
  return `${name}-${version}.pkg`.replaceAll(/[^A-Za-z0-9+._?=-]/g, "_");
}

async function repositoryStage(
  shipping: Shipping,
  declaration: RepositoryDeclaration<Buildable>,
  packages: readonly MadePackage[],
): Promise<Outcome<ReceiptFields>> {
  const { context, request } = shipping;
  const { host, ledger, receipts } = context;
  const directory = `${context.repositories}/${declaration.name}`;
  const signing = host.files.exists(request.keyFile)
    ? loadKey(host, request.keyFile, [directory])
    : await generateKey(host, request.keyFile);
  const key = repositoryKey(declaration, directory, fingerprintOf(signing.publicPem), packages);
  const before = readFields(resultOf(ledger, key));
  const isThere = before !== undefined && (await publishedCatalogue(context, directory, signing)) === before["catalogue_sha256"];
  const fields = isThere ? before : await publishPackages({ ...shipping, declaration, directory, packages, signing });
  if (!isThere) noteResult(ledger, key, fields, context.now());
  return {
    how: isThere ? "unchanged" : "done",
    summary: `${directory}: ${fields["package_count"]} packages, signed`,
    receipts: [receipts.keep("repository", declaration.name, fields)],
    result: fields,
  };
}

/** The digest of the catalogue that clients are given now, or undefined when there is none that this key signed. */
async function publishedCatalogue(
  { host, now }: ShipContext,
  directory: string,
  signing: SigningKey,
): Promise<string | undefined> {
  if (!host.files.exists(directory)) return undefined;
  try {
    const trust = { mode: "pubkey", publicPem: signing.publicPem } as const;
    return (await readRepository(host, directorySource(host, directory), { trust, nowMs: now() })).catalogue.catalogueSha256;
  } catch (error) {
    // Whatever is wrong with it, publishing looks at it again and either mends it or says what it is.
    if (error instanceof Problem) return undefined;
    throw error;
  }
}

interface Publishing extends Shipping {
  readonly declaration: RepositoryDeclaration<Buildable>;
  readonly directory: string;
  readonly packages: readonly MadePackage[];
  readonly signing: SigningKey;
}

/** Published, thinned out, and read back as a client would before anybody is told. */
async function publishPackages(publishing: Publishing): Promise<ReceiptFields> {
  const { context, request, declaration, directory, packages, signing } = publishing;
  const { host, store } = context;
  const { keyFile } = request;
  const add = packages.map(({ path }) => store.physical(path));
  // What is shipped now is what the project says now, also where a rebuilt package kept its version.
  await publish(host, { directory, add, keyFile, nowMs: context.now(), replace: true });
  const report = await prune(host, { directory, keyFile, keepVersions: declaration.keepVersions, nowMs: context.now() });
  const trust = { mode: "pubkey", publicPem: signing.publicPem } as const;
  const check = await verifyRepository(host, directorySource(host, directory), { trust, nowMs: context.now() });
  if (check.bad.length > 0) {
    throw new Problem({
      code: "E_REPOSITORY_UNSOUND",
      message: `the repository ${declaration.name} was published, and does not read back whole`,
      details: check.bad.map(({ package: name, problem }) => `${name}: ${problem.message}`),
      where: directory,
      hint: `garth repo verify ${directory}`,
    });
  }
  return {
    repo_path: directory,
    abi: report.abi,
    package_count: String(check.packageCount),
    catalogue_sha256: check.catalogueSha256,
    signature_type: report.signatureType,
    public_key_sha256: report.publicKeySha256,
    public_key: publicKeyFile(keyFile),
    packages: packages.map(({ name, version }) => `${name}-${version}`).join(" "),
  };
}
