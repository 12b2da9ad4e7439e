/** Faults that only show when fields are looked at together. What depends on the base's own files is looked at in compose. */
import { below, Fault, type Check } from "../recipe/index.ts";
import type { SystemOptions } from "./declare.ts";
import type { SystemSpec } from "./types.ts";

/** @throws Fault, which names the field */
export function checkTogether(options: SystemOptions, spec: SystemSpec): void {
  roles(options);
  unique("users", spec.users, ({ name }) => name, "name", "another user has this name");
  unique("users", spec.users, ({ uid }) => uid, "uid", "another user has this number");
  unique("groups", spec.groups, ({ name }) => name, "name", "another group has this name");
  unique("groups", spec.groups, ({ gid }) => gid, "gid", "another group has this number");
  unique(
    "fileSystems",
    options.fileSystems ?? [],
    ({ mountPoint }) => mountPoint,
    "mountPoint",
    "another file system is mounted there",
  );
  unique("services", spec.services, ({ name }) => name, "name", "another service has this name");
  unique("secrets", spec.secrets, ({ name }) => name, "name", "another secret has this name");
  unique("secrets", spec.secrets, ({ path }) => path, "path", "another secret is put there");
  (options.fileSystems ?? []).forEach((each, index) => {
    if ((each.label === undefined) === (each.device === undefined))
      fail(["fileSystems", index], "either a label or a device", each.label === undefined ? undefined : "both");
  });
  references(spec);
  services(options, spec);
  family(options, spec);
  disk(spec);
}

function roles({ kernel, bootloader, base, development = [] }: SystemOptions): void {
  if (kernel.role !== "kernel") fail(["kernel"], "a slice with the role kernel", kernel.role);
  if (bootloader.role !== "boot") fail(["bootloader"], "a slice with the role boot", bootloader.role);
  if (!base.some(({ role }) => role === "runtime"))
    fail(["base"], "a slice with the role runtime among them", base.map(({ role }) => role).join(", "));
  base.forEach((slice, index) => {
    if (slice.role === "development") fail(["base", index], "no development slice: it belongs into `development`", slice.role);
    if (base.indexOf(slice) !== index) fail(["base", index], "each slice once", slice.name);
  });
  development.forEach(({ role }, index) => {
    if (role !== "development") fail(["development", index], "a slice with the role development", role);
  });
}

function references(spec: SystemSpec): void {
  const services = new Set(spec.services.map(({ name }) => name));
  const secrets = new Set(spec.secrets.map(({ name }) => name));
  spec.services.forEach(({ after, oneShot, restart, command }, index) => {
    after.forEach((name, at) => {
      if (!services.has(name)) fail(["services", index, "after", at], `one of the services: ${[...services].join(", ")}`, name);
    });
    if (oneShot && restart === "always") fail(["services", index, "restart"], "never or on-failure for a one-shot", restart);
    if (command !== undefined && !command[0]?.startsWith("/"))
      fail(["services", index, "command", 0], "an absolute path", command[0]);
  });
  circle(spec);
  spec.readiness.forEach((name, index) => {
    if (!services.has(name))
      fail(["readiness", index], `one of the services: ${[...services].join(", ") || "there are none"}`, name);
  });
  spec.users.forEach(({ passwordSecret }, index) => {
    if (passwordSecret !== undefined && !secrets.has(passwordSecret))
      fail(
        ["users", index, "passwordSecret"],
        `one of the secrets: ${[...secrets].join(", ") || "there are none"}`,
        passwordSecret,
      );
  });
}

/** What process 1 would not do is not said in vain. */
function services({ services: given = [], readiness = [] }: SystemOptions, spec: SystemSpec): void {
  if (typeof spec.init === "object") {
    if (given.length > 0) fail(["services"], "none: process 1 is a program of yours, which starts what it likes", given);
    if (readiness.length > 0) fail(["readiness"], "none: a process 1 of your own says nothing of the kind", readiness);
  }
  if (spec.family !== "linux") return;
  given.forEach((each, index) => {
    const { name, command, ...more } = typeof each === "string" ? { name: each } : each;
    if (name.endsWith(".service")) fail(["services", index, "name"], "the name without .service", name);
    if (command !== undefined) return;
    for (const field of ["prepare", "user", "environment", "restart", "oneShot"] as const)
      if (more[field] !== undefined)
        fail(["services", index, field], "nothing: without a command a service is enabled as it is", more[field]);
  });
}

function circle(spec: SystemSpec): void {
  const after = new Map(spec.services.map((service) => [service.name, service.after]));
  const done = new Set<string>();
  const visit = (name: string, trail: readonly string[]): void => {
    if (done.has(name)) return;
    if (trail.includes(name)) {
      const index = spec.services.findIndex((service) => service.name === name);
      fail(["services", index, "after"], "no circle", [...trail.slice(trail.indexOf(name)), name].join(" after "));
    }
    for (const next of after.get(name) ?? []) visit(next, [...trail, name]);
    done.add(name);
  };
  for (const { name } of spec.services) visit(name, []);
}

function family(options: SystemOptions, spec: SystemSpec): void {
  const fits = spec.family === "linux" ? ["systemd", "busybox"] : ["rc"];
  if (typeof spec.init === "string" && !fits.includes(spec.init))
    fail(["init"], `${fits.map((each) => JSON.stringify(each)).join(" or ")} or { exec } on ${spec.family}`, spec.init);
  if (spec.init === "busybox") {
    spec.services.forEach(({ command }, index) => {
      if (command === undefined)
        fail(["services", index, "command"], "a command: busybox enables no services that others bring", undefined);
    });
  }
  const foreign =
    spec.family === "linux"
      ? (["loaderSettings", "rcSettings"] as const)
      : (["kernelParameters", "rootModules", "coldplug", "seed"] as const);
  for (const field of foreign)
    if (options[field] !== undefined) fail([field], `nothing: ${spec.family} has no such thing`, field);
  const root = spec.fileSystems.find(({ mountPoint }) => mountPoint === "/");
  const { rootType: wanted, pool } = options.disk ?? {};
  const types = spec.family === "linux" ? ["ext4"] : ["ufs", "zfs"];
  if (wanted !== undefined && !types.includes(wanted))
    fail(["disk", "rootType"], `${types.map((each) => JSON.stringify(each)).join(" or ")} on ${spec.family}`, wanted);
  if (pool !== undefined && wanted !== "zfs") fail(["disk", "pool"], 'nothing: only a root of rootType "zfs" is in a pool', pool);
  const rootType = spec.family === "linux" ? "ext4" : "ufs";
  if (root !== undefined && wanted === "zfs")
    fail(["fileSystems", indexOfRoot(options)], "nothing for /: the loader says which dataset is the root", root.type);
  if (root !== undefined && root.type !== rootType)
    fail(["fileSystems", indexOfRoot(options), "type"], `"${rootType}" for the root of an image`, root.type);
}

function indexOfRoot({ fileSystems = [] }: SystemOptions): number {
  return fileSystems.findIndex(({ mountPoint }) => mountPoint === "/");
}

function disk({ disk: { sizeBytes, espBytes, rootBytes } }: SystemSpec): void {
  if (sizeBytes !== undefined && rootBytes !== undefined && rootBytes + espBytes >= sizeBytes)
    fail(["disk", "size"], `more than the partitions together (${rootBytes + espBytes} bytes)`, `${sizeBytes} bytes`);
}

function unique<Item>(
  field: string,
  items: readonly Item[],
  keyOf: (item: Item) => string | number | undefined,
  name: string,
  why: string,
): void {
  const seen = new Set<string | number>();
  items.forEach((item, index) => {
    const key = keyOf(item);
    if (key === undefined) return;
    if (seen.has(key)) fail([field, index, name], `a ${name} of its own: ${why}`, key);
    seen.add(key);
  });
}

function fail(path: readonly (string | number)[], expected: string, found: unknown): never {
  const check = path.reduceRight<Check>(
    (inner, element) => (value) => below(element, inner, value),
    (value) => {
      throw new Fault(expected, value);
    },
  );
  check(found);
  throw new Error("a fault was not thrown");
}
