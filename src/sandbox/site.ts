/** This machine as somewhere that builders run: nothing has to be brought. */
import type { Host } from "../host/index.ts";
import { planSandbox } from "./plan.ts";
import type { Sandbox, Site } from "./types.ts";

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
