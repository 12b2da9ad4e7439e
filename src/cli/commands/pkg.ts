/** garth pkg: packages from outputs, and what is in one. */
import { formatSize, Problem } from "../../base/index.ts";
import type { Garth } from "../../app/index.ts";
import type { PackageFields } from "../../pkg/index.ts";
import type { Context, Given, Handler } from "../command.ts";
import { absolute, existing } from "../paths.ts";
import { table } from "../render/text.ts";
import { whereOf } from "../where.ts";
import { jobsOf } from "./build.ts";

/** What the project file says about the package, where the reference names one. */
async function declaredFields(garth: Garth, ref: string, name: string): Promise<PackageFields> {
  const file = ref.slice(0, Math.max(0, ref.lastIndexOf("#")));
  const project = await garth.loadProject(file === "" ? undefined : file);
  const found = project.exports.get(name);
  return found?.kind === "package" ? found.value : {};
}

export const create: Handler = async (context, given) => {
  const garth = await context.garth();
  const [{ abiOfHostView, abiOfSystem, createPackages }, { declaredAbi, describePackage }] = await Promise.all([
    garth.repository(),
    garth.pkg(),
  ]);
  const { settings } = await garth.settings();
  const jobs = jobsOf(given, settings.jobs);
  const { system, ...where } = await whereOf(garth, given);
  const { graph, named } = await garth.goals(given.arguments, system);
  const options = { jobs, ...where, keepFailed: false, rebuild: false, check: false, dryRun: false, signal: context.signal };
  const builder = garth.builder(await context.progress());
  const result = await builder.build(graph, options);
  const directory = absolute(context, given.text("out") ?? ".");
  garth.host.files.makeDirectory(directory, { parents: true });
  const created = [];
  for (const { ref, name, key } of named) {
    const built = result.goals.get(key);
    if (built === undefined) throw new Error(`the builder left out ${ref}`);
    const fields = await declaredFields(garth, ref, name);
    const output = built.outputs[fields.output ?? "out"];
    if (output === undefined) {
      throw new Problem({
        code: "E_BAD_PACKAGE",
        message: `${ref} has no output ${fields.output}`,
        hint: `it has ${Object.keys(built.outputs).join(", ")}`,
        exit: 2,
      });
    }
    const description = describePackage(fields, built.step.recipe);
    // Where nothing else is said, a package is for the system that its build root is: a world, or the machine it was built on.
    const { buildRoot, system } = built.derivation;
    const abi =
      declaredAbi(fields, description.name) ??
      (buildRoot.kind === "host"
        ? abiOfHostView(garth.host, system, built.use?.on)
        : abiOfSystem(garth.host, await builder.buildRoot(built, context.signal)));
    created.push(...(await createPackages(garth.host, garth.store, { description, output, abi, directory })));
  }
  const rows = created.map(({ file, sizeBytes }) => [formatSize(sizeBytes), file]);
  return { data: created.map(({ file, sha256, sizeBytes }) => ({ file, sha256, sizeBytes })), text: () => table(rows, [0]) };
};

async function inspected(context: Context, given: Given) {
  const { host, repository } = await context.garth();
  const { inspectPackage } = await repository();
  return inspectPackage(host, existing(context, host, given.arguments[0] ?? ""));
}

export const info: Handler = async (context, given) => {
  const found = await inspected(context, given);
  const { manifest } = found;
  const rows = [
    ["name", `${manifest.name}-${manifest.version}`],
    ["origin", manifest.origin],
    ["abi", manifest.abi],
    ["comment", manifest.comment],
    ["www", manifest.www],
    ["maintainer", manifest.maintainer],
    ["prefix", manifest.prefix],
    ["licenses", manifest.licenses.join(` ${manifest.licenselogic} `)],
    ["installed", formatSize(manifest.flatsize)],
    ["package", `${formatSize(found.sizeBytes)}, sha256 ${found.sha256}`],
    [
      "needs",
      Object.entries(manifest.deps)
        .map(([name, { version }]) => `${name}-${version}`)
        .join(" "),
    ],
    ["needs libraries", manifest.shlibsRequired.join(" ")],
    ["brings libraries", manifest.shlibsProvided.join(" ")],
    ["scripts", Object.keys(manifest.scripts).join(" ")],
  ];
  return { data: found, text: () => table(rows.filter(([, value]) => value !== "")) };
};

export const ls: Handler = async (context, given) => {
  const { manifest } = await inspected(context, given);
  const rows = manifest.files.map(({ mode, uname, gname, sizeBytes, path, target }) => [
    mode.toString(8).padStart(4, "0"),
    `${uname}:${gname}`,
    String(sizeBytes),
    target === undefined ? path : `${path} -> ${target}`,
  ]);
  return { data: { files: manifest.files, directories: manifest.directories }, text: () => table(rows, [2]) };
};
