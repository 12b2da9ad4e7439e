/** What a declaration says of things that only its parts can bring: looked at when they are there, before the closure is made. Pure. */
import { Problem } from "../base/index.ts";
import type { Accounts } from "./accounts.ts";
import { conflictProblem } from "./profile.ts";
import { unitFiles } from "./linux-systemd.ts";
import { hasHome, isCopied, isOutsideProfile, topOf } from "./places.ts";
import type { Composition, Part, SystemSpec } from "./types.ts";

/** @throws Problem E_SYSTEM_INVALID, E_SERVICE_WITHOUT_PACKAGE, E_FILE_CONFLICT */
export function checkAgainstParts(composition: Composition, accounts: Accounts): void {
  const { spec } = composition;
  copiedOnce(composition);
  const users = new Set(accounts.users.map(({ name }) => name));
  const groups = new Set(accounts.groups.map(({ name }) => name));
  spec.services.forEach(({ user }, index) => {
    if (!users.has(user)) throw nobody(spec, `services[${index}].user`, user, "user");
  });
  spec.secrets.forEach(({ user, group }, index) => {
    if (!users.has(user)) throw nobody(spec, `secrets[${index}].user`, user, "user");
    if (!groups.has(group)) throw nobody(spec, `secrets[${index}].group`, group, "group");
  });
  const files = filesOf(composition);
  spec.services.forEach(({ name, command }, index) => {
    const wanted = command === undefined ? serviceFiles(spec, name) : [command[0] ?? ""];
    const isThere = command === undefined ? files.has : files.mayHave;
    if (!wanted.some(isThere)) throw withoutPackage(composition, index, wanted);
  });
  spec.users.forEach(({ home, authorizedKeys }, index) => {
    if (!hasHome(home) || !files.isFixed(home) || (files.has(home) && authorizedKeys.length === 0)) return;
    throw unwritable(spec, `users[${index}].home`, home);
  });
  for (const { mountPoint } of spec.fileSystems) {
    if (files.isFixed(mountPoint) && !files.has(mountPoint)) throw unwritable(spec, "fileSystems", mountPoint);
  }
  const init = spec.init === "systemd" ? "/usr/lib/systemd/systemd" : typeof spec.init === "object" ? spec.init.exec : undefined;
  if (init !== undefined && !files.mayHave(init)) {
    throw new Problem({
      code: "E_SYSTEM_INVALID",
      message: `system ${spec.name}: init: process 1 would be ${init}, which nothing in the system brings`,
      details: brought(composition),
      hint:
        typeof spec.init === "string"
          ? 'put the package into the world, or take init: "busybox"'
          : "name a program of the base or of a package",
      exit: 2,
    });
  }
}

/** Where a service lies that is enabled and not defined here. */
function serviceFiles({ family }: SystemSpec, name: string): readonly string[] {
  return family === "freebsd" ? [`/etc/rc.d/${name}`, `/usr/local/etc/rc.d/${name}`] : unitFiles(name);
}

interface Files {
  has(path: string): boolean;
  /** Also what lies where the running system may put something: below /opt, /var, a mount point. */
  mayHave(path: string): boolean;
  /** Whether it lies in a tree that parts bring and nobody writes to: below /usr. */
  isFixed(path: string): boolean;
}

/** What the merged parts and the declaration have, followed through symlinks as in the running system. */
function filesOf({ spec, base, packages, kernel }: Composition): Files {
  /** Path -> target of a symlink, undefined for everything else. */
  const known = new Map<string, string | undefined>(Object.keys(spec.etc).map((path) => [`etc/${path}`, undefined]));
  for (const { prefix, listing } of [...base, ...packages, kernel]) {
    for (const { path, target } of listing) known.set(prefix === "" ? path : `${prefix}/${path}`, target);
  }
  /** The first path on the way that is not known; undefined where all are. */
  const missing = (path: string): string | undefined => {
    let rest = partsOf(path);
    let at: readonly string[] = [];
    for (let links = 0; ;) {
      const [name, ...more] = rest;
      if (name === undefined) return undefined;
      rest = more;
      if (name === "..") {
        at = at.slice(0, -1);
        continue;
      }
      const here = [...at, name].join("/");
      const target = known.get(here);
      if (target === undefined) {
        if (more.length === 0 && !known.has(here)) return here;
        at = [...at, name];
        continue;
      }
      links += 1;
      if (links > LINKS) return here;
      if (target.startsWith("/")) at = [];
      rest = [...partsOf(target), ...rest];
    }
  };
  const mounts = spec.fileSystems.flatMap(({ mountPoint }) => (mountPoint === "/" ? [] : [`${mountPoint.slice(1)}/`]));
  const isOpen = (path: string): boolean => isOutsideProfile(path) || mounts.some((mount) => path.startsWith(mount));
  const tops = new Set([...known.keys()].map(topOf).filter((top) => !isOutsideProfile(top)));
  return {
    isFixed: (path) => tops.has(topOf(path.slice(1))),
    has: (path) => missing(path) === undefined,
    mayHave: (path) => {
      const where = missing(path);
      return where === undefined || isOpen(where);
    },
  };
}

/** As many as Linux follows. */
const LINKS = 40;

function partsOf(path: string): readonly string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

function withoutPackage(composition: Composition, index: number, wanted: readonly string[]): Problem {
  const { spec } = composition;
  const service = spec.services[index]?.name ?? "";
  return new Problem({
    code: "E_SERVICE_WITHOUT_PACKAGE",
    message: `system ${spec.name}: services[${index}]: the service ${service} needs ${wanted.join(" or ")}, which nothing in the system brings`,
    details: brought(composition),
    hint: "put its package into the world, into `packages`, or into `install`",
    exit: 2,
  });
}

function brought({ base, packages }: Composition): readonly string[] {
  const line = (part: Part): string => `${part.name} (${part.path})`;
  return ["the system is made of:", ...base.map(line), ...packages.map(line)];
}

/** What is copied to the root comes from one part, as what is linked there does. */
function copiedOnce({ base }: Composition): void {
  const seen = new Map<string, { readonly part: Part; readonly type: string }>();
  for (const part of base) {
    for (const { path, type } of part.listing) {
      if (!isCopied(path)) continue;
      const other = seen.get(path);
      if (other !== undefined && (type !== "directory" || other.type !== "directory"))
        throw conflictProblem([{ path, parts: [other.part.name, part.name] }]);
      seen.set(path, { part, type });
    }
  }
}

function unwritable(spec: SystemSpec, field: string, path: string): Problem {
  return new Problem({
    code: "E_SYSTEM_INVALID",
    message: `system ${spec.name}: ${field}: ${path} would have to be made in a tree of the store, which nobody writes to`,
    hint: "name a path below /var, /srv, /home or one of its own",
    exit: 2,
  });
}

export function nobody(spec: SystemSpec, field: string, name: string, what: "user" | "group"): Problem {
  return new Problem({
    code: "E_SYSTEM_INVALID",
    message: `system ${spec.name}: ${field}: there is no ${what} ${name}, neither declared nor in the base`,
    hint: `declare it: ${what}s: [{ name: ${JSON.stringify(name)} }]`,
    exit: 2,
  });
}
