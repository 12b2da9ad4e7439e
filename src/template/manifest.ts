/**
 * The text that is signed: canonical JSON (RFC 8785) and a line end, so that one template has one text. A text in another form, with
 * a member too many or too few, is no manifest.
 */
import { canonicalJson, isSha256, isStorePath, type JsonValue } from "../base/index.ts";
import type { TemplateManifest, TemplateOrigin } from "./types.ts";

/** Names files, pools and, with a number, machines: what a hostname may hold. */
export const TEMPLATE_NAME = /^[a-z0-9](?:[a-z0-9.-]{0,38}[a-z0-9])?$/;
export const TEMPLATE_NAME_WORDS = "1 to 40 lower-case letters, digits, dots and hyphens";

export function manifestText(manifest: TemplateManifest): string {
  // What JSON leaves out is left out before the canonical form is made.
  const value: JsonValue = JSON.parse(JSON.stringify(manifest));
  return `${canonicalJson(value)}\n`;
}

export function parseManifest(text: string): TemplateManifest | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  return isManifest(value) && manifestText(value) === text ? value : undefined;
}

/** An object with exactly these members; those with a question mark may be missing. */
function hasMembers(value: unknown, members: Readonly<Record<string, (member: unknown) => boolean>>): boolean {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const given = new Map<string, unknown>(Object.entries(value));
  const known = new Set(Object.keys(members).map((name) => name.replace("?", "")));
  if ([...given.keys()].some((name) => !known.has(name))) return false;
  return Object.entries(members).every(([name, check]) => {
    const key = name.replace("?", "");
    return given.has(key) ? check(given.get(key)) : name.endsWith("?");
  });
}

const isText = (value: unknown): boolean => typeof value === "string";
const isDigest = (value: unknown): boolean => typeof value === "string" && isSha256(value);
const isPath = (value: unknown): boolean => typeof value === "string" && isStorePath(value);
const isSize = (value: unknown): boolean => typeof value === "number" && Number.isSafeInteger(value) && value > 0;
const is = (wanted: unknown) => (value: unknown) => value === wanted;

function isOrigin(value: unknown): value is TemplateOrigin {
  return (
    hasMembers(value, { kind: is("system"), system: isPath, verdict: isPath, verdictSha256: isDigest }) ||
    hasMembers(value, {
      kind: is("import"),
      source: isText,
      sha256: isDigest,
      format: (format) => format === "raw" || format === "qcow2",
    })
  );
}

function isManifest(value: unknown): value is TemplateManifest {
  return hasMembers(value, {
    schema: is(1),
    name: (name) => typeof name === "string" && TEMPLATE_NAME.test(name),
    image: (image) => hasMembers(image, { sha256: isDigest, sizeBytes: isSize }),
    sidecarSha256: isDigest,
    descriptionSha256: isDigest,
    "direct?": (direct) => hasMembers(direct, { kernelSha256: isDigest, "initrdSha256?": isDigest, commandLine: isText }),
    origin: isOrigin,
  });
}
