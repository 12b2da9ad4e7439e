/**
 * A machine whose supervisor outlives the command that started it.
 *
 *     garth machine run --detach ──spec.json──► garth machine run, a session of its own ──start──► QEMU
 *                                ◄──one line: it runs, or the problem── stdout
 *
 * Both are this program. The second one is told by its environment where the machine that it is to start is written down; what it
 * says on stderr goes to a file that ends up in the machine's directory.
 */
import { isStorePath, Problem, type StorePath } from "../base/index.ts";
import type { Garth } from "../app/index.ts";
import type { MachineRecord, MachineSpec } from "../machine/index.ts";
import type { Context } from "./command.ts";

/** Names the directory with the machine's spec, and makes a supervisor of this program. */
export const STARTING = "GARTH_MACHINE_STARTING";
const LOG = "supervisor.log";
const RUNS = "runs";
const LOG_TAIL = 20;

export interface Starting {
  readonly spec: MachineSpec;
  /** Of the image, where it is an item: the supervisor holds it against gc. */
  readonly item: StorePath | undefined;
}

/** @throws Problem that of `Machines.start`, E_MACHINE_NOT_STARTED (exit 3) when there is none, E_INTERRUPTED (exit 130) */
export async function startDetached(context: Context, garth: Garth, starting: Starting, image: string): Promise<MachineRecord> {
  const { files } = garth.host;
  files.makeDirectory(garth.places.machines, { parents: true, mode: 0o700 });
  // Whoever dies before it is emptied leaves it to the next sweep.
  const directory = files.makeTemporaryDirectory(`${garth.places.machines}/.starting-`);
  try {
    files.writeFile(`${directory}/spec.json`, JSON.stringify(starting), 0o600);
    await supervise(context, garth, { directory, name: starting.spec.name, image });
  } catch (error) {
    files.removeTree(directory);
    throw error;
  }
  const record = (await garth.machines()).find(starting.spec.name);
  if (record !== undefined) return record;
  throw notStarted(starting.spec.name, ["it ran, and is gone"]);
}

interface Supervised {
  readonly directory: string;
  readonly name: string;
  /** As it was typed, for who looks at the list of processes. */
  readonly image: string;
}

/** Settles when the supervisor says that the machine runs. */
async function supervise(context: Context, garth: Garth, { directory, name, image }: Supervised): Promise<void> {
  const words = [
    "machine",
    "run",
    image,
    "--name",
    name,
    "--json",
    ...(garth.places.root === "" ? [] : ["--root", garth.places.root]),
  ];
  const log = `${directory}/${LOG}`;
  let said = "";
  const runs = Promise.withResolvers<"runs">();
  const child = garth.host.spawn(
    {
      argv: ["sh", "-c", 'log=$1; shift; exec "$@" 2>"$log"', "sh", log, ...context.program, ...words],
      env: { ...plainEnvironment(context), [STARTING]: directory },
      cwd: context.workingDirectory,
      doing: `starting a supervisor of the machine ${name}`,
    },
    {
      session: "own",
      onOutput: (chunk, stream) => {
        if (stream !== "stdout") return;
        said += Buffer.from(chunk).toString();
        if (said === `${RUNS}\n`) runs.resolve("runs");
      },
    },
  );
  const stop = (): void => child.kill("SIGTERM");
  context.signal.addEventListener("abort", stop, { once: true });
  if (context.signal.aborted) stop();
  const first = await Promise.race([runs.promise, child.exited]);
  context.signal.removeEventListener("abort", stop);
  if (first === "runs") return;
  if (context.signal.aborted)
    throw new Problem({ code: "E_INTERRUPTED", message: `starting the machine ${name} was interrupted`, exit: 130 });
  throw problemIn(said) ?? notStarted(name, (garth.host.files.readTextIfAny(log) ?? "").trimEnd().split("\n").slice(-LOG_TAIL));
}

function plainEnvironment({ env }: Context): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])));
}

function notStarted(name: string, details: readonly string[]): Problem {
  return new Problem({
    code: "E_MACHINE_NOT_STARTED",
    message: `starting the machine ${name}: its supervisor ended before the machine ran`,
    details,
    hint: "without --detach it says more",
    exit: 3,
  });
}

/** The document that `--json` prints of an error, as the error again. */
function problemIn(text: string): Problem | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const error = member(value, "error");
  const [code, message, exit] = [member(error, "code"), member(error, "message"), member(error, "exit")];
  if (typeof code !== "string" || typeof message !== "string") return undefined;
  const [hint, where, details] = [member(error, "hint"), member(error, "where"), member(error, "details")];
  return new Problem({
    code: `E_${code.replace(/^E_/, "")}`,
    message,
    ...(typeof hint === "string" ? { hint } : {}),
    ...(typeof where === "string" ? { where } : {}),
    ...(Array.isArray(details) ? { details: details.map(String) } : {}),
    exit: exit === 2 || exit === 3 || exit === 130 ? exit : 1,
  });
}

function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Object.getOwnPropertyDescriptor(value, name)?.value : undefined;
}

/** The supervisor's side. */
export function readStarting(garth: Garth, directory: string): Starting {
  // Written by the program that started this one, a moment ago.
  const value: unknown = JSON.parse(garth.host.files.readText(`${directory}/spec.json`));
  const [spec, item] = [member(value, "spec"), member(value, "item")];
  if (!isSpec(spec)) throw new Error(`${directory}/spec.json holds no machine`);
  return { spec, item: typeof item === "string" && isStorePath(item) ? item : undefined };
}

function isSpec(value: unknown): value is MachineSpec {
  return typeof member(value, "name") === "string" && Array.isArray(member(value, "disks"));
}

/** Says that the machine runs: from now on nobody reads what is printed, and stderr goes on in the machine's directory. */
export function announce(context: Context, garth: Garth, directory: string, machineDirectory: string): void {
  const { files } = garth.host;
  if (files.exists(`${directory}/${LOG}`)) files.rename(`${directory}/${LOG}`, `${machineDirectory}/${LOG}`);
  files.removeTree(directory);
  context.raw(new TextEncoder().encode(`${RUNS}\n`));
}
