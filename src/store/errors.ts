import { isErrno } from "../host/index.ts";
import { Problem } from "../base/index.ts";
import type { StoreContext } from "./context.ts";

/** A disk or a quota that filled up, said in words; any other error as it is. */
export function outOfSpace(error: unknown, context: StoreContext, doing: string): unknown {
  if (!isErrno(error, "ENOSPC", "EDQUOT")) return error;
  const { freeBytes, totalBytes } = context.files.space(context.stateDirectory);
  return new Problem({
    code: "E_NO_SPACE",
    message: `the disk filled up while ${doing}`,
    details: [`${freeBytes} of ${totalBytes} bytes are free now, after cleaning up`],
    where: context.directory,
    hint: "nothing was registered and nothing was left behind; free some space, for example with `garth store gc`",
    exit: 3,
    cause: error,
  });
}
