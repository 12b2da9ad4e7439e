/** What a machine says when it is looked at (scripts.ts) as a value. Pure. */
import { isStorePath, Problem, type StorePath } from "../base/index.ts";
import type { ScriptEvent } from "../host/index.ts";
import { badStatus, notOurs, notRoot } from "./errors.ts";
import type { Architecture, Family, GenerationState, MachineGeneration, MachineStatus } from "./types.ts";

const FAMILIES: Readonly<Record<string, Family>> = { Linux: "linux", FreeBSD: "freebsd" };
const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  amd64: "x86_64",
  x86_64: "x86_64",
  aarch64: "aarch64",
  arm64: "aarch64",
};
const STATES: readonly GenerationState[] = ["trial", "good", "failed", "broken"];

/**
 * `events` of the script, `text` of the program's standard output.
 * @throws Problem E_NOT_A_SYSTEM_MACHINE, E_NOT_ROOT, E_MACHINE_ANSWER
 */
export function readStatus(machine: string, events: readonly ScriptEvent[], text: string): MachineStatus {
  const said = (name: string): string | undefined => events.find((event) => event.name === name)?.rest;
  const [kernel = "", processor = ""] = (said("system") ?? "").split(" ");
  const foreign = said("foreign");
  if (foreign !== undefined) throw notOurs(machine, `${kernel} on ${processor}`.trim(), foreign);
  const uid = said("uid");
  if (uid !== "0") throw notRoot(machine, uid ?? "?");
  const family = FAMILIES[kernel];
  const bootId = said("boot") ?? "";
  if (family === undefined || bootId === "") throw badStatus(machine, `system ${said("system") ?? ""}, boot ${bootId}`);
  const facts = new Map<string, string>();
  const generations: MachineGeneration[] = [];
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const at = line.indexOf(" ");
    const [name, rest] = at < 0 ? [line, ""] : [line.slice(0, at), line.slice(at + 1)];
    if (name === "generation") generations.push(readGeneration(machine, line));
    else facts.set(name, rest);
  }
  const number = (name: string): number | undefined => {
    const word = facts.get(name);
    if (word === undefined) throw badStatus(machine, `nothing of ${name}`);
    if (word === "-") return undefined;
    if (!/^[0-9]{1,15}$/.test(word)) throw badStatus(machine, `${name} ${word}`);
    return Number(word);
  };
  const runningSystem = facts.get("running-system") ?? "-";
  return {
    family,
    architecture: ARCHITECTURES[processor],
    bootId,
    hasMtree: said("mtree") === "yes",
    running: number("running"),
    runningSystem: isStorePath(runningSystem) ? runningSystem : undefined,
    current: number("current"),
    rollback: number("rollback"),
    next: number("next"),
    onTrial: facts.get("booted-trial") === "yes",
    bootFreeBytes: number("boot-free"),
    rootFreeBytes: number("root-free"),
    generations: generations.toSorted((left, right) => left.number - right.number),
  };
}

function readGeneration(machine: string, line: string): MachineGeneration {
  const [, number = "", word = "", system = "", ...by] = line.split(" ");
  const state = STATES.find((each) => each === word);
  if (!/^[1-9][0-9]{0,9}$/.test(number) || state === undefined || !isStorePath(system)) throw badStatus(machine, line);
  return { number: Number(number), state, system, by: by.join(" ") };
}

/** @throws Problem E_NO_SUCH_GENERATION (exit 2) */
export function generationOf(machine: string, { generations }: MachineStatus, number: number): MachineGeneration {
  const found = generations.find((each) => each.number === number);
  if (found !== undefined) return found;
  throw new Problem({
    code: "E_NO_SUCH_GENERATION",
    message: `${machine} has no generation ${number}`,
    hint: generations.length === 0 ? "it has none" : `it has ${generations.map((each) => each.number).join(", ")}`,
    exit: 2,
  });
}

/** The system of a generation that a pointer names; undefined where it names none. */
export function systemOf({ generations }: MachineStatus, number: number | undefined): StorePath | undefined {
  return number === undefined ? undefined : generations.find((each) => each.number === number)?.system;
}
