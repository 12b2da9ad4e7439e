/**
 * The values of a sidecar, from text or from what a project file gave, checked one by one. Nothing to load: project files import it.
 * What slots say is read by whoever knows machines (sidecar.ts).
 */
import { closest, parseSize, Problem } from "../base/index.ts";
import { readShellWords } from "./sidecar-syntax.ts";
import type { Sidecar } from "./types.ts";

const CHOICES = {
  gatewayMode: ["ssh", "host-vnc"],
  bootMode: ["uefi", "bhyveload", "direct"],
  patchMode: ["nocloud-seed", "instance-file", "none"],
  diskDevice: ["virtio-blk", "ahci-hd", "nvme"],
  netDevice: ["virtio-net", "e1000"],
} as const satisfies { readonly [Field in keyof Sidecar]?: readonly Sidecar[Field][] };

/** In the order in which a sidecar is written. */
export const FIELDS = [
  "gatewayMode",
  "bootMode",
  "patchMode",
  "diskDevice",
  "netDevice",
  "sshUser",
  "shell",
  "shellArgs",
  "memory",
  "cpus",
  "wiredMemory",
  "extraSlots",
] as const;
export type SidecarField = (typeof FIELDS)[number];

export const KEYS: Readonly<Record<SidecarField, string>> = {
  gatewayMode: "TPL_GATEWAY_MODE",
  bootMode: "TPL_BOOT_MODE",
  patchMode: "TPL_PATCH_MODE",
  diskDevice: "TPL_DISK_DEVICE",
  netDevice: "TPL_NET_DEVICE",
  sshUser: "TPL_SSH_USER",
  shell: "TPL_SHELL",
  shellArgs: "TPL_SHELL_ARGS",
  memory: "TPL_MEMORY",
  cpus: "TPL_CPUS",
  wiredMemory: "TPL_WIRED_MEMORY",
  extraSlots: "TPL_EXTRA_BHYVE_SLOTS",
};

/** The text of each field that is said. */
export type SidecarTexts = { readonly [Field in SidecarField]?: string };

/** Everything but what slots say. `wiredMemory` is undefined where nobody asked. */
export type PlainValues = Omit<Sidecar, "extraSlots" | "wiredMemory"> & {
  readonly wiredMemory: boolean | undefined;
  /** One text a slot. */
  readonly slotTexts: readonly string[];
};

export type ReportField = (field: SidecarField, message: string, hint?: string) => void;

const MIB = 1024 ** 2;
const MEMORY_BYTES = { min: 16 * MIB, max: 4096 * 1024 * MIB };
const CPUS_MAX = 255;
const USER = /^[a-z_][a-z0-9_-]{0,31}$/;
const PROGRAM = /^\/[^\p{Cc}]{1,255}$/u;
const WORDS_MAX = 64;

/** What a sidecar that says nothing says. */
const DEFAULTS: PlainValues = {
  gatewayMode: "ssh",
  bootMode: "uefi",
  patchMode: "nocloud-seed",
  diskDevice: "virtio-blk",
  netDevice: "virtio-net",
  sshUser: "root",
  shell: "/bin/sh",
  shellArgs: [],
  memoryBytes: 256 * MIB,
  cpus: 1,
  wiredMemory: undefined,
  slotTexts: [],
};

/** A wrong value is reported, and its default stands in for it. */
export function readValues(texts: SidecarTexts, report: ReportField): PlainValues {
  function choice<Value extends string>(field: SidecarField, from: readonly Value[], otherwise: Value): Value {
    const text = texts[field];
    if (text === undefined) return otherwise;
    const found = from.find((one) => one === text);
    if (found === undefined) {
      const near = closest(text, from);
      report(field, `${JSON.stringify(text)} is not one of ${from.join(", ")}`, near && `did you mean ${near}?`);
    }
    return found ?? otherwise;
  }
  const matching = (field: SidecarField, form: RegExp, wanted: string, otherwise: string): string => {
    const text = texts[field];
    if (text === undefined) return otherwise;
    if (form.test(text)) return text;
    report(field, `${JSON.stringify(text)} is not ${wanted}`);
    return otherwise;
  };
  return {
    gatewayMode: choice("gatewayMode", CHOICES.gatewayMode, DEFAULTS.gatewayMode),
    bootMode: choice("bootMode", CHOICES.bootMode, DEFAULTS.bootMode),
    patchMode: choice("patchMode", CHOICES.patchMode, DEFAULTS.patchMode),
    diskDevice: choice("diskDevice", CHOICES.diskDevice, DEFAULTS.diskDevice),
    netDevice: choice("netDevice", CHOICES.netDevice, DEFAULTS.netDevice),
    sshUser: matching("sshUser", USER, "the name of a user", DEFAULTS.sshUser),
    shell: matching("shell", PROGRAM, "the absolute path of a shell", DEFAULTS.shell),
    shellArgs: shellArgs(texts.shellArgs, report),
    memoryBytes: memory(texts.memory, report),
    cpus: cpus(texts.cpus, report),
    wiredMemory: texts.wiredMemory === undefined ? undefined : choice("wiredMemory", ["yes", "no"], "no") === "yes",
    slotTexts: slotTexts(texts.extraSlots),
  };
}

function shellArgs(text: string | undefined, report: ReportField): readonly string[] {
  const words = readShellWords(text ?? "");
  if ("message" in words) report("shellArgs", words.message, words.hint);
  else if (words.length > WORDS_MAX) report("shellArgs", `${words.length} words are more than ${WORDS_MAX}`);
  else return words;
  return [];
}

function memory(text: string | undefined, report: ReportField): number {
  if (text === undefined) return DEFAULTS.memoryBytes;
  const bytes = sizeOf(text);
  if (bytes instanceof Problem) report("memory", bytes.message, bytes.hint);
  // A number alone would be bytes here and MiB in bhyve.
  else if (/^\d+$/.test(text)) report("memory", `${JSON.stringify(text)} has no unit`, `${text}M or ${text}G`);
  else if (bytes % MIB !== 0) report("memory", `${text} is not a whole number of MiB`);
  else if (bytes < MEMORY_BYTES.min || bytes > MEMORY_BYTES.max) report("memory", `${text} is not from 16M to 4T`);
  else return bytes;
  return DEFAULTS.memoryBytes;
}

function sizeOf(text: string): number | Problem {
  try {
    return parseSize(text);
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
}

function cpus(text: string | undefined, report: ReportField): number {
  if (text === undefined) return DEFAULTS.cpus;
  const count = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (count >= 1 && count <= CPUS_MAX) return count;
  report("cpus", `${JSON.stringify(text)} is not a number from 1 to ${CPUS_MAX}`);
  return DEFAULTS.cpus;
}

/** Each is appended as `-s SLOT`. A semicolon behind the last one says nothing. */
function slotTexts(text: string | undefined): readonly string[] {
  const trimmed = (text ?? "").trim().replace(/;$/, "");
  return trimmed === "" ? [] : trimmed.split(";").map((one) => one.trim());
}
