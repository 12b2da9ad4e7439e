/** What a declaration says of things that only its parts can bring: looked at when they are there, before the closure is made. Pure. */
import { Problem } from "../base/index.ts";
import type { Accounts } from "./accounts.ts";
import type { Composition, Part, SystemSpec } from "./types.ts";

/** @throws Problem E_SYSTEM_INVALID, E_SERVICE_WITHOUT_PACKAGE */
export function checkAgainstParts(composition: Composition, accounts: Accounts): void {
  const { spec } = composition;
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
    if (!wanted.some((path) => files.mayHave(path))) throw withoutPackage(composition, index, wanted);
  });
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
  if (family === "freebsd") return [`/etc/rc.d/${name}`, `/usr/local/etc/rc.d/${name}`];
  const unit = /\.[a-z]+$/.test(name) ? name : `${name}.service`;
  return [`/usr/lib/systemd/system/${unit.replace(/@[^.]*\./, "@.")}`];
}

/** Of parts merged: which absolute paths there are. What lies outside every part (below /opt, /etc) may be there at run time. */
function filesOf({ base, packages, kernel }: Composition): { readonly mayHave: (path: string) => boolean } {
  const known = new Set<string>();
  const links = new Map<string, string>();
  for (const { prefix, listing } of [...base, ...packages, kernel]) {
    for (const { path, type, target } of listing) {
      const full = prefix === "" ? path : `${prefix}/${path}`;
      known.add(full);
      if (type === "symlink" && target !== undefined && !full.includes("/") && !target.startsWith("/")) links.set(full, target);
    }
  }
  const tops = new Set([...known].map((path) => path.split("/", 1)[0] ?? ""));
  return {
    mayHave: (path) => {
      const [top = "", ...rest] = path.slice(1).split("/");
      const real = [links.get(top) ?? top, ...rest].join("/");
      const isFixed = ["usr", "bin", "sbin", "lib", "lib64", "libexec"].includes(top) && tops.has(top);
      return known.has(real) || !isFixed;
    },
  };
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

export function nobody(spec: SystemSpec, field: string, name: string, what: "user" | "group"): Problem {
  return new Problem({
    code: "E_SYSTEM_INVALID",
    message: `system ${spec.name}: ${field}: there is no ${what} ${name}, neither declared nor in the base`,
    hint: `declare it: ${what}s: [{ name: ${JSON.stringify(name)} }]`,
    exit: 2,
  });
}
