/** Formats of disk images as people name them: by an option, or by the end of a file's name. */
import { closest } from "../base/index.ts";
import type { Container } from "../image/index.ts";
import { usageProblem } from "./parse.ts";

const FORMATS: readonly Container[] = ["raw", "qcow2", "vhd-fixed", "vhd-dynamic"];
const SUFFIXES: Readonly<Record<string, Container>> = { raw: "raw", img: "raw", qcow2: "qcow2", vhd: "vhd-dynamic" };

/** @throws Problem E_USAGE when neither says it */
export function containerFor(format: string | undefined, file: string): Container {
  if (format === undefined) {
    const found = SUFFIXES[(/\.([A-Za-z0-9]+)$/.exec(file)?.[1] ?? "").toLowerCase()];
    if (found !== undefined) return found;
    throw usageProblem(`${file}: its name does not say which format it is to have`, `--format ${FORMATS.join(" | ")}`);
  }
  const found = FORMATS.find((name) => name === format);
  if (found !== undefined) return found;
  const meant = closest(format, FORMATS);
  throw usageProblem(
    `--format ${format}: there is no such format`,
    meant === undefined ? `there are ${FORMATS.join(", ")}` : `did you mean ${meant}?`,
  );
}
