/** Whether pkg(8) takes a manifest: every finding names its field. */
import { isAbi } from "./abi.ts";
import type { CompactManifest, Manifest } from "./types.ts";

export interface Finding {
  readonly severity: "error" | "warning";
  readonly field: string;
  readonly message: string;
}

export function isPackageName(text: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9.+_@-]{0,200}$/.test(text);
}

/** pkg takes what follows the last dash of `name-version` for the version. */
export function isPackageVersion(text: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9.+_,*:~]{0,100}$/.test(text);
}

/** Absolute, and every component a real name. */
export function isCleanPath(path: string): boolean {
  if (!path.startsWith("/") || path.includes("\0")) return false;
  return path
    .slice(1)
    .split("/")
    .every((part) => part !== "" && part !== "." && part !== "..");
}

/**
 * Faults of what a catalogue carries. The fields named missing are those whose absence makes clients crash (name, origin,
 * version, arch) or refuse the whole catalogue (the others).
 */
export function validateCompactManifest(manifest: CompactManifest): readonly Finding[] {
  const findings: Finding[] = [];
  const error = (field: string, message: string): void => void findings.push({ severity: "error", field, message });
  const warning = (field: string, message: string): void => void findings.push({ severity: "warning", field, message });

  for (const field of ["name", "origin", "version", "comment", "desc", "maintainer", "prefix", "abi", "arch"] as const) {
    if (manifest[field] === "") error(field, "is missing: clients crash on it or refuse the whole catalogue");
  }
  if (manifest.name !== "" && !isPackageName(manifest.name))
    error("name", `${JSON.stringify(manifest.name)} is not a package name`);
  if (manifest.version !== "" && !isPackageVersion(manifest.version))
    error("version", `${JSON.stringify(manifest.version)} is not a version`);
  if (manifest.origin !== "" && !/^[^/\s]+(?:\/[^/\s]+)+$/.test(manifest.origin))
    error("origin", "is not of the form category/name");
  if (manifest.abi !== "" && !isAbi(manifest.abi)) error("abi", `${JSON.stringify(manifest.abi)} is not an ABI`);
  if (manifest.prefix !== "" && !manifest.prefix.startsWith("/")) error("prefix", "is not an absolute path");
  if (/[\n\r]/.test(manifest.comment)) error("comment", "has more than one line");
  for (const [name, { origin, version }] of Object.entries(manifest.deps)) {
    if (!isPackageName(name) || origin === "" || version === "")
      error(`deps.${name}`, "does not say a name, an origin and a version");
  }
  const osVersion = manifest.annotations["FreeBSD_version"];
  if (osVersion !== undefined) {
    const major = /^FreeBSD:([0-9]+):/.exec(manifest.abi)?.[1];
    if (!/^[1-9][0-9]{5,6}$/.test(osVersion))
      error("annotations.FreeBSD_version", `${JSON.stringify(osVersion)} is not a system version`);
    else if (major !== undefined && Math.floor(Number(osVersion) / 100_000) !== Number(major)) {
      error("annotations.FreeBSD_version", `${osVersion} is not of the ABI ${manifest.abi}`);
    }
  }
  if (manifest.licenses.length > 1 && manifest.licenselogic === "single")
    warning("licenselogic", "is single, with several licences");
  return findings;
}

/** The whole of a manifest: what a catalogue carries, and the files. */
export function validateManifest(manifest: Manifest): readonly Finding[] {
  const findings: Finding[] = [...validateCompactManifest(manifest)];
  const seen = new Set<string>();
  const error = (field: string, message: string): void => void findings.push({ severity: "error", field, message });
  for (const { path, sum } of manifest.files) {
    if (!isCleanPath(path)) error(`files.${path}`, "is not an absolute path of real names");
    if (seen.has(path)) error(`files.${path}`, "is there twice");
    if (sum === "") error(`files.${path}`, "has no sum");
    seen.add(path);
  }
  for (const { path } of manifest.directories) {
    if (!isCleanPath(path)) error(`directories.${path}`, "is not an absolute path of real names");
    if (seen.has(path)) error(`directories.${path}`, "is a file too");
  }
  for (const path of manifest.config) if (!seen.has(path)) error(`config.${path}`, "is not among the files");
  return findings;
}
