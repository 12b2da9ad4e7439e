/**
 * `<template>.conf`: what a machine made from a template looks like. Shell syntax, parsed and never executed; written back it says
 * everything.
 *
 * The slots that Garth's own plan of a bhyve machine needs are known here, so that a clash is refused when the template is made, not
 * when the first machine is.
 */
import { closest, Problem } from "../base/index.ts";
import { bhyveSlotsOf, isPassedThrough, lintSlots, lintTakenSlots, type MachineSlot, parseSlot } from "../machine/index.ts";
import { shellQuote } from "../host/index.ts";
import { readAssignments } from "./sidecar-syntax.ts";
import {
  FIELDS,
  KEYS,
  type PlainValues,
  readValues,
  type ReportField,
  type SidecarField,
  type SidecarTexts,
} from "./sidecar-values.ts";
import type { Sidecar } from "./types.ts";

const MIB = 1024 ** 2;
const SLOTS_MAX = 32;
const TEXT_MAX = 64 * 1024;
/** The root and, where there is one, the seed. */
const DISKS = ["root", "seed"];

interface Fault {
  /** undefined: of the file. */
  readonly line: number | undefined;
  readonly message: string;
  readonly hint: string | undefined;
}

/** @throws Problem E_BAD_SIDECAR with every fault and its line (exit 2) */
export function parseSidecar(text: string, file: string): Sidecar {
  if (text.length > TEXT_MAX)
    throw badSidecar(file, [{ line: undefined, message: `it has more than ${TEXT_MAX} characters`, hint: undefined }]);
  const assignments = readAssignments(text);
  if ("message" in assignments) throw badSidecar(file, [{ ...assignments, hint: assignments.hint }]);
  const faults: Fault[] = [];
  const lines: { [Field in SidecarField]?: number } = {};
  const texts: { [Field in SidecarField]?: string } = {};
  for (const { key, value, line } of assignments) {
    const field = FIELDS.find((one) => KEYS[one] === key);
    const before = field === undefined ? undefined : lines[field];
    if (field === undefined) {
      const near = closest(key, Object.values(KEYS));
      const hint = near === undefined ? `the keys are ${Object.values(KEYS).join(", ")}` : `did you mean ${near}?`;
      faults.push({ line, message: `${key}: there is no such key`, hint });
    } else if (before !== undefined) {
      faults.push({ line, message: `${key}: it has a value in line ${before} already`, hint: "leave one of them out" });
    } else {
      lines[field] = line;
      texts[field] = value;
    }
  }
  const sidecar = sidecarOf(texts, (field, message, hint) => {
    faults.push({ line: lines[field], message: `${KEYS[field]}: ${message}`, hint });
  });
  if (faults.length > 0) throw badSidecar(file, faults);
  return sidecar;
}

/** Of texts that a project file or a command line gave. @throws Problem E_BAD_SIDECAR (exit 2) */
export function sidecarFrom(texts: SidecarTexts, what: string): Sidecar {
  const faults: Fault[] = [];
  const sidecar = sidecarOf(texts, (field, message, hint) => {
    faults.push({ line: undefined, message: `${KEYS[field]}: ${message}`, hint });
  });
  if (faults.length > 0) throw badSidecar(what, faults);
  return sidecar;
}

function badSidecar(file: string, faults: readonly Fault[]): Problem {
  const sorted = faults.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0));
  const [first, ...others] = sorted;
  const at = (line: number | undefined): string => (line === undefined ? "" : `line ${line}: `);
  return new Problem({
    code: "E_BAD_SIDECAR",
    message: `reading the sidecar: ${at(first?.line)}${first?.message ?? ""}`,
    details: others.map(({ line, message }) => `${at(line)}${message}`),
    where: first?.line === undefined ? file : `${file}:${first.line}`,
    ...(first?.hint === undefined ? {} : { hint: first.hint }),
    exit: 2,
  });
}

function sidecarOf(texts: SidecarTexts, report: ReportField): Sidecar {
  const { slotTexts, wiredMemory, ...plain } = readValues(texts, report);
  const extraSlots = slotsOf(slotTexts, plain, (message, hint) => report("extraSlots", message, hint));
  const needsWired = extraSlots.some(isPassedThrough);
  if (wiredMemory === false && needsWired)
    report(
      "wiredMemory",
      "no: a device that is passed through reads and writes memory that must stay where it is",
      "leave it out",
    );
  return { ...plain, wiredMemory: wiredMemory === true || needsWired, extraSlots };
}

function slotsOf(
  texts: readonly string[],
  { patchMode }: Pick<PlainValues, "patchMode">,
  report: (message: string, hint?: string) => void,
): readonly MachineSlot[] {
  if (texts.length > SLOTS_MAX) report(`${texts.length} are more than ${SLOTS_MAX}`);
  const slots = texts.flatMap((text) => {
    const slot = parseSlot(text);
    if (slot === undefined)
      report(`${JSON.stringify(text)} is no slot`, "SLOT:FUNCTION,EMULATION[,CONF], as in 20:0,passthru,ppt0");
    return slot ?? [];
  });
  const told = (index: number, message: string): void => report(`${slots[index]?.text ?? ""}: ${message}`);
  lintSlots(slots, told);
  const taken = bhyveSlotsOf({ disks: patchMode === "none" ? ["root"] : DISKS, network: { kind: "user" } });
  lintTakenSlots(slots, taken, told);
  return slots;
}

/** Every key, one to a line: reading it gives the same. */
export function renderSidecar(sidecar: Sidecar): string {
  const texts: Readonly<Record<SidecarField, string>> = {
    gatewayMode: sidecar.gatewayMode,
    bootMode: sidecar.bootMode,
    patchMode: sidecar.patchMode,
    diskDevice: sidecar.diskDevice,
    netDevice: sidecar.netDevice,
    sshUser: sidecar.sshUser,
    shell: sidecar.shell,
    shellArgs: sidecar.shellArgs.map(shellQuote).join(" "),
    memory: `${sidecar.memoryBytes / MIB}M`,
    cpus: String(sidecar.cpus),
    wiredMemory: sidecar.wiredMemory ? "yes" : "no",
    extraSlots: sidecar.extraSlots.map(({ text }) => text).join(";"),
  };
  return FIELDS.map((field) => `${KEYS[field]}=${shellQuote(texts[field])}\n`).join("");
}
