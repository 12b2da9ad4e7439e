import { sha256 } from "../base/index.ts";
import type { Project } from "../project/index.ts";

/** What was shipped stays, against gc, until the same project ships something else under the same name. */
export function rootName(project: Project, label: string, part: string): string {
  return `ship-${sha256(project.file).slice(0, 12)}-${label}-${part}`;
}
