/** Which system something is for that was built with a host's own tools: that host's, wherever it was. */
import { operatingSystemOf, Problem, type System } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import type { Abi } from "../pkg/index.ts";
import { abiOfSystem } from "./create.ts";

/** The host it ran on, where it was not this machine. */
export interface BuiltOn {
  readonly host: string;
  readonly release: string;
  /** FreeBSD: `__FreeBSD_version` of its userland. */
  readonly osVersion?: number;
}

/** `system` is what it was built for. @throws Problem E_ABI_UNKNOWN when nothing is known of the host it was built on */
export function abiOfHostView(host: Host, system: System, on: BuiltOn | undefined): Abi {
  if (on === undefined && system === host.system) return abiOfSystem(host, "/");
  const { osVersion } = on ?? {};
  if (osVersion !== undefined && operatingSystemOf(system) === "freebsd") {
    const architecture = system === "x86_64-freebsd" ? "amd64" : "aarch64";
    return { system: "FreeBSD", release: String(Math.floor(osVersion / 100_000)), architecture, osVersion };
  }
  throw new Problem({
    code: "E_ABI_UNKNOWN",
    message: `which ${operatingSystemOf(system) === "freebsd" ? "FreeBSD" : "Linux"} a package is for is not known: it was built with the tools of ${
      on === undefined ? "a host of which nothing is recorded" : `the host ${on.host}, ${on.release}`
    }`,
    hint: 'build it again there (--rebuild), in a world, or say it in the project: package_(..., { abi: "FreeBSD:15:amd64" })',
    exit: 2,
  });
}
