/** A system in the store here, as what may be offered to a machine: read from its own files. */
import { isStorePath, Problem, type StorePath } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import type { Store } from "../store/index.ts";
import type { Architecture, Family, OfferedSystem } from "./types.ts";

interface Looking {
  readonly host: Host;
  readonly store: Store;
}

const RECORD = "metadata/system.json";
const HEAD_BYTES = 4096;
const LINKS_MAX = 8;
const PROGRAM = "generations";
/** PE32+ (a Linux kernel that UEFI can start) and ELF have other numbers for them. */
const PE_MACHINES: Readonly<Record<number, Architecture>> = { 0x86_64: "x86_64", 0xaa_64: "aarch64" };
const ELF_MACHINES: Readonly<Record<number, Architecture>> = { 62: "x86_64", 183: "aarch64" };

/** @throws Problem E_NOT_A_SYSTEM (exit 2) */
export function offerOf(looking: Looking, path: StorePath): OfferedSystem {
  const { host, store } = looking;
  const family = familyOf(looking, path);
  if (host.files.lstatIfAny(`${store.physical(path)}/${PROGRAM}`) === undefined)
    throw notASystem(path, "a Garth made it that knew of no generations", "make it again: garth system build");
  const kernel = place(looking, path, family === "linux" ? "boot/kernel" : "boot/kernel/kernel");
  const initrd = family === "linux" ? place(looking, path, "boot/initrd") : undefined;
  const sizeOf = (file: string | undefined): number => (file === undefined ? 0 : host.files.lstat(file).sizeBytes);
  return {
    path,
    family,
    architecture: kernel === undefined ? undefined : architectureOf(readHead(host, kernel)),
    items: store.closure([path]),
    bootBytes: family === "linux" ? sizeOf(kernel) + sizeOf(initrd) : 0,
  };
}

function familyOf({ host, store }: Looking, path: StorePath): Family {
  const physical = store.physical(path);
  const isTree = host.files.lstatIfAny(physical)?.type === "directory";
  const text = isTree ? host.files.readTextIfAny(`${physical}/${RECORD}`) : undefined;
  const family = text === undefined ? undefined : member(member(JSON.parse(text), "spec"), "family");
  if (family === "linux" || family === "freebsd") return family;
  throw notASystem(path, `it has no ${RECORD}`, "`garth system build` makes one and prints its path");
}

function notASystem(path: StorePath, why: string, hint: string): Problem {
  return new Problem({ code: "E_NOT_A_SYSTEM", message: `${path} is no system: ${why}`, hint, exit: 2 });
}

function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Object.getOwnPropertyDescriptor(value, name)?.value : undefined;
}

/** The physical file behind a path in an item: links in the store lead to where items are for a running system. */
function place({ host, store }: Looking, item: StorePath, inside: string): string | undefined {
  let at = `${item}/${inside}`;
  for (let links = 0; links <= LINKS_MAX; links += 1) {
    const found = follow(host, store, at);
    if (found === undefined) return undefined;
    if ("file" in found) return found.file;
    at = found.at;
  }
  return undefined;
}

/** One step on the way: the first link of the path is taken, or there is none. */
function follow(host: Host, store: Store, at: string): { readonly file: string } | { readonly at: string } | undefined {
  const names = at.split("/").slice(3);
  const item = `/frx/store/${names[0] ?? ""}`;
  if (!at.startsWith("/frx/store/") || !isStorePath(item) || !store.isValid(item)) return undefined;
  let physical = store.physical(item);
  for (const [index, name] of names.slice(1).entries()) {
    physical = `${physical}/${name}`;
    const stat = host.files.lstatIfAny(physical);
    if (stat === undefined) return undefined;
    if (stat.type !== "symlink") continue;
    const target = Buffer.from(host.files.readLink(physical)).toString();
    const above = `${item}/${names.slice(1, index + 1).join("/")}`;
    const rest = names.slice(index + 2);
    return { at: normal([target.startsWith("/") ? target : `${above}/${target}`, ...rest].join("/")) };
  }
  return { file: physical };
}

function normal(path: string): string {
  const names: string[] = [];
  for (const name of path.split("/")) {
    if (name === "..") names.pop();
    else if (name !== "" && name !== ".") names.push(name);
  }
  return `/${names.join("/")}`;
}

function readHead(host: Host, file: string): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  const descriptor = host.files.open(file, "r");
  try {
    return head.subarray(0, host.files.read(descriptor, head, 0));
  } finally {
    host.files.close(descriptor);
  }
}

function architectureOf(head: Buffer): Architecture | undefined {
  if (head.length < 0x40) return undefined;
  if (head.toString("latin1", 0, 4) === "\x7fELF") return ELF_MACHINES[head.readUInt16LE(18)];
  const at = head.readUInt32LE(0x3c);
  if (head.toString("latin1", 0, 2) !== "MZ" || at + 6 > head.length) return undefined;
  return head.toString("latin1", at, at + 4) === "PE\0\0" ? PE_MACHINES[head.readUInt16LE(at + 4)] : undefined;
}
