/** Where the systems that Garth runs on keep UEFI firmware for guests. */
import { Problem, type System } from "../base/index.ts";
import type { Host } from "../host/index.ts";

export interface UefiFiles {
  /** Read-only, shared by all machines. */
  readonly code: string;
  /** The variables of a machine that never ran; each machine writes to a copy. */
  readonly variables: string;
}

type Processor = "x86_64" | "aarch64";

export function processorOf(system: System): Processor {
  return system.startsWith("x86_64-") ? "x86_64" : "aarch64";
}

/** Pairs that belong together: the variables have the size that the code expects. Debian, Fedora, Arch, FreeBSD, QEMU's own. */
const PLACES: Readonly<Record<Processor, readonly (readonly [code: string, variables: string])[]>> = {
  x86_64: [
    ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"],
    ["/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"],
    ["/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"],
    ["/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"],
    ["/usr/local/share/edk2-qemu/QEMU_UEFI_CODE-x86_64.fd", "/usr/local/share/edk2-qemu/QEMU_UEFI_VARS-x86_64.fd"],
    ["/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd"],
    ["/usr/local/share/qemu/edk2-x86_64-code.fd", "/usr/local/share/qemu/edk2-i386-vars.fd"],
  ],
  aarch64: [
    ["/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"],
    ["/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw"],
    ["/usr/share/qemu/edk2-aarch64-code.fd", "/usr/share/qemu/edk2-arm-vars.fd"],
    ["/usr/local/share/qemu/edk2-aarch64-code.fd", "/usr/local/share/qemu/edk2-arm-vars.fd"],
  ],
};

const PACKAGES: Readonly<Record<Processor, string>> = {
  x86_64: "the package ovmf (Debian) or edk2-qemu-x64 (FreeBSD) has it",
  aarch64: "the package qemu-efi-aarch64 (Debian) or qemu (FreeBSD) has it",
};

/** @throws Problem E_FIRMWARE_MISSING (exit 3) */
export function findUefi(host: Host, system: System, named: Partial<UefiFiles>): UefiFiles {
  const processor = processorOf(system);
  const { code, variables } = named;
  const places = code !== undefined && variables !== undefined ? [[code, variables] as const] : PLACES[processor];
  const found = places.find((pair) => pair.every((file) => host.files.exists(file)));
  if (found !== undefined) return { code: found[0], variables: found[1] };
  throw new Problem({
    code: "E_FIRMWARE_MISSING",
    message: `looking for UEFI firmware for a guest on ${processor}: ${places.length === 1 ? "it is not where it was said to be" : "there is none on this machine"}`,
    details: places.map(([code, variables]) => `looked for ${code} and ${variables}`),
    hint: PACKAGES[processor],
    exit: 3,
  });
}
