/** Two systems that are items, held against each other: what each is made of is read from the items themselves. */
import { baseName, hashPart, isStorePath, Problem, sha256, type StorePath } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import type { Store } from "../store/index.ts";
import { diffSystems, type SystemDifference, type SystemFacts } from "../system/index.ts";
import { ABOUT } from "../world/index.ts";
import type { KnownTree, Listings } from "./listing.ts";

interface Looking {
  readonly host: Host;
  readonly store: Store;
  readonly listings: Listings;
}

const RECORD = "metadata/system.json";

/** @throws Problem E_NOT_A_SYSTEM (exit 2) for an item that is none */
export function compareSystems(looking: Looking, left: StorePath, right: StorePath): SystemDifference {
  return diffSystems(systemFacts(looking, left), systemFacts(looking, right));
}

function systemFacts({ host, store, listings }: Looking, path: StorePath): SystemFacts {
  const record = readRecord(host, store, path);
  const sizeOf = (item: StorePath): number => store.query(item)?.narSizeBytes ?? 0;
  const parts = new Map<string, { path: StorePath; sizeBytes: number; listing: KnownTree["listing"] }>();
  for (const part of record.parts) {
    // A slice may be the kernel's and the base's at once; two parts may have one name.
    const name = parts.has(part.name) && parts.get(part.name)?.path !== part.path ? baseName(part.path) : part.name;
    parts.set(name, { path: part.path, sizeBytes: sizeOf(part.path), listing: treeOf(listings.of(part.path)) });
  }
  const files = new Map<string, string>();
  const self = hashPart(path);
  for (const entry of listings.of(path).listing) {
    if (entry.type === "directory" || !/^(?:etc|boot)\//.test(entry.path)) continue;
    // A system names itself in some of its files; that alone is no difference.
    if (entry.type === "symlink") files.set(entry.path, `-> ${(entry.target ?? "").replaceAll(self, "")}`);
    else
      files.set(
        entry.path,
        `${entry.executable} ${digestWithout(host.files.readFile(`${store.physical(path)}/${entry.path}`), self)}`,
      );
  }
  const sizeBytes = store.closure([path]).reduce((sum, item) => sum + sizeOf(item), 0);
  return { path, parts, services: record.services, files, sizeBytes };
}

/** Less what is said of the tree beside it: another record of the same files is no other file. */
function treeOf({ listing }: KnownTree): KnownTree["listing"] {
  return listing.filter(({ path }) => path !== ABOUT && !path.startsWith(`${ABOUT}/`));
}

function digestWithout(bytes: Uint8Array, word: string): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return sha256(buffer.includes(word) ? Buffer.from(buffer.toString("latin1").replaceAll(word, ""), "latin1") : bytes);
}

interface SystemRecord {
  readonly parts: readonly { readonly name: string; readonly path: StorePath }[];
  readonly services: readonly string[];
}

function readRecord(host: Host, store: Store, path: StorePath): SystemRecord {
  const file = `${store.physical(path)}/${RECORD}`;
  const isTree = host.files.lstatIfAny(store.physical(path))?.type === "directory";
  const text = isTree ? host.files.readTextIfAny(file) : undefined;
  const record = text === undefined ? undefined : recordOf(JSON.parse(text));
  if (record !== undefined) return record;
  throw new Problem({
    code: "E_NOT_A_SYSTEM",
    message: `${path} is no system: ${text === undefined ? `it has no ${RECORD}` : `its ${RECORD} has a form that is not known here`}`,
    where: file,
    hint: "`garth system build` makes one and prints its path",
    exit: 2,
  });
}

function recordOf(value: unknown): SystemRecord | undefined {
  if (member(value, "schema") !== "garth-system-1") return undefined;
  const several = (name: string): readonly unknown[] => listOf(member(value, name));
  const found = [member(value, "kernel"), member(value, "bootloader"), ...several("base"), ...several("packages")];
  const parts = found.flatMap((part) => {
    const [name, path] = [member(part, "name"), member(part, "path")];
    return typeof name === "string" && typeof path === "string" && isStorePath(path) ? [{ name, path }] : [];
  });
  const services = listOf(member(member(value, "spec"), "services")).flatMap((service) => {
    const name = member(service, "name");
    return typeof name === "string" ? [name] : [];
  });
  return { parts, services };
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Object.getOwnPropertyDescriptor(value, name)?.value : undefined;
}
