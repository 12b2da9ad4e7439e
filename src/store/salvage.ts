/** What to do with a database that cannot be opened. */
import type { Host } from "../host/index.ts";
import { ledgerFiles } from "../ledger/index.ts";

/**
 * Moves a damaged database aside, with its log, so that a new one can be opened in its place and filled by
 * `verify({ repair: true, contents: true, adopt: true })`. Returns where it is now.
 */
export function setAsideLedger(host: Host, file: string, nowMs: number): string {
  const stamp = new Date(nowMs).toISOString().replaceAll(":", "-");
  for (const part of ledgerFiles(file)) {
    if (host.files.exists(part)) host.files.rename(part, `${part}.damaged-${stamp}`);
  }
  return `${file}.damaged-${stamp}`;
}
