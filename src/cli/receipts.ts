/** `--receipt FILE`, or METADATA_OUT in the environment: a copy of the receipt where the caller wants it. */
import type { Context, Given } from "./command.ts";
import { absolute } from "./paths.ts";

export function receiptFile(context: Context, given: Given): string | undefined {
  const file = given.text("receipt") ?? context.env["METADATA_OUT"];
  if (file === undefined || file === "") return undefined;
  return absolute(context, file);
}
