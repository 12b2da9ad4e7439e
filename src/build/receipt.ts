/** The receipt of one built step. Pure, but for asking the store. */
import type { Store } from "../store/index.ts";
import type { StepResult } from "./types.ts";

/**
 * Keys in an order that scripts may rely on. Lists are separated by one space. `out_*` is the output "out"; further outputs have
 * `<name>_path` and `<name>_nar_sha256`. `references` are those of `out`, without itself. `tests` is "passed" when the recipe runs
 * its test suite as part of the build, else "none". What is not known (the build was done elsewhere or forgotten) is left out.
 */
export function buildReceipt(result: StepResult, store: Pick<Store, "query">): Readonly<Record<string, string>> {
  const { derivation, drv, outputs, use, step } = result;
  const { out, ...others } = outputs;
  const item = out === undefined ? undefined : store.query(out);
  const fields: Record<string, string | undefined> = {
    drv_path: drv,
    out_path: out,
    out_nar_sha256: item?.narSha256,
    source_store_path: derivation.sources.join(" "),
    runtime_output: result.probe,
    build_uid: use && String(use.uid),
    build_gid: use && String(use.gid),
    jail_hostname: use?.hostname,
    build_mode: use?.mode,
    build_host: use?.on?.host,
    build_host_release: use?.on?.release,
    limits: use?.limits,
    build_root:
      derivation.buildRoot.kind === "world" ? derivation.buildRoot.path : `host:${derivation.buildRoot.paths.join(":")}`,
    network: derivation.network ? "host" : "none",
    tests: step.recipe.check ? "passed" : "none",
    host_base_store_count: derivation.buildRoot.kind === "host" ? String(derivation.buildRoot.paths.length) : "0",
    host_base_stores: derivation.buildRoot.kind === "host" ? derivation.buildRoot.paths.join(" ") : "",
    references: item?.references.filter((path) => path !== out).join(" "),
    chosen: result.chosen,
    how: result.how,
    log: result.logFile,
  };
  for (const [name, path] of Object.entries(others)) {
    fields[`${name}_path`] = path;
    fields[`${name}_nar_sha256`] = store.query(path)?.narSha256;
  }
  const known: Record<string, string> = {};
  for (const [key, value] of Object.entries(fields)) if (value !== undefined) known[key] = value;
  return known;
}
