/**
 * What a template is: an image that may be cloned, what a machine made from it looks like, and the signature over both.
 */
import type { Problem, StorePath } from "../base/index.ts";

/** `<template>.conf`; shell syntax, parsed and never executed. */
export interface Sidecar {
  readonly gatewayMode: "ssh" | "host-vnc";
  readonly bootMode: "uefi" | "bhyveload" | "direct";
  readonly patchMode: "nocloud-seed" | "instance-file" | "none";
  readonly diskDevice: "virtio-blk" | "ahci-hd" | "nvme";
  readonly netDevice: "virtio-net" | "e1000";
  readonly sshUser: string;
  readonly shell: string;
  /** Words. */
  readonly shellArgs: readonly string[];
  /** A whole number of MiB. */
  readonly memoryBytes: number;
  readonly cpus: number;
  /** Asked for, or implied by a passed-through device. */
  readonly wiredMemory: boolean;
  readonly extraSlots: readonly ExtraSlot[];
}

/** One `-s` of bhyve(8): "20:0,passthru,ppt0". */
export interface ExtraSlot {
  /** As it was written. */
  readonly text: string;
  readonly bus: number;
  readonly slot: number;
  readonly function: number;
  readonly emulation: string;
  readonly conf: string | undefined;
}

/** Where a template's image came from. */
export type TemplateOrigin =
  | {
      readonly kind: "system";
      readonly system: StorePath;
      readonly verdict: StorePath;
      /** Of verdict.json. */
      readonly verdictSha256: string;
    }
  /** A cloud image that somebody else made; `sha256` is of the file that was imported. */
  | { readonly kind: "import"; readonly source: string; readonly sha256: string; readonly format: "raw" | "qcow2" };

/** The text that is signed, as canonical JSON: `<template>.manifest`. */
export interface TemplateManifest {
  readonly schema: 1;
  readonly name: string;
  readonly image: { readonly sha256: string; readonly sizeBytes: number };
  readonly sidecarSha256: string;
  readonly descriptionSha256: string;
  /** TPL_BOOT_MODE=direct: the kernel beside the image. */
  readonly direct?: { readonly kernelSha256: string; readonly initrdSha256?: string; readonly commandLine: string };
  readonly origin: TemplateOrigin;
}

export interface Template {
  readonly name: string;
  /** SHA-256 of the manifest: names this template for good. */
  readonly digest: string;
  readonly manifest: TemplateManifest;
  readonly sidecar: Sidecar;
  readonly description: string;
  /** Raw, absolute, read-only. */
  readonly imageFile: string;
  readonly direct: { readonly kernel: string; readonly initrd: string | undefined; readonly commandLine: string } | undefined;
  readonly publicKeySha256: string;
}

export interface Templates {
  list(): readonly Template[];
  /** @throws Problem E_NO_TEMPLATE (exit 2) with the names there are */
  find(name: string): Template;
  /**
   * The signature, and every digest: of the image only when the file is not the one (device, inode, size, times) that was read the last
   * time. To be called before a clone. @throws Problem E_TEMPLATE_FORGED (exit 1) naming what differs
   */
  verify(name: string, options?: { readonly signal?: AbortSignal }): Promise<Template>;
  /** @throws Problem E_NO_TEMPLATE */
  remove(name: string): void;
}

/** Of a declared system whose image passed its gate. */
export interface TemplateBuild {
  readonly name: string;
  /** The closure. */
  readonly system: StorePath;
  readonly verdict: StorePath;
  readonly sidecar: Sidecar;
  readonly description: string;
  /** Files, absolute or below /frx/store. For TPL_BOOT_MODE=direct, and only for it. */
  readonly direct?: { readonly kernel: string; readonly initrd: string | undefined; readonly commandLine: string };
  /** Default false: another template of the name is a Problem. */
  readonly replace?: boolean;
  readonly signal?: AbortSignal;
}

/** Of a disk that somebody else made: raw or qcow2. */
export interface TemplateImport {
  readonly name: string;
  /** An absolute path, or a URL: http, https, file. */
  readonly source: string;
  /** Of the file as it comes. */
  readonly sha256: string;
  readonly sidecar: Sidecar;
  readonly description: string;
  readonly replace?: boolean;
  readonly signal?: AbortSignal;
  /** What is being done, a line for people. */
  readonly onNote?: (text: string) => void;
}

export interface Made {
  readonly template: Template;
  readonly how: "made" | "unchanged";
}

export interface TemplateStore extends Templates {
  build(request: TemplateBuild): Promise<Made>;
  import(request: TemplateImport): Promise<Made>;
  /** Those that `list` leaves out: their files cannot be understood. */
  broken(): readonly { readonly name: string; readonly problem: Problem }[];
}
