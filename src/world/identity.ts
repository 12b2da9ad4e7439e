/** A world as a derivation: its name is made from the lock, so that it is known whether it was made before anything runs. */
import { Problem, SCHEME, type System } from "../base/index.ts";
import type { Derivation, WorldSource } from "../recipe/index.ts";
import type { WorldLock } from "./types.ts";

/** Counts the rules by which packages become a tree (what is left out, what is added). Another number, another world. */
const WORLD_RULES = 1;
/** The same of a world for a system. */
const SYSTEM_RULES = 3;

/** Of derivations that Garth carries out itself, without a sandbox: part of their names, and nothing that is enforced. */
export const BUILTIN_LIMITS: Derivation["limits"] = {
  wallClockMs: 3_600_000,
  silenceMs: 600_000,
  memoryBytes: 4_294_967_296,
  processes: 1_024,
  openFiles: 1_024,
  outputBytes: 17_179_869_184,
  logBytes: 67_108_864,
};

const ARCHITECTURES: Readonly<Record<System, string | undefined>> = {
  "x86_64-linux": "amd64",
  "aarch64-linux": "arm64",
  "x86_64-freebsd": undefined,
  "aarch64-freebsd": undefined,
};

/** Debian's name for the machine. @throws Problem E_WORLD_UNSUPPORTED where Debian has no packages for the system */
export function debianArchitecture(system: System): string {
  const architecture = ARCHITECTURES[system];
  if (architecture !== undefined) return architecture;
  throw new Problem({
    code: "E_WORLD_UNSUPPORTED",
    message: `a Debian world was asked for on ${system}, and Debian has no packages for it`,
    hint: "give the recipe a build root of another kind for this system: `hostView({ paths: [...] })`",
    exit: 2,
  });
}

/** Name of the world's item in the store, after the hash. */
export function worldItemName(world: Pick<WorldSource, "name">): string {
  return `world-${world.name}`;
}

/**
 * The derivation of a world. Its content is fixed by the lock alone: names, versions and digests of packages; where they came
 * from and how the files were called has no part in it.
 */
export function worldIdentity(world: Pick<WorldSource, "name" | "purpose">, lock: WorldLock, system: System): Derivation {
  return {
    scheme: SCHEME,
    name: worldItemName(world),
    version: "",
    system,
    builder: {
      argv: ["builtin:debian-world", rules(world.purpose), lock.suite, lock.architecture, ...lock.packages.map(identify)],
      env: {},
      cwd: "/",
    },
    inputs: [],
    sources: [],
    outputs: ["out"],
    buildRoot: { kind: "host", paths: [] },
    network: true,
    limits: BUILTIN_LIMITS,
  };
}

function rules(purpose: WorldSource["purpose"]): string {
  return purpose === "system" ? `system-${SYSTEM_RULES}` : String(WORLD_RULES);
}

function identify(each: WorldLock["packages"][number]): string {
  return `${each.name}_${each.version}_${each.architecture} ${each.sha256}`;
}

/** Whether a lock answers what a world asks for: suite, architecture and the packages named. */
export function lockAnswers(lock: WorldLock, world: WorldSource, system: System): boolean {
  const wanted = [...new Set(world.packages)].toSorted();
  return (
    lock.suite === world.suite &&
    lock.architecture === debianArchitecture(system) &&
    lock.requested.length === wanted.length &&
    lock.requested.every((name, index) => name === wanted[index])
  );
}
