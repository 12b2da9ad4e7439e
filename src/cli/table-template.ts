/** The commands of templates: images that may be cloned. */
import type { ArgumentSpec, Command, OptionSpec } from "./command.ts";
import { JOBS, KEEP_FAILED, KEEP_GOING, KEY, RECEIPT } from "./options.ts";

const templateModule = () => import("./commands/template.ts");

const NAME: readonly ArgumentSpec[] = [{ name: "NAME" }];
const SHAPE: readonly OptionSpec[] = [
  { name: "conf", value: "FILE", help: "its sidecar: assignments of TPL_ variables (default: what most machines are)" },
  { name: "description", value: "TEXT", help: "for people" },
  { name: "replace", help: "take the place of another template of the name" },
];

export const TEMPLATES: readonly Command[] = [
  {
    path: ["template", "build"],
    summary: "make a template of a system whose image passes its gate",
    arguments: [{ name: "SYSTEM|TEMPLATE" }],
    options: [
      { name: "name", value: "NAME", help: "what it is called (default: as declared, else as the system)" },
      ...SHAPE,
      JOBS,
      KEEP_GOING,
      KEEP_FAILED,
      KEY,
      RECEIPT,
    ],
    notes: [
      "FILE#NAME, or #NAME in ./garth.ts, of what system({ ... }) or template({ ... }) returned.",
      "What is declared is made as it is declared, unless --name, --conf or --description say something else.",
    ],
    load: async () => (await templateModule()).build,
  },
  {
    path: ["template", "import"],
    summary: "make a template of a cloud image: raw or qcow2, a file or a URL",
    arguments: [{ name: "FILE|URL" }],
    options: [
      { name: "sha256", value: "SUM", help: "of the file as it comes; nothing of it is used before that holds" },
      { name: "name", value: "NAME", help: "what it is called (default: the file's name)" },
      ...SHAPE,
      RECEIPT,
    ],
    notes: ["Its root must be ext4: files that make its clones read their seed are put there, without root."],
    load: async () => (await templateModule()).importOne,
  },
  {
    path: ["template", "ls"],
    summary: "templates there are",
    arguments: [],
    options: [],
    load: async () => (await templateModule()).ls,
  },
  {
    path: ["template", "show"],
    summary: "a template: where it came from, its sidecar, who signed it",
    arguments: NAME,
    options: [],
    load: async () => (await templateModule()).show,
  },
  {
    path: ["template", "verify"],
    summary: "hold templates against what this host signed",
    arguments: [{ name: "NAME", optional: true, many: true }],
    options: [],
    notes: ["Exit status 1 when one is not what was signed."],
    load: async () => (await templateModule()).verify,
  },
  {
    path: ["template", "rm"],
    summary: "remove templates that no machine is made of",
    arguments: [{ name: "NAME", many: true }],
    options: [],
    load: async () => (await templateModule()).rm,
  },
];
