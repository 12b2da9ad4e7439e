/**
 * localTree: files beside the project, hashed where they lie. They are copied into the store only when the store does not have
 * them: a command that changes nothing reads, and writes nothing.
 */
import { Problem, type StorePath } from "../../base/index.ts";
import { excludes } from "./plan.ts";
import type { FetchContext, FetchOf } from "./types.ts";

type Context = Pick<FetchContext, "host" | "store">;

/** @throws Problem E_NO_SUCH_SOURCE */
export async function localTreePath(context: Context, fetch: FetchOf<"localTree">): Promise<StorePath> {
  const stat = context.host.files.lstatIfAny(fetch.path);
  if (stat === undefined) {
    throw new Problem({
      code: "E_NO_SUCH_SOURCE",
      message: `the source ${fetch.name} is to come from ${fetch.path}, and there is nothing there`,
      where: fetch.path,
      hint: "a relative path is relative to the file of the recipe",
      exit: 2,
    });
  }
  const isLeftOut = excludes(fetch.exclude);
  const options = { filter: (relative: string) => !isLeftOut(relative) };
  const path = await context.store.pathOf(fetch.path, fetch.name, options);
  return context.store.isValid(path) ? path : (await context.store.add(fetch.path, fetch.name, options)).path;
}
