/**
 * receipt: what went into a stage, what came out and what was checked.
 *
 * A receipt is `key=value` lines with the same as JSON beside it. Every one is kept in the state
 * directory under a name made from its content; `--receipt FILE` and METADATA_OUT write a copy where the caller wants it.
 */
export { parseReceipt, type ReceiptFields, renderReceipt } from "./format.ts";
export { openReceipts, type Receipt, type Receipts, writeReceiptFile } from "./run.ts";
