/** What is to be done to a machine that was looked at, decided before anything is. Pure. */
import { isStorePath, type StorePath } from "../base/index.ts";
import { brokenGeneration, full, inUse, noRollback, otherKind, pending } from "./errors.ts";
import { generationOf, systemOf } from "./status.ts";
import type { MachineStatus, OfferedSystem, RollbackPlan, SwitchPlan } from "./types.ts";

export const TRIAL_SECONDS = 15 * 60;
export const TRIAL_SECONDS_MIN = 10;
export const TRIAL_SECONDS_MAX = 24 * 60 * 60;
/** Records of a generation, entries of the loader, directories that grow. */
const ROOT_SPARE_BYTES = 1024 * 1024;
const BOOT_SPARE_BYTES = 64 * 1024;

/** @throws Problem E_OTHER_SYSTEM (exit 2), E_SWITCH_PENDING */
export function switchAction(
  machine: string,
  status: MachineStatus,
  offer: OfferedSystem,
): Pick<SwitchPlan, "action" | "generation" | "onTrial"> {
  const { family, architecture, current, next, onTrial } = status;
  const isOther = architecture !== undefined && offer.architecture !== undefined && architecture !== offer.architecture;
  if (family !== offer.family || isOther)
    throw otherKind(
      machine,
      `${architecture ?? ""} ${family}`.trim(),
      offer.path,
      `${offer.architecture ?? ""} ${offer.family}`.trim(),
    );
  if (next !== undefined) {
    if (systemOf(status, next) !== offer.path) throw pending(machine, next, onTrial, current);
    return { action: "waiting", generation: next, onTrial };
  }
  if (systemOf(status, current) === offer.path) return { action: "current", generation: current, onTrial: false };
  return { action: "send", generation: undefined, onTrial: false };
}

/** @throws Problem E_MACHINE_FULL */
export function checkRoom(machine: string, status: MachineStatus, offer: OfferedSystem, missingDiskBytes: number): void {
  const { bootFreeBytes, rootFreeBytes, generations } = status;
  const isThere = offer.bootBytes === 0 || generations.some(({ system }) => system === offer.path);
  const bootBytes = (isThere ? 0 : offer.bootBytes) + BOOT_SPARE_BYTES;
  if (bootFreeBytes !== undefined && bootFreeBytes < bootBytes) throw full(machine, "boot", bootBytes, bootFreeBytes);
  const rootBytes = missingDiskBytes + ROOT_SPARE_BYTES;
  if (rootFreeBytes !== undefined && rootFreeBytes < rootBytes) throw full(machine, "root", rootBytes, rootFreeBytes);
}

/** @throws Problem E_NO_ROLLBACK, E_NO_SUCH_GENERATION (exit 2), E_GENERATION_BROKEN */
export function rollbackAction(
  machine: string,
  status: MachineStatus,
  wanted: number | undefined,
): Pick<RollbackPlan, "generation" | "system" | "action" | "onTrial" | "dropped"> {
  const number = wanted ?? status.rollback;
  if (number === undefined) throw noRollback(machine);
  const { system, state } = generationOf(machine, status, number);
  if (state === "broken") throw brokenGeneration(machine, number);
  const { current, next } = status;
  const dropped = next === number ? undefined : next;
  const nothing = number === current && next === undefined;
  return { generation: number, system, action: nothing ? "current" : "select", onTrial: state !== "good" && !nothing, dropped };
}

/** @throws Problem E_NO_SUCH_GENERATION, E_GENERATION_IN_USE (exit 2) */
export function checkRemoval(machine: string, status: MachineStatus, numbers: readonly number[]): void {
  const { current, running, next } = status;
  for (const number of numbers) {
    generationOf(machine, status, number);
    for (const [why, used] of Object.entries({ current, running, next }))
      if (used === number) throw inUse(machine, String(number), why);
  }
}

/** Items by their names without what was computed: what is known of a system that is not in the store here. */
export function compareNames(before: readonly string[], after: readonly StorePath[]): readonly string[] {
  const left = new Map<string, Set<string>>();
  const right = new Map<string, Set<string>>();
  const put = (into: Map<string, Set<string>>, name: string): void => {
    const short = name.slice(65);
    into.set(short, (into.get(short) ?? new Set()).add(name));
  };
  for (const name of before) if (isStorePath(`/frx/store/${name}`)) put(left, name);
  for (const path of after) put(right, path.slice("/frx/store/".length));
  const lines = [...new Set([...left.keys(), ...right.keys()])].toSorted().flatMap((name) => {
    const [old, young] = [left.get(name), right.get(name)];
    if (old === undefined) return [`+ ${name}`];
    if (young === undefined) return [`- ${name}`];
    return old.size === young.size && [...old].every((each) => young.has(each)) ? [] : [`~ ${name}`];
  });
  return lines.length === 0 ? ["the same items"] : ["items", ...lines.map((line) => `  ${line}`)];
}
