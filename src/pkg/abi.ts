/**
 * ABI strings, computed from an ELF file of the system a package is for, as pkg(8) does from its own /usr/bin/uname or /bin/sh.
 *
 * FreeBSD names its major version (`FreeBSD:15:amd64`), Linux the oldest kernel its C library runs on (`Linux:3.2:x86_64`).
 * `arch` is the same in the form of pkg before 1.9 (`freebsd:15:x86:64`); clients up to 2.8 crash on an entry without it.
 */
import type { ElfInfo } from "../formats/index.ts";

export interface Abi {
  readonly system: "FreeBSD" | "Linux";
  /** "15" or "3.2". */
  readonly release: string;
  readonly architecture: string;
  /** `__FreeBSD_version`, 1500068 for 15.0: what the annotation FreeBSD_version of a package says. */
  readonly osVersion?: number;
}

/** Machine of the ELF header -> pkg's name, where it does not depend on anything else. */
const MACHINES: ReadonlyMap<number, string> = new Map([
  [3, "i386"],
  [40, "armv7"],
  [183, "aarch64"],
  [20, "powerpc"],
]);

const LEGACY: ReadonlyMap<string, string> = new Map([
  ["amd64", "x86:64"],
  ["i386", "x86:32"],
  ["aarch64", "aarch64:64"],
  ["armv7", "armv7:32:el:eabi:hardfp"],
  ["powerpc", "powerpc:32:eb"],
  ["powerpc64", "powerpc:64:eb"],
  ["powerpc64le", "powerpc:64:el"],
  ["riscv64", "riscv:64:hf"],
]);

/** The files pkg looks at, in its order, relative to the root of the system. */
export const ABI_FILES = ["usr/bin/uname", "bin/sh"] as const;

/** undefined where the file carries no note that says which system it is for. */
export function abiOfElf(elf: ElfInfo): Abi | undefined {
  const { abiTag } = elf;
  if (abiTag === undefined) return undefined;
  const architecture = architectureOf(elf, abiTag.system);
  if (architecture === undefined) return undefined;
  if (abiTag.system === "Linux") return { system: "Linux", release: `${abiTag.major}.${abiTag.minor}`, architecture };
  const { osVersion } = abiTag;
  return { system: "FreeBSD", release: String(Math.floor(osVersion / 100_000)), architecture, osVersion };
}

export function abiString(abi: Abi): string {
  return `${abi.system}:${abi.release}:${abi.architecture}`;
}

/** The parts of `FreeBSD:15:amd64`; undefined for what is no ABI of one system and one architecture. */
export function parseAbi(text: string): Abi | undefined {
  const [, system, release = "", architecture = ""] = /^(FreeBSD|Linux):([0-9]+(?:\.[0-9]+)?):([A-Za-z0-9_]+)$/.exec(text) ?? [];
  return system === "FreeBSD" || system === "Linux" ? { system, release, architecture } : undefined;
}

/** `FreeBSD:15:amd64` -> `freebsd:15:x86:64`; an architecture without an old name stays as it is, `*` too. */
export function legacyArch(abi: string): string {
  const [system = "", release = "", ...rest] = abi.split(":");
  const architecture = rest.join(":");
  return `${system.toLowerCase()}:${release}:${LEGACY.get(architecture) ?? architecture}`;
}

const ABI = /^[A-Za-z]+:[0-9]+(?:\.[0-9]+)?:[A-Za-z0-9_*]+$/;

export function isAbi(text: string): boolean {
  return text === "*" || ABI.test(text);
}

/**
 * What is appended to a library's name when it is not for the machine the package is for: `:Linux` for a Linux library in a
 * FreeBSD package, `:32` for a 32-bit one on a 64-bit machine. undefined: for another machine altogether, not recorded.
 */
export function shlibSuffix(elf: ElfInfo, abi: string): string | undefined {
  const [system = "", , architecture = ""] = abi.split(":");
  // Shared objects often carry no note; then the OS field of the header decides, and 0 and 3 mean "as the package".
  const brand = elf.abiTag?.system ?? (elf.osAbi === 9 ? "FreeBSD" : system);
  const foreign = brand !== system;
  if (foreign && !(brand === "Linux" && system === "FreeBSD")) return undefined;
  const linux = foreign ? ":Linux" : "";
  const native = architectureOf(elf, system === "Linux" ? "Linux" : "FreeBSD");
  if (native === architecture || architecture === "*") return linux;
  return elf.bits === 32 && /64/.test(architecture) ? `${linux}:32` : undefined;
}

function architectureOf(elf: ElfInfo, system: "FreeBSD" | "Linux"): string | undefined {
  if (elf.machine === 62) return system === "FreeBSD" ? "amd64" : "x86_64";
  if (elf.machine === 21) return elf.endian === "big" ? "powerpc64" : "powerpc64le";
  if (elf.machine === 243) return elf.bits === 64 ? "riscv64" : "riscv32";
  return MACHINES.get(elf.machine);
}
