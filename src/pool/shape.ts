import type { Template } from "../template/index.ts";
import type { PoolSpec } from "./types.ts";

/** How large the machines of a pool are: as it says, or as its template does. */
export function shapeOf(
  pool: Pick<PoolSpec, "memoryBytes" | "cpus">,
  { sidecar }: Pick<Template, "sidecar">,
): { readonly memoryBytes: number; readonly cpus: number } {
  return { memoryBytes: pool.memoryBytes ?? sidecar.memoryBytes, cpus: pool.cpus ?? sidecar.cpus };
}
