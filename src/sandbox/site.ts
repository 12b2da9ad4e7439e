/** This machine as somewhere that builders run, and what a site elsewhere needs of this room. */
import { operatingSystemOf, type System } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { presumedEntries, rootEntries, type RootEntry } from "./root.ts";
import { freebsdSignal, linuxSignal } from "./signals.ts";
import type { Sandbox, SandboxPlan, SandboxResult, Site } from "./types.ts";
import { planSandbox } from "./plan.ts";

/** Nothing has to be brought here. */
export function localSite(host: Pick<Host, "system">, sandbox: Pick<Sandbox, "render" | "run">, jobs: number): Site {
  return {
    host: undefined,
    system: host.system,
    jobs,
    render: (request) => sandbox.render(planSandbox(request)),
    answers: () => Promise.resolve(true),
    // What a builder left stays in the scratch, which is the caller's.
    run: (request, options) => sandbox.run(planSandbox(request), options),
  };
}

/**
 * What stands at the top of a build root that is elsewhere: a world is the same tree here, at `world`; what a host view names is taken for
 * directories, and the script looks.
 */
export function entriesElsewhere(host: Host, plan: SandboxPlan, world: string | undefined): readonly RootEntry[] {
  const { root } = plan;
  if (root.kind === "host" || world === undefined) return presumedEntries(host, plan);
  const here = rootEntries(host, { ...plan, root: { ...root, physical: world } });
  return here.map((entry) =>
    entry.kind === "mount" ? { ...entry, source: `${root.physical}${entry.source.slice(world.length)}` } : entry,
  );
}

/** What `$?` of a shell says of a builder's end, on that system. */
export function endOf(status: number, system: System): SandboxResult {
  const signal = (operatingSystemOf(system) === "freebsd" ? freebsdSignal : linuxSignal)(status - 128);
  return signal === undefined ? { kind: "exited", status } : { kind: "signalled", signal };
}
