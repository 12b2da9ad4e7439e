/** What stands at the top of a build root, as found on the host. */
import { Problem } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { covers } from "./plan.ts";
import type { SandboxPlan } from "./types.ts";

/** One thing at the top of the root: mounted read-only, or a link made anew. */
export type RootEntry =
  | { readonly kind: "mount"; readonly type: "file" | "directory"; readonly source: string; readonly target: string }
  | { readonly kind: "symlink"; readonly target: string; readonly to: string };

/** Places in a world's root that the sandbox makes itself. */
export const MADE_BY_SANDBOX = new Set(["dev", "proc", "sys", "tmp", "build", "frx", "homeless"]);

/** Names of the host that are worth a place in the root, outermost first; one that lies below another says nothing new. */
function outermost(paths: readonly string[]): readonly string[] {
  const sorted = [...new Set(paths)].toSorted();
  return sorted.filter((path) => !sorted.some((other) => other !== path && covers(other, path)));
}

export function rootEntries(host: Host, plan: SandboxPlan): readonly RootEntry[] {
  const entry = (source: string, target: string): RootEntry => {
    const stat = host.files.lstatIfAny(source);
    if (stat === undefined) {
      throw new Problem({
        code: "E_SANDBOX_SETUP",
        message: `the build root of ${plan.hostname} names ${source}, which is not there`,
        exit: 3,
      });
    }
    if (stat.type !== "symlink") return { kind: "mount", type: stat.type === "directory" ? "directory" : "file", source, target };
    return { kind: "symlink", target, to: new TextDecoder().decode(host.files.readLink(source)) };
  };
  const { root } = plan;
  if (root.kind === "host") return outermost(root.paths).map((path) => entry(path, path));
  const decoder = new TextDecoder("utf-8", { fatal: true });
  return host.files
    .list(root.physical)
    .map((name) => decoder.decode(name))
    .filter((name) => !MADE_BY_SANDBOX.has(name))
    .toSorted()
    .map((name) => entry(`${root.physical}/${name}`, `/${name}`));
}

/**
 * For showing a plan where it cannot be carried out: what the host view names is taken for directories. A world is a tree of
 * the store, and is looked at wherever it is.
 */
export function presumedEntries(host: Host, plan: SandboxPlan): readonly RootEntry[] {
  if (plan.root.kind === "world") return rootEntries(host, plan);
  return outermost(plan.root.paths).map((path): RootEntry => ({ kind: "mount", type: "directory", source: path, target: path }));
}
