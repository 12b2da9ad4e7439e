/** One machine, and what is done to its generations. index.ts says in which order. */
import { Problem, type StorePath } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import {
  type Connection,
  type HostStore,
  makePlaceScript,
  openHostStore,
  type ScriptEnd,
  type VisitOptions,
} from "../remote/index.ts";
import type { Store } from "../store/index.ts";
import { type KnownHosts, reach } from "./connect.ts";
import { programFailed } from "./errors.ts";
import { offerOf } from "./offer.ts";
import { checkRemoval, checkRoom, compareNames, rollbackAction, switchAction } from "./plan.ts";
import { reboot, type Rebooting } from "./reboot.ts";
import { addScript, itemsScript, lookScript, MACHINE_ROOT, MACHINE_STORE, removeScript, selectScript } from "./scripts.ts";
import { readStatus, systemOf } from "./status.ts";
import type {
  MachineStatus,
  MachineWish,
  RebootReport,
  RemoveReport,
  RollbackPlan,
  RollbackReport,
  SwitchPlan,
  SwitchReport,
} from "./types.ts";

export interface DeployParts {
  readonly host: Host;
  readonly store: Store;
  readonly hosts: () => Promise<KnownHosts>;
  readonly visit: Omit<VisitOptions, "host">;
  readonly now: () => number;
  /** How two systems differ that are both in the store here. */
  readonly compare: (left: StorePath, right: StorePath) => Promise<readonly string[]>;
}

export interface ChangeOptions<Plan> {
  readonly trialSeconds: number;
  /** Only the plan. */
  readonly dryRun?: boolean;
  /** Starts the machine anew, and waits for what comes of it. */
  readonly reboot?: boolean;
  readonly signal?: AbortSignal;
  /** Before anything is done. */
  readonly onPlan?: (plan: Plan) => void;
  readonly onProgress?: (text: string) => void;
}

/** Everything throws those of Connection, E_NOT_A_SYSTEM_MACHINE, E_NOT_ROOT, E_MACHINE_ANSWER. */
export interface Machine {
  readonly machine: string;
  status(signal?: AbortSignal): Promise<MachineStatus>;
  /**
   * A new generation of a system that is in the store here, on trial at the next start.
   * @throws Problem E_NOT_A_SYSTEM, E_OTHER_SYSTEM, E_SWITCH_PENDING, E_MACHINE_FULL beforehand; E_MACHINE_BUSY, E_MACHINE_BROKEN; those of HostStore.send; E_NOT_BACK
   */
  switchTo(system: StorePath, options: ChangeOptions<SwitchPlan>): Promise<SwitchReport>;
  /** Back to the one before, or to another. @throws Problem E_NO_ROLLBACK, E_NO_SUCH_GENERATION, E_GENERATION_BROKEN beforehand */
  rollback(generation: number | undefined, options: ChangeOptions<RollbackPlan>): Promise<RollbackReport>;
  /** @throws Problem E_NO_SUCH_GENERATION, E_GENERATION_IN_USE: then none is removed */
  remove(generations: readonly number[], options?: { readonly signal?: AbortSignal }): Promise<RemoveReport>;
  close(): Promise<void>;
}

export async function openMachine(parts: DeployParts, wish: MachineWish): Promise<Machine> {
  const reached = await reach({ ...parts.visit, host: parts.host }, parts.hosts, wish);
  const { machine, connection } = reached;
  const status = (signal?: AbortSignal): Promise<MachineStatus> => look(machine, connection, signal);
  const part: Part = { parts, machine, url: reached.url, connection, status };
  return {
    machine,
    status,
    switchTo: (system, options) => switchTo(part, system, options),
    rollback: (generation, options) => rollback(part, generation, options),
    remove: (generations, options) => remove(part, generations, options),
    close: () => reached.close(),
  };
}

interface Part {
  readonly parts: DeployParts;
  readonly machine: string;
  readonly url: string;
  readonly connection: Connection;
  readonly status: (signal?: AbortSignal) => Promise<MachineStatus>;
}

const given = (signal: AbortSignal | undefined) => (signal === undefined ? {} : { signal });

async function printed(
  connection: Connection,
  script: { readonly doing: string; readonly body: string },
  signal: AbortSignal | undefined,
): Promise<{ readonly end: ScriptEnd; readonly text: string }> {
  const chunks: Uint8Array[] = [];
  const onOutput = (chunk: Uint8Array): void => void chunks.push(Uint8Array.from(chunk));
  const end = await connection.start(script, { onOutput, ...given(signal) }).ended;
  return { end, text: Buffer.concat(chunks).toString() };
}

async function look(machine: string, connection: Connection, signal: AbortSignal | undefined): Promise<MachineStatus> {
  const doing = `looking at ${machine}`;
  const { end, text } = await printed(connection, { doing, body: lookScript() }, signal);
  if (end.status !== 0) throw programFailed(machine, doing, end);
  return readStatus(machine, end.events, text);
}

async function differ(
  { parts, machine, connection }: Part,
  before: { readonly system: StorePath | undefined; readonly generation: number | undefined },
  after: StorePath,
  signal: AbortSignal | undefined,
): Promise<readonly string[]> {
  const { store, compare } = parts;
  const { system, generation } = before;
  if (system === undefined || generation === undefined) return [];
  if (store.isValid(system) && store.isValid(after)) return await compare(system, after);
  if (!store.isValid(after)) return [];
  const script = { doing: `asking ${machine} of what generation ${generation} is made`, body: itemsScript(generation) };
  const { end, text } = await printed(connection, script, signal);
  return end.status === 0 ? compareNames(text.split("\n"), store.closure([after])) : [];
}

async function run(
  { machine, connection }: Part,
  doing: string,
  body: string,
  signal: AbortSignal | undefined,
): Promise<ScriptEnd> {
  const end = await connection.start({ doing, body }, given(signal)).ended;
  if (end.status !== 0) throw programFailed(machine, doing, end);
  return end;
}

/** The store of the machine, as of a host: its items are root's and are named when they are whole. */
function storeOf({ parts, machine, url, connection }: Part, { family, architecture, hasMtree }: MachineStatus): HostStore {
  const { host, store } = parts;
  const facts = { system: `${architecture ?? "x86_64"}-${family}` } as const;
  const record = { name: machine, url, root: MACHINE_ROOT, facts };
  const check = hasMtree ? "mtree" : "nar";
  return openHostStore({ host, store, connection, record, storeDirectory: MACHINE_STORE, check });
}

async function switchTo(part: Part, system: StorePath, options: ChangeOptions<SwitchPlan>): Promise<SwitchReport> {
  const { parts, machine, connection } = part;
  const { trialSeconds, signal, dryRun = false } = options;
  // Read here and sent later.
  parts.store.pin([system]);
  const offer = offerOf(parts, system);
  const before = await part.status(signal);
  const action = switchAction(machine, before, offer);
  const store = storeOf(part, before);
  const needed = action.action === "send" ? await store.need([system], given(signal)) : { missing: [], diskBytes: 0 };
  if (action.action === "send") checkRoom(machine, before, offer, needed.diskBytes);
  const previous = systemOf(before, before.current);
  const plan: SwitchPlan = {
    machine,
    system,
    previous,
    current: before.current,
    ...action,
    difference: await differ(part, { system: previous, generation: before.current }, system, signal),
    missing: needed.missing,
    missingDiskBytes: needed.diskBytes,
    trialSeconds,
  };
  options.onPlan?.(plan);
  const report = { ...plan, done: false, sentItems: 0, sentBytes: 0, reboot: undefined };
  if (dryRun || plan.action === "current") return report;
  let { generation } = plan;
  let sent = { sentItems: 0, sentBytes: 0 };
  if (plan.action === "send") {
    if (needed.missing.length > 0) {
      options.onProgress?.(`sending ${needed.missing.length} items to ${machine}`);
      await connection.run({ doing: `making ${MACHINE_ROOT} on ${machine}`, body: makePlaceScript(MACHINE_ROOT) }, given(signal));
      const { sent: items, sentBytes } = await store.send([system], given(signal));
      sent = { sentItems: items.length, sentBytes };
    }
    const end = await run(part, `giving ${machine} ${system}`, addScript(system, offer.items, trialSeconds), signal);
    generation = numberOf(machine, end);
  }
  if (generation === undefined) throw new Error("a switch without a generation");
  const done = { ...report, ...sent, generation, done: plan.action === "send" };
  // One that runs on trial would be given up by another start.
  return options.reboot === true && !plan.onTrial
    ? { ...done, reboot: await startAnew(part, { before, wanted: generation, trialSeconds, options }) }
    : done;
}

/** The program's last word on it. */
function numberOf(machine: string, { events }: ScriptEnd): number {
  const word = events.findLast(({ name }) => name === "generation")?.fields[0] ?? "";
  if (/^[1-9][0-9]*$/.test(word)) return Number(word);
  throw new Problem({
    code: "E_MACHINE_ANSWER",
    message: `${machine} took it, and did not say which generation it is`,
    hint: `garth system generations ${machine}`,
  });
}

async function startAnew<Plan>(
  { parts, machine, connection, status }: Part,
  change: {
    readonly before: MachineStatus;
    readonly wanted: number;
    readonly trialSeconds: number | undefined;
    readonly options: ChangeOptions<Plan>;
  },
): Promise<RebootReport> {
  const { before, wanted, trialSeconds, options } = change;
  const { signal, onProgress } = options;
  const rebooting: Rebooting = {
    machine,
    connection,
    look: () => status(signal),
    wanted,
    trialSeconds,
    before,
    now: parts.now,
    signal,
    onProgress,
  };
  return await reboot(rebooting);
}

async function rollback(part: Part, wanted: number | undefined, options: ChangeOptions<RollbackPlan>): Promise<RollbackReport> {
  const { machine } = part;
  const { trialSeconds, signal, dryRun = false } = options;
  const before = await part.status(signal);
  const action = rollbackAction(machine, before, wanted);
  const previous = systemOf(before, before.current);
  const plan: RollbackPlan = {
    machine,
    current: before.current,
    previous,
    ...action,
    difference: await differ(part, { system: previous, generation: before.current }, action.system, signal),
    trialSeconds,
  };
  options.onPlan?.(plan);
  if (dryRun || (plan.action === "current" && before.running === plan.generation))
    return { ...plan, done: false, reboot: undefined };
  const { generation, onTrial } = plan;
  if (plan.action === "select")
    await run(part, `going back to generation ${generation} of ${machine}`, selectScript(generation, trialSeconds), signal);
  const done = { ...plan, done: plan.action === "select", reboot: undefined };
  if (options.reboot !== true) return done;
  const change = { before, wanted: generation, trialSeconds: onTrial ? trialSeconds : undefined, options };
  return { ...done, reboot: await startAnew(part, change) };
}

async function remove(
  part: Part,
  generations: readonly number[],
  options: { readonly signal?: AbortSignal } = {},
): Promise<RemoveReport> {
  const { machine } = part;
  const numbers = [...new Set(generations)].toSorted((left, right) => left - right);
  checkRemoval(machine, await part.status(options.signal), numbers);
  const doing = `removing generations ${numbers.join(", ")} of ${machine}`;
  const { events } = await run(part, doing, removeScript(numbers), options.signal);
  const of = (name: string): readonly string[] => events.filter((event) => event.name === name).map(({ rest }) => rest);
  return { removed: of("removed").map(Number), collected: of("collected") };
}
