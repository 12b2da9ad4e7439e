/** Where everything is. Pure: the environment is an argument. */
import { operatingSystemOf, sha256, type System } from "../base/index.ts";

export interface Places {
  /** "" for a system-wide installation. */
  readonly root: string;
  readonly store: string;
  readonly state: string;
  readonly ledger: string;
  readonly log: string;
  readonly temporary: string;
  readonly distfiles: string;
  readonly repositories: string;
  readonly receipts: string;
  readonly keys: string;
  readonly machines: string;
  readonly templates: string;
  readonly pools: string;
  /** Keys of hosts over SSH that were accepted. */
  readonly hosts: string;
  /** A short path for sockets, whatever the root: sun_path has room for 104 bytes. */
  readonly runtime: string;
  readonly configuration: string;
}

export interface PlaceRequest {
  /** `--root`; undefined when it was not given. */
  readonly root: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly isRoot: boolean;
  readonly system: System;
  readonly workingDirectory: string;
}

export function placesFor(request: PlaceRequest): Places {
  const { env } = request;
  const chosen =
    request.root ??
    env["GARTH_ROOT"] ??
    (request.isRoot ? "" : `${env["XDG_STATE_HOME"] ?? `${env["HOME"] ?? "/tmp"}/.local/state`}/garth`);
  const absolute = chosen === "" || chosen.startsWith("/") ? chosen : `${request.workingDirectory}/${chosen}`;
  const root = absolute.replace(/\/+$/, "");
  const state = `${root}/frx/var/garth`;
  const etc = operatingSystemOf(request.system) === "freebsd" ? "/usr/local/etc/garth" : "/etc/garth";
  return {
    root,
    store: `${root}/frx/store`,
    state,
    ledger: `${state}/garth.db`,
    log: `${state}/log`,
    temporary: `${state}/tmp`,
    distfiles: `${state}/distfiles`,
    repositories: `${state}/repos`,
    receipts: `${state}/receipts`,
    keys: `${state}/keys`,
    machines: `${state}/machines`,
    templates: `${state}/templates`,
    pools: `${state}/pools`,
    hosts: `${state}/hosts`,
    runtime: `${runtimeBelow(request)}/${sha256(state).slice(0, 12)}`,
    configuration: `${root}${etc}/garth.toml`,
  };
}

function runtimeBelow({ isRoot, env, system }: PlaceRequest): string {
  if (isRoot) return operatingSystemOf(system) === "freebsd" ? "/var/run/garth" : "/run/garth";
  const own = env["XDG_RUNTIME_DIR"];
  return own === undefined || own === "" ? `/tmp/garth-${env["USER"] ?? "user"}` : `${own}/garth`;
}
