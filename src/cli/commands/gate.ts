/** garth gate: booting an image and judging its console; verdicts, read again. */
import { formatDuration, isStorePath, namePart, operatingSystemOf, Problem, type StorePath } from "../../base/index.ts";
import type { Garth } from "../../app/index.ts";
import type { GateDeclaration, GateMachine, SignedVerdict } from "../../gate/index.ts";
import type { Answer, Context, Given, Handler } from "../command.ts";
import { digestOf, type FoundImage, imageOf } from "../image-of.ts";
import { hasMachineOptions, machineOptions, macOf } from "../machine-spec.ts";
import { usageProblem } from "../parse.ts";
import { absolute, textOf } from "../paths.ts";
import { receiptFile } from "../receipts.ts";
import { table } from "../render/text.ts";
import { type DeclaredSystem, declaredSystem, isSystemReference, shipSystem, systemReference } from "../system-of.ts";
import { gateLine } from "./ship.ts";
import { oneItem } from "./store.ts";

export const run: Handler = async (context, given) => {
  const garth = await context.garth();
  const [word = ""] = given.arguments;
  const isSystem = !isStorePath(word) && isSystemReference(garth, word, absolute(context, word));
  const declared = isSystem ? await declaredSystem(garth, systemReference(word)) : undefined;
  const file = given.text("gate");
  if (given.flag("dry-run")) return await rules(garth, await gateFor(context, garth, file, declared), declared);
  if (isSystem && file === undefined && !hasMachineOptions(given)) {
    // Nothing is asked for that the line does not do: it keeps the receipt, and knows the verdict the next time.
    const { report, system } = await shipSystem(context, given, systemReference(word), { until: "gate", again: true });
    if (system.verdict === undefined) throw new Error(`no verdict of ${system.name}`);
    return await passed(garth, system.verdict, report.final);
  }
  const declaration = await gateFor(context, garth, file, declared);
  return await booted(context, given, garth, {
    image: await imageOf(context, given, word),
    declaration,
    declared,
  });
};

/** The file's, the system's own, or the built-in rules alone. @throws Problem E_BAD_GATE (exit 2) */
async function gateFor(
  context: Context,
  garth: Garth,
  file: string | undefined,
  declared: DeclaredSystem | undefined,
): Promise<GateDeclaration> {
  const { gate, parseGate } = await garth.gate();
  if (file !== undefined) return await parseGate(textOf(context, garth.host, file), absolute(context, file));
  return declared?.gate ?? gate();
}

async function rules(garth: Garth, declaration: GateDeclaration, declared: DeclaredSystem | undefined): Promise<Answer> {
  const { gateDigest, gateText, resolveGate } = await garth.gate();
  const gate = resolveGate(declaration, declared?.declaration.spec.family ?? operatingSystemOf(garth.system));
  const text = gateText(gate);
  return { data: { gate, sha256: gateDigest(gate), text }, text: () => text };
}

interface Boot {
  readonly image: FoundImage;
  readonly declaration: GateDeclaration;
  readonly declared: DeclaredSystem | undefined;
}

/** As the line has it: reached through its SSH port alone where it has one, and reaching nothing. */
function networkOf({ image, declared }: Boot): Pick<GateMachine, "network"> {
  if (declared === undefined) return {};
  const listensToSsh = declared.declaration.spec.services.some(({ listens }) => listens === 22);
  const forward = listensToSsh ? [{ hostPort: 0, guestPort: 22 }] : [];
  return { network: { kind: "user", mac: macOf(image.name), forward, isolated: true } };
}

async function booted(context: Context, given: Given, garth: Garth, boot: Boot): Promise<Answer> {
  const { image, declaration } = boot;
  const { gateProblem, gateReceipt, runGate } = await garth.gate();
  const { container } = image.kind;
  if (container !== "raw" && container !== "qcow2")
    throw usageProblem(
      `${image.file} is ${container}, which machines here do not take`,
      `garth image convert ${image.file} FILE.raw`,
    );
  const machine = await machineOptions(garth, given, image);
  const { host, store, places } = garth;
  const sha256 = await digestOf(garth, image, context.signal);
  const report = await runGate(
    { host, store, machines: await garth.machines(), keyFile: `${places.keys}/host.pem`, now: context.now },
    {
      name: image.name,
      image: { file: image.file, format: container, sha256, storePath: image.storePath },
      gate: declaration,
      machine: { system: garth.system, ...networkOf(boot), ...machine },
      signal: context.signal,
      onEvent: (event) => {
        const line = gateLine(event);
        if (line !== undefined) context.note(line);
      },
    },
  );
  const fields = gateReceipt(report);
  garth.receipts.keep("boot", image.name, fields);
  // Of a failure, too: what failed is worth as much to know.
  const copy = receiptFile(context, given);
  if (copy !== undefined) garth.writeReceipt(copy, fields);
  const problem = gateProblem(report);
  if (problem !== undefined) throw problem;
  return await passed(garth, report.path, fields);
}

async function passed(garth: Garth, path: StorePath, fields: Readonly<Record<string, string>>): Promise<Answer> {
  const signed = await (await garth.gate()).readVerdict(garth.host, garth.store, path);
  const answer = await shown(garth, signed);
  return { data: { ...plain(signed), fields }, text: answer.text, pass: signed.verdict.name };
}

export const show: Handler = async (context, given) => {
  const garth = await context.garth();
  const key = given.text("trust-key");
  const trusted = key === undefined ? undefined : textOf(context, garth.host, key);
  if (trusted !== undefined && !/-----BEGIN PUBLIC KEY-----/.test(trusted))
    throw usageProblem(`--trust-key ${key}: expected a public key in PEM`, "public-key.pem of a verdict is one");
  const path = verdictNamed(garth, given.arguments[0] ?? "");
  const { readVerdict } = await garth.gate();
  const signed = await readVerdict(garth.host, garth.store, path, trusted === undefined ? {} : { trusted });
  if (given.flag("console")) return { data: { path, console: signed.consoleLog }, text: () => signed.consoleLog };
  return await shown(garth, signed);
};

/** By a store path or its beginning; by a name, the newest. @throws Problem E_NO_VERDICT, E_AMBIGUOUS_ITEM (exit 2) */
function verdictNamed(garth: Garth, word: string): StorePath {
  const { store } = garth;
  if (isStorePath(word)) return word;
  const isVerdict = (path: StorePath): boolean => namePart(path).startsWith("verdict-");
  const found = store.find(word).filter(isVerdict);
  const [only] = found;
  if (found.length === 1 && only !== undefined) return only;
  const named = store.all().filter(({ path }) => namePart(path) === `verdict-${word}` || namePart(path) === word);
  const newest = named
    .filter(({ path }) => isVerdict(path))
    .toSorted((left, right) => right.registeredAtMs - left.registeredAtMs)[0];
  if (newest !== undefined) return newest.path;
  if (found.length > 0) return oneItem(store, word);
  throw new Problem({
    code: "E_NO_VERDICT",
    message: `there is no verdict ${JSON.stringify(word)}`,
    hint: "`garth store ls verdict-` lists those there are; `garth gate run` makes one and prints its path",
    exit: 2,
  });
}

/** Without texts that are long and lie in files of the item. */
function plain({ path, verdict, commandLine, screenshot, publicKeySha256 }: SignedVerdict): object {
  return { path, verdict, commandLine, screenshot, publicKeySha256 };
}

async function shown(garth: Garth, signed: SignedVerdict): Promise<Answer> {
  const { renderReason } = await garth.gate();
  const { verdict, path, publicKeySha256, screenshot } = signed;
  const at = (seconds: number | undefined): string => (seconds === undefined ? "never" : `${seconds.toFixed(1)} s`);
  const text = () =>
    [
      table([
        ["verdict", verdict.verdict],
        ["of", verdict.name],
        ["image", verdict.image.path],
        ["sha256", verdict.image.sha256],
        ["gate", `${verdict.gate.name}, sha256 ${verdict.gate.sha256}`],
        ["accelerator", `${verdict.machine.accelerator}: ${verdict.machine.acceleratorReason}`],
        ["ready after", verdict.bootS === undefined ? "-" : formatDuration(verdict.bootS * 1000)],
        ["began", verdict.startedAt],
        ["signed by", publicKeySha256],
        ...(screenshot === undefined ? [] : [["picture", screenshot]]),
        ["path", path],
      ]),
      ...verdict.reasons.map((reason) => `failed because ${renderReason(reason)}`),
      ...verdict.markers.map(
        ({ name, atS, line }) => `seen    ${at(atS).padStart(8)}  ${name}${line === undefined ? "" : `: ${line}`}`,
      ),
      ...verdict.probes.map(
        ({ command, passed: isPassed, endedS, output = "" }) =>
          `${isPassed ? "passed" : "FAILED"}  ${at(endedS).padStart(8)}  ${command}: ${output.trim().split("\n")[0] ?? ""}`,
      ),
    ].join("\n");
  return { data: plain(signed), text };
}
