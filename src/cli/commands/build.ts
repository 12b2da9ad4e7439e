/** garth build (drv build) and what one asks about derivations. */
import { formatDuration, isStorePath, namePart, Problem, type StorePath, type System } from "../../base/index.ts";
import type { Garth } from "../../app/index.ts";
import type { BuildOptions, PlannedStep, StepResult } from "../../build/index.ts";
import type { Graph, Reason, Step } from "../../recipe/index.ts";
import type { Answer, Context, Given, Handler } from "../command.ts";
import { usageProblem } from "../parse.ts";
import { absolute } from "../paths.ts";
import { receiptFile } from "../receipts.ts";
import { table } from "../render/text.ts";
import { whereOf } from "../where.ts";
import { oneItem } from "./store.ts";

/** @throws Problem E_USAGE */
export function jobsOf(given: Given, configured: number): number {
  const text = given.text("jobs");
  if (text === undefined) return configured;
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text);
  throw usageProblem(`--jobs ${text}: expected a whole number from 1`, "one job is one build at a time");
}

function label({ recipe: { name, version } }: Step): string {
  return version === "" ? name : `${name}-${version}`;
}

interface Asked {
  readonly graph: Graph;
  readonly named: Awaited<ReturnType<Garth["goals"]>>["named"];
}

async function askedFor(garth: Garth, given: Given, system?: System): Promise<Asked> {
  const asked = await garth.goals(given.arguments, system);
  if (asked.named.length > 0) return asked;
  throw usageProblem(
    "the project file exports nothing that can be built",
    "export a recipe: `export const hello = autotools({...})`",
  );
}

export const build: Handler = async (context, given) => {
  const garth = await context.garth();
  const { system, ...where } = await whereOf(garth, given);
  // What sandboxes share takes as long to make as the project to read; a failure comes again where the first one is run.
  const isHere = system === garth.system && (where.on === undefined || where.on === "here");
  if (isHere && !given.flag("dry-run")) garth.sandbox.prepare().catch(() => undefined);
  const { settings } = await garth.settings();
  const jobs = jobsOf(given, settings.jobs);
  const { graph, named } = await askedFor(garth, given, system);
  const builder = garth.builder(await context.progress());
  const options: BuildOptions = {
    jobs,
    ...where,
    keepFailed: given.flag("keep-failed"),
    keepGoing: given.flag("keep-going") || settings.keepGoing,
    rebuild: given.flag("rebuild"),
    check: given.flag("check"),
    dryRun: given.flag("dry-run"),
    retryAlternatives: given.flag("retry-alternatives"),
    signal: context.signal,
  };
  if (options.dryRun) return planned(await builder.plan(graph, where));
  const result = await builder.build(graph, options);
  const goals = named.map(({ ref, name, key }) => {
    const goal = result.goals.get(key);
    if (goal === undefined) throw new Error(`the builder left out ${ref}`);
    // What was there already has its receipt from when it was built.
    if (goal.how === "built") garth.receipts.keep("build", label(goal.step), garth.buildReceipt(goal));
    return { ref, name, goal };
  });
  linkOutputs(context, given, garth, goals);
  const copy = receiptFile(context, given);
  const last = goals.at(-1);
  if (copy !== undefined && last !== undefined) garth.writeReceipt(copy, garth.buildReceipt(last.goal));
  return {
    get data() {
      return goals.map(({ ref, goal }) => {
        const { drv, outputs, how, logFile: log } = goal;
        return { ref, drv, outputs, how, log, fields: garth.buildReceipt(goal) };
      });
    },
    text: () => goals.flatMap(({ goal }) => Object.values(goal.outputs)).join("\n"),
    pass: goals.map(({ name }) => name).join(" "),
  };
};

/** `--out-link NAME`: a symlink to the first output of each goal, which is also a root. */
function linkOutputs(
  context: Context,
  given: Given,
  garth: Garth,
  goals: readonly { readonly name: string; readonly goal: StepResult }[],
): void {
  const link = given.text("out-link");
  if (link === undefined) return;
  for (const { name, goal } of goals) {
    for (const [output, path] of Object.entries(goal.outputs)) {
      const suffix = `${goals.length > 1 ? `-${name}` : ""}${output === "out" ? "" : `-${output}`}`;
      garth.store.addRoot(absolute(context, link) + suffix, path);
    }
  }
}

function planned(steps: readonly PlannedStep[]): Answer {
  const text = () => steps.map(plannedText).join("\n");
  return { data: steps, text };
}

function plannedText(step: PlannedStep): string {
  const expected = step.expectedMs === undefined ? "" : `, about ${formatDuration(step.expectedMs)}`;
  const files = Object.entries(step.plan).map(
    ([file, content]) => `    --- ${file}\n${content.trimEnd().replaceAll(/^/gm, "    ")}`,
  );
  return [`${step.state.padEnd(8)} ${step.label}${expected}`, ...reasonLines(step.reasons), ...files].join("\n");
}

function reasonLines(reasons: readonly Reason[]): readonly string[] {
  return reasons.map(({ field, before, after }) => `    ${field}: ${before ?? "(not there)"} -> ${after ?? "(not there)"}`);
}

export const whyRebuild: Handler = async (context, given) => {
  const garth = await context.garth();
  const { system } = await whereOf(garth, given);
  const { graph, named } = await askedFor(garth, given, system);
  const builder = garth.builder(await context.progress());
  const found = [];
  for (const { ref, key } of named) found.push({ ref, steps: await builder.whyRebuild(graph, key) });
  const data = found.map(({ ref, steps }) => ({
    ref,
    steps: steps.map(({ step, reasons }) => ({ step: label(step), reasons })),
  }));
  const text = () =>
    data
      .flatMap(({ ref, steps }) => [
        steps.length === 0 ? `${ref}: nothing to rebuild` : `${ref}:`,
        ...steps.flatMap(({ step, reasons }) => [`  ${step}`, ...reasonLines(reasons)]),
      ])
      .join("\n");
  return { data, text };
};

export const graph: Handler = async (context, given) => {
  const garth = await context.garth();
  const { system } = await whereOf(garth, given);
  const { graph } = await askedFor(garth, given, system);
  const steps = graph.steps.map((step) => ({
    key: step.key,
    label: label(step),
    inputs: Object.values(step.inputs),
    goal: graph.goals.includes(step.key),
  }));
  const dot = () =>
    [
      "digraph garth {",
      ...steps.map(
        ({ key, label: name, goal }) => `  ${JSON.stringify(key)} [label=${JSON.stringify(name)}${goal ? " shape=box" : ""}];`,
      ),
      ...steps.flatMap(({ key, inputs }) => inputs.map((input) => `  ${JSON.stringify(key)} -> ${JSON.stringify(input)};`)),
      "}",
    ].join("\n");
  const lines = () =>
    steps
      .map(({ label: name, inputs }) => {
        const below = inputs.map((input) => graph.byKey.get(input)).filter((step) => step !== undefined);
        return below.length === 0 ? name : `${name}  needs ${below.map(label).join(", ")}`;
      })
      .join("\n");
  return { data: steps, text: given.flag("dot") ? dot : lines };
};

/** A derivation's path, the beginning of one, or a REF whose last derivation is meant. */
async function derivationOf(context: Context, garth: Garth, text: string, system?: System): Promise<StorePath> {
  if (isStorePath(text) && text.endsWith(".drv")) return text;
  const isRef = text.includes("#") || text.includes("/") || text.endsWith(".ts");
  if (!isRef) {
    const found = garth.store.find(text).filter((path) => path.endsWith(".drv"));
    if (found.length > 0) return found.length === 1 && found[0] !== undefined ? found[0] : oneItem(garth.store, text);
  }
  const { graph, named } = await garth.goals([text], system);
  const wanted = new Set(named.map(({ key }) => key));
  const steps = await garth.builder(await context.progress()).plan(graph);
  const step = steps.find(({ key, drv }) => wanted.has(key) && drv !== undefined);
  if (step?.drv !== undefined) return step.drv;
  throw new Problem({
    code: "E_NO_DERIVATION",
    message: `the derivation of ${text} is not known before its inputs are built`,
    hint: `garth build ${text}`,
    exit: 1,
  });
}

export const show: Handler = async (context, given) => {
  const garth = await context.garth();
  const { system } = await whereOf(garth, given);
  const drv = await derivationOf(context, garth, given.arguments[0] ?? "", system);
  if (!garth.store.isValid(drv)) {
    throw new Problem({
      code: "E_NO_SUCH_ITEM",
      message: `${drv} is not in the store`,
      hint: "it was collected, or never built here",
      exit: 2,
    });
  }
  const document: unknown = JSON.parse(garth.host.files.readText(garth.store.physical(drv)));
  const outputs = garth.store.realisation(drv) ?? {};
  const data = { path: drv, derivation: document, outputs };
  const text = () =>
    [drv, JSON.stringify(document, undefined, 2), ...Object.entries(outputs).map(([name, path]) => `${name}: ${path}`)].join(
      "\n",
    );
  return { data, text };
};

export const log: Handler = async (context, given) => {
  const garth = await context.garth();
  const word = given.arguments[0] ?? "";
  const { system } = await whereOf(garth, given);
  const drv = await derivationOf(context, garth, deriverOf(garth, word) ?? word, system);
  const text = garth.builder(await context.progress()).readLog(drv);
  return { data: { drv, name: namePart(drv), log: text }, text: () => text };
};

/** An output says which derivation made it. */
function deriverOf(garth: Garth, word: string): StorePath | undefined {
  return isStorePath(word) && !word.endsWith(".drv") ? garth.store.query(word)?.deriver : undefined;
}

export const check: Handler = async (context, given) => {
  const garth = await context.garth();
  const { file, digest, exports, typeCheck } = await garth.loadProject(given.arguments[0]);
  const found = [...exports.values()].map(({ name, kind }) => ({ name, kind }));
  const types = {
    checked: "types checked",
    known: "types checked before",
    absent: "types not checked: there is no compiler here",
  }[typeCheck];
  const text = () => [`${file}: ${types}`, table(found.map(({ name, kind }) => [`  ${kind}`, name]))].join("\n");
  return { data: { file, digest, typeCheck, exports: found }, text };
};
