/**
 * The newest catalogue seen of each repository, one file for each place it was read from: what makes an older one, validly signed,
 * be refused the next time.
 */
import { isSha256, Problem, sha256 } from "../base/index.ts";
import { type Host, isErrno } from "../host/index.ts";
import type { FreshnessRecord } from "./freshness.ts";

export function seenFile(directory: string, location: string): string {
  return `${directory}/${sha256(location)}.json`;
}

/** undefined when the repository was never read. @throws Problem E_SEEN_INVALID: to be forgotten by a person, not by an accident */
export function readSeen(host: Host, file: string): FreshnessRecord | undefined {
  let text: string;
  try {
    text = host.files.readText(file);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
  const record = parse(text);
  if (record !== undefined) return record;
  throw new Problem({
    code: "E_SEEN_INVALID",
    message: "what was kept of the newest catalogue seen of this repository cannot be read",
    where: file,
    hint: "remove the file to trust whatever the repository shows next",
    exit: 2,
  });
}

export function writeSeen(host: Host, file: string, location: string, record: FreshnessRecord): void {
  const { catalogueSha256, issuedAtMs, superseded } = record;
  const text = `${JSON.stringify({ location, catalogueSha256, issuedAtMs, superseded })}\n`;
  host.files.makeDirectory(file.slice(0, file.lastIndexOf("/")), { parents: true });
  const beside = `${file}.new-${host.processIdentity.replaceAll(":", "+")}`;
  host.files.writeFile(beside, text);
  host.files.sync(beside);
  host.files.rename(beside, file);
}

function parse(text: string): FreshnessRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const catalogueSha256 = "catalogueSha256" in value ? value.catalogueSha256 : undefined;
  const issuedAtMs = "issuedAtMs" in value ? value.issuedAtMs : undefined;
  const superseded = "superseded" in value ? value.superseded : undefined;
  if (typeof catalogueSha256 !== "string" || !isSha256(catalogueSha256)) return undefined;
  if (issuedAtMs !== undefined && typeof issuedAtMs !== "number") return undefined;
  if (!Array.isArray(superseded) || !superseded.every((each) => typeof each === "string")) return undefined;
  return { catalogueSha256, issuedAtMs, superseded };
}
