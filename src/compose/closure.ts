/**
 * A system out of its parts, as items: profiles first, then the system item that names them, then the plan of its root.
 *
 * Everything is decided by the pure room `system`; here parts are listed, texts read, and what was planned is written.
 */
import { namePart, type StorePath } from "../base/index.ts";
import {
  type Accounts,
  type ClosurePlan,
  type Composition,
  type Family,
  freebsdAccounts,
  freebsdTexts,
  isOutsideProfile,
  linuxAccounts,
  linuxTexts,
  type Part,
  type PlannedTree,
  planFreebsd,
  planLinux,
  planProfile,
  planRoot,
  type RootFacts,
  type RootItem,
  type RootPlan,
  type SystemSpec,
} from "../system/index.ts";
import type { ComposeContext } from "./context.ts";
import { makeItem } from "./item.ts";
import type { Listings } from "./listing.ts";
import { treeDigest, writeTree } from "./tree.ts";

const PROFILE_RULE = "profile-1";
const SYSTEM_RULE = "system-1";
/** Of every file in an image; zero is what tools take for "no time". */
const TIME_SECONDS = 1;

/** The items a system is made of, before they are looked into. */
export interface PartPaths {
  readonly kernel: StorePath;
  readonly bootloader: StorePath;
  readonly base: readonly StorePath[];
  /** Outputs of recipes: below /usr/local. */
  readonly packages: readonly StorePath[];
  /** Unpacked from repositories: from the root. */
  readonly installed: readonly StorePath[];
  readonly development: readonly StorePath[];
  /** Of these, those that came from a directory nobody pinned. */
  readonly unpinned: ReadonlySet<StorePath>;
}

export interface ComposedSystem {
  readonly spec: SystemSpec;
  readonly system: StorePath;
  readonly profile: StorePath;
  readonly development: StorePath | undefined;
  readonly composition: Composition;
  /** Everything in the image. */
  readonly closure: readonly StorePath[];
  readonly root: RootPlan;
  /** Kernel parameters, the system's own first. */
  readonly commandLine: readonly string[];
  /** Logical paths of what a kernel is started with directly. */
  readonly kernelFile: string;
  readonly initrdFile: string | undefined;
  readonly isNew: boolean;
}

interface FamilyPlans {
  /** Paths whose texts planning reads. */
  readonly texts: (of: Pick<Composition, "kernel" | "spec">) => {
    readonly base: readonly string[];
    readonly kernel: readonly string[];
  };
  readonly accounts: (composition: Composition) => Accounts;
  readonly plan: (composition: Composition) => ClosurePlan;
}

const FAMILIES: Readonly<Record<Family, FamilyPlans>> = {
  linux: { texts: linuxTexts, accounts: linuxAccounts, plan: planLinux },
  freebsd: { texts: freebsdTexts, accounts: freebsdAccounts, plan: planFreebsd },
};

/** @throws Problem E_FILE_CONFLICT, E_SYSTEM_INVALID, E_SERVICE_WITHOUT_PACKAGE, E_BOOT_SLICE, E_KERNEL_SLICE, E_KERNEL_MODULE */
export async function composeSystem(
  context: ComposeContext,
  listings: Listings,
  spec: SystemSpec,
  paths: PartPaths,
): Promise<ComposedSystem> {
  const family = FAMILIES[spec.family];
  const composition = compositionOf(context, listings, spec, paths);
  const { kernel, bootloader, base, packages, development } = composition;
  // Conflicts and faults of the declaration come before anything is made.
  const profileTree = planProfile([...base, kernel, ...packages], isOutsideProfile);
  const developmentTree = development.length === 0 ? undefined : planProfile(development, isOutsideProfile);
  const closurePlan = family.plan(composition);

  const profile = await profileItem(context, `profile-${spec.name}`, profileTree, [...base, kernel, ...packages]);
  const developmentItem =
    developmentTree === undefined
      ? undefined
      : await profileItem(context, `development-${spec.name}`, developmentTree, development);
  const tree: PlannedTree = new Map([...closurePlan.tree, ["profile", { type: "symlink", target: profile }]]);
  const inputs = [kernel, bootloader, ...base, ...packages].map(({ path }) => path);
  const made = await makeItem(context, {
    rule: SYSTEM_RULE,
    name: `system-${spec.name}`,
    arguments: [treeDigest(tree)],
    inputs: [...inputs, profile],
    make: (directory) => writeTree(context, tree, directory),
  });
  const roots = developmentItem === undefined ? [made.path] : [made.path, developmentItem];
  const closure = context.store.closure(roots);
  const facts: RootFacts = {
    spec,
    accounts: family.accounts(composition),
    items: inImageOrder(closure, made.path, paths).map((path) => itemOf(listings, path)),
    system: itemOf(listings, made.path),
    closure: context.store.closure([made.path]),
    profile: itemOf(listings, profile),
    development: developmentItem,
    base,
    etcOwners: closurePlan.etcOwners,
    commandLine: closurePlan.commandLine,
    kernel,
    bootloader,
    timeSeconds: TIME_SECONDS,
  };
  const systemListing = facts.system.listing;
  const kernelTarget = systemListing.find(({ path }) => path === "boot/kernel")?.target ?? "";
  return {
    spec,
    system: made.path,
    profile,
    development: developmentItem,
    composition,
    closure,
    root: planRoot(facts),
    commandLine: [`garth.system=${made.path}`, ...closurePlan.commandLine],
    kernelFile: kernelTarget,
    initrdFile: systemListing.some(({ path }) => path === "boot/initrd") ? `${made.path}/boot/initrd` : undefined,
    isNew: made.isNew,
  };
}

function itemOf(listings: Listings, path: StorePath): RootItem {
  return listings.of(path);
}

/** What changes least first: slices of the base, then everything else by name, then the profile and the system. */
function inImageOrder(
  closure: readonly StorePath[],
  system: StorePath,
  { base, kernel, bootloader }: PartPaths,
): readonly StorePath[] {
  const first = [...base, kernel, bootloader].filter((path) => closure.includes(path));
  const rest = closure.filter((path) => !first.includes(path) && path !== system);
  const byName = rest.toSorted((left, right) =>
    namePart(left) < namePart(right) ? -1 : namePart(left) > namePart(right) ? 1 : left < right ? -1 : 1,
  );
  return [...new Set([...first, ...byName, system])];
}

function compositionOf(context: ComposeContext, listings: Listings, spec: SystemSpec, paths: PartPaths): Composition {
  const part = (path: StorePath, origin: Part["origin"], prefix = ""): Part => {
    const { listing, attributes } = listings.of(path);
    const name = namePart(path);
    return { path, name, origin: paths.unpinned.has(path) ? "host" : origin, prefix, listing, attributes };
  };
  const kernel = part(paths.kernel, "native");
  const base = paths.base.map((path) => part(path, "native"));
  const wanted = FAMILIES[spec.family].texts({ kernel, spec });
  const baseTexts = new Map<string, string>();
  const read = (from: Part, path: string): void => {
    const text = context.host.files.readTextIfAny(`${context.store.physical(from.path)}/${path}`);
    if (text !== undefined) baseTexts.set(path, text);
  };
  for (const from of base) for (const path of wanted.base) read(from, path);
  for (const path of wanted.kernel) read(kernel, path);
  return {
    spec,
    kernel,
    bootloader: part(paths.bootloader, "native"),
    base,
    packages: [
      ...paths.packages.map((path) => part(path, "store", "usr/local")),
      ...paths.installed.map((path) => part(path, "package")),
    ],
    development: paths.development.map((path) => part(path, "native")),
    baseTexts,
  };
}

async function profileItem(
  context: ComposeContext,
  name: string,
  tree: ReturnType<typeof planProfile>,
  parts: readonly Part[],
): Promise<StorePath> {
  const made = await makeItem(context, {
    rule: PROFILE_RULE,
    name,
    arguments: [treeDigest(tree)],
    inputs: parts.map(({ path }) => path),
    make: (directory) => writeTree(context, tree, directory),
  });
  return made.path;
}
