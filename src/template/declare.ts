/** The constructor of project files: `template({ system: debian12, sidecar: { shell: "/bin/bash" } })`. Pure, and nothing to load. */
import { closest, Problem } from "../base/index.ts";
import type { GateDeclaration } from "../gate/index.ts";
import type { SystemDeclaration } from "../system/index.ts";
import { TEMPLATE_NAME, TEMPLATE_NAME_WORDS } from "./manifest.ts";
import { FIELDS, KEYS, readValues, type SidecarField, type SidecarTexts } from "./sidecar-values.ts";
import type { Sidecar } from "./types.ts";

/** See `Sidecar`: what is not said is as it mostly is. */
export interface SidecarFields extends Partial<
  Pick<
    Sidecar,
    "gatewayMode" | "bootMode" | "patchMode" | "diskDevice" | "netDevice" | "sshUser" | "shell" | "shellArgs" | "cpus"
  >
> {
  /** "256M", "2G". */
  readonly memory?: string;
  readonly wiredMemory?: boolean;
  /** As bhyve(8) has them behind `-s`: "20:0,passthru,ppt0". */
  readonly extraSlots?: readonly string[];
}

export interface TemplateFields {
  /** What system({ ... }) returned. */
  readonly system: SystemDeclaration;
  /** Default: the system's. */
  readonly name?: string;
  /** What its image has to pass. Default: the gate of the file that names the system, else the rules of its family. */
  readonly gate?: GateDeclaration;
  readonly sidecar?: SidecarFields;
  /** For people. */
  readonly description?: string;
}

export interface TemplateDeclaration {
  readonly kind: "template";
  readonly name: string;
  readonly system: SystemDeclaration;
  readonly gate: GateDeclaration | undefined;
  /** Slots are held against machines when the template is made. */
  readonly sidecar: SidecarTexts;
  readonly description: string;
}

const TEMPLATE_FIELDS = ["system", "name", "gate", "sidecar", "description"] as const;

/** @throws Problem E_BAD_TEMPLATE, which names the field (exit 2) */
export function template(fields: TemplateFields): TemplateDeclaration {
  checkNames(fields, TEMPLATE_FIELDS, "");
  const { system, gate } = fields;
  if (kindOf(system) !== "system") throw fault("system", "it is not what system({ ... }) returned");
  if (gate !== undefined && kindOf(gate) !== "gate") throw fault("gate", "it is not what gate({ ... }) returned");
  const name = fields.name ?? system.spec.name;
  if (typeof name !== "string" || !TEMPLATE_NAME.test(name))
    throw fault("name", `${JSON.stringify(name)} cannot name a template`, `a name has ${TEMPLATE_NAME_WORDS}`);
  const { description = "" } = fields;
  if (typeof description !== "string" || description.length > 4000)
    throw fault("description", "it is not text of at most 4000 characters");
  return { kind: "template", name, system, gate, sidecar: sidecarTexts(fields.sidecar ?? {}), description };
}

function fault(path: string, message: string, hint?: string): Problem {
  return new Problem({
    code: "E_BAD_TEMPLATE",
    message: `template: ${path}: ${message}`,
    ...(hint === undefined ? {} : { hint }),
    exit: 2,
  });
}

function kindOf(value: unknown): unknown {
  return typeof value === "object" && value !== null && "kind" in value ? value.kind : undefined;
}

function checkNames(value: unknown, known: readonly string[], above: string): void {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw fault(above || "fields", "it is not an object");
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue;
    const near = closest(key, known);
    const hint = near === undefined ? `there are ${known.join(", ")}` : `did you mean ${near}?`;
    throw fault(above === "" ? key : `${above}.${key}`, "there is no such field", hint);
  }
}

/** What each field would be in a file, so that both are checked by the same lines. */
function sidecarTexts(sidecar: SidecarFields): SidecarTexts {
  checkNames(sidecar, FIELDS, "sidecar");
  const texts: { [Field in SidecarField]?: string } = {};
  for (const field of FIELDS) {
    const value: unknown = sidecar[field];
    if (value !== undefined) texts[field] = textOf(field, value);
  }
  readValues(texts, (field, message, hint) => {
    throw fault(`sidecar.${field}`, `${message} (${KEYS[field]})`, hint);
  });
  return texts;
}

function textOf(field: SidecarField, value: unknown): string {
  const wrong = (wanted: string): Problem => fault(`sidecar.${field}`, `${JSON.stringify(value)} is not ${wanted}`);
  switch (field) {
    case "cpus":
      if (typeof value !== "number") throw wrong("a number");
      return String(value);
    case "wiredMemory":
      if (typeof value !== "boolean") throw wrong("true or false");
      return value ? "yes" : "no";
    case "shellArgs":
    case "extraSlots": {
      if (!Array.isArray(value) || !value.every((one) => typeof one === "string")) throw wrong("a list of texts");
      if (field === "shellArgs") return value.map((one) => `'${one.replaceAll("'", `'\\''`)}'`).join(" ");
      if (value.some((one) => one.includes(";"))) throw wrong("a list of slots, each a text of its own");
      return value.join(";");
    }
    default:
      if (typeof value !== "string") throw wrong("a text");
      return value;
  }
}
