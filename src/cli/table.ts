/** Every command there is. A row costs nothing until it is called: its module is loaded then. */
import type { ArgumentSpec, Command, OptionSpec } from "./command.ts";
import { JOBS, KEEP_FAILED, KEEP_GOING, KEY, ON, RECEIPT, SYSTEM } from "./options.ts";
import { DAEMON } from "./table-daemon.ts";
import { HOSTS } from "./table-host.ts";
import { POOLS } from "./table-pool.ts";
import { SYSTEMS } from "./table-systems.ts";
import { TEMPLATES } from "./table-template.ts";

const buildModule = () => import("./commands/build.ts");
const storeModule = () => import("./commands/store.ts");

const REFS: readonly ArgumentSpec[] = [{ name: "REF", optional: true, many: true }];
const REF: readonly ArgumentSpec[] = [{ name: "REF" }];
const ITEM: readonly ArgumentSpec[] = [{ name: "ITEM" }];
const TWO_ITEMS: readonly ArgumentSpec[] = [{ name: "ITEM" }, { name: "ITEM" }];
const SOURCE: readonly ArgumentSpec[] = [{ name: "PATH" }];
const FILE: readonly ArgumentSpec[] = [{ name: "FILE", optional: true }];

const NAME: OptionSpec = { name: "name", value: "NAME", help: "the item's name (default: the file's)" };
const ITEM_NOTE = "An ITEM is a store path, or enough of its hash or name.";

const LINE: readonly Command[] = [
  {
    path: ["ship"],
    summary: "the whole line of a project file, stage by stage, resumable",
    arguments: FILE,
    options: [
      JOBS,
      ON,
      SYSTEM,
      KEEP_GOING,
      KEEP_FAILED,
      KEY,
      {
        name: "until",
        value: "STAGE",
        help: "the last stage: recipe, build, package, repository, world, system, image, gate, template, pool",
      },
      { name: "again", help: "run the gate again although it passed" },
      RECEIPT,
    ],
    load: async () => (await import("./commands/ship.ts")).ship,
  },
  {
    path: ["drv", "build"],
    alias: "build",
    summary: "build recipes and what they need",
    arguments: REFS,
    options: [
      { name: "dry-run", help: "build nothing: print what would be, with each sandbox's files" },
      JOBS,
      ON,
      SYSTEM,
      KEEP_GOING,
      KEEP_FAILED,
      { name: "rebuild", help: "build again what is there already" },
      { name: "check", help: "build a second time elsewhere and compare, file by file" },
      { name: "retry-alternatives", help: "try the alternatives of a recipe in order again" },
      {
        name: "out-link",
        short: "o",
        value: "LINK",
        help: "make a symlink to the output; while it is there, gc keeps the output",
      },
      RECEIPT,
    ],
    load: async () => (await buildModule()).build,
  },
  {
    path: ["drv", "show"],
    summary: "the resolved derivation, as it was built",
    arguments: REF,
    options: [ON, SYSTEM],
    notes: ["REF may also be the path of a .drv, or the beginning of one."],
    load: async () => (await buildModule()).show,
  },
  {
    path: ["drv", "graph"],
    summary: "the steps of a build, dependencies first",
    arguments: REFS,
    options: [{ name: "dot", help: "in the language of graphviz" }, ON, SYSTEM],
    load: async () => (await buildModule()).graph,
  },
  {
    path: ["drv", "why-rebuild"],
    summary: "the fields and inputs that changed since the last build",
    arguments: REFS,
    options: [ON, SYSTEM],
    load: async () => (await buildModule()).whyRebuild,
  },
  {
    path: ["drv", "log"],
    alias: "log",
    summary: "what a build printed",
    arguments: REF,
    options: [ON, SYSTEM],
    notes: ["REF may also be a store path: of an output, or of its .drv."],
    load: async () => (await buildModule()).log,
  },
  {
    path: ["check"],
    summary: "type-check and validate a project file",
    arguments: FILE,
    options: [],
    load: async () => (await buildModule()).check,
  },
];

const STORE: readonly Command[] = [
  {
    path: ["store", "add"],
    summary: "copy a file or tree in",
    arguments: SOURCE,
    options: [NAME],
    load: async () => (await storeModule()).add,
  },
  {
    path: ["store", "ls"],
    summary: "what is there",
    arguments: [{ name: "BEGINNING", optional: true }],
    options: [{ name: "long", short: "l", help: "with sizes and dates" }],
    load: async () => (await storeModule()).ls,
  },
  {
    path: ["store", "show"],
    summary: "all that is known of an item",
    arguments: ITEM,
    options: [],
    notes: [ITEM_NOTE],
    load: async () => (await storeModule()).show,
  },
  {
    path: ["store", "refs"],
    summary: "what an item refers to",
    arguments: ITEM,
    options: [
      { name: "closure", help: "and what that refers to, and so on, dependencies first" },
      { name: "referrers", help: "what refers to it instead" },
    ],
    notes: [ITEM_NOTE],
    load: async () => (await storeModule()).refs,
  },
  {
    path: ["store", "verify"],
    summary: "look for damage in store and database",
    arguments: [],
    options: [
      { name: "repair", help: "mend what can be mended" },
      { name: "quick", help: "do not read the contents" },
    ],
    load: async () => (await storeModule()).verify,
  },
  {
    path: ["store", "roots"],
    summary: "what gc keeps, and why",
    arguments: [],
    options: [],
    load: async () => (await storeModule()).roots,
  },
  {
    path: ["store", "root"],
    summary: "hold an item by a symlink, or let go of it",
    arguments: [{ name: "LINK" }, { name: "ITEM", optional: true }],
    options: [],
    notes: ["Without ITEM the link goes away and nothing is held.", ITEM_NOTE],
    load: async () => (await storeModule()).root,
  },
  {
    path: ["store", "why"],
    summary: "which files of an item make it depend on another",
    arguments: TWO_ITEMS,
    options: [],
    notes: [ITEM_NOTE],
    load: async () => (await storeModule()).why,
  },
  {
    path: ["store", "gc"],
    alias: "gc",
    summary: "remove what nothing needs",
    arguments: [],
    options: [
      { name: "older-than", value: "TIME", help: "keep what was used since: 30d, 12h (default: gc.older_than_days)" },
      { name: "keep-free", value: "SIZE", help: "stop once so much is free: 10G" },
      { name: "max-freed", value: "SIZE", help: "stop after freeing so much" },
      { name: "dry-run", help: "remove nothing, say what would go" },
    ],
    load: async () => (await storeModule()).gc,
  },
  {
    path: ["store", "diff"],
    summary: "how two items differ, file by file",
    arguments: TWO_ITEMS,
    options: [],
    notes: [ITEM_NOTE, "Exit status 1 when they do."],
    load: async () => (await storeModule()).diff,
  },
  {
    path: ["store", "path"],
    summary: "the path that adding a file or tree would give",
    arguments: SOURCE,
    options: [NAME],
    load: async () => (await storeModule()).path,
  },
  {
    path: ["store", "dump"],
    summary: "an item as a NAR, on stdout",
    arguments: ITEM,
    options: [],
    notes: [ITEM_NOTE],
    load: async () => (await storeModule()).dump,
  },
  {
    path: ["store", "optimise"],
    summary: "replace identical files by hard links",
    arguments: [],
    options: [],
    load: async () => (await storeModule()).optimise,
  },
];

const pkgModule = () => import("./commands/pkg.ts");
const repoModule = () => import("./commands/repo.ts");
const REPO: ArgumentSpec = { name: "REPO" };
const PACKAGE: readonly ArgumentSpec[] = [{ name: "FILE.pkg" }];
const REPO_NOTE = "A REPO is a directory, or the name of one under the state's repos/.";

const PACKAGES: readonly Command[] = [
  {
    path: ["pkg", "create"],
    summary: "make packages of what recipes build, and of what that needs",
    arguments: REFS,
    options: [{ name: "out", short: "o", value: "DIR", help: "where they go (default: here)" }, JOBS, ON, SYSTEM],
    load: async () => (await pkgModule()).create,
  },
  {
    path: ["pkg", "info"],
    summary: "what a package says about itself",
    arguments: PACKAGE,
    options: [],
    load: async () => (await pkgModule()).info,
  },
  {
    path: ["pkg", "ls"],
    summary: "the files of a package, owners and modes",
    arguments: PACKAGE,
    options: [],
    load: async () => (await pkgModule()).ls,
  },
  {
    path: ["repo", "init"],
    summary: "make the signing key if there is none, and an empty repository",
    arguments: [{ name: "REPO", optional: true }],
    options: [KEY],
    notes: [REPO_NOTE],
    load: async () => (await repoModule()).init,
  },
  {
    path: ["repo", "publish"],
    summary: "add packages and publish the new catalogue at once",
    arguments: [REPO, { name: "FILE.pkg", many: true }],
    options: [KEY, { name: "replace", help: "take a package in place of another of the same name and version" }],
    notes: [REPO_NOTE],
    load: async () => (await repoModule()).publish,
  },
  {
    path: ["repo", "sign"],
    summary: "sign the catalogue again, with another key",
    arguments: [REPO],
    options: [KEY, { name: "previous-key", value: "FILE", help: "the public key it was signed with before" }],
    notes: [REPO_NOTE],
    load: async () => (await repoModule()).sign,
  },
  {
    path: ["repo", "serve"],
    summary: "serve a repository over HTTP until interrupted",
    arguments: [REPO],
    options: [{ name: "listen", value: "ADDRESS:PORT", help: "default 127.0.0.1:8080; port 0 takes a free one" }],
    notes: [REPO_NOTE],
    load: async () => (await repoModule()).serve,
  },
  {
    path: ["repo", "verify"],
    summary: "read a repository as a client does: signature, age, every sum",
    arguments: [{ name: "REPO|URL" }],
    options: [
      KEY,
      { name: "trust-key", value: "FILE", help: "trust this public key" },
      { name: "fingerprint", value: "HEX", help: "trust the key with this SHA-256" },
      { name: "max-age", value: "TIME", help: "refuse a catalogue that was issued longer ago" },
      { name: "allow-rollback", help: "accept a catalogue older than the newest one seen, this once" },
    ],
    notes: [REPO_NOTE, "Without an option the public half of the signing key is trusted."],
    load: async () => (await repoModule()).verify,
  },
  {
    path: ["repo", "client-conf"],
    summary: "what a client puts into its configuration of pkg",
    arguments: [{ name: "NAME" }, { name: "URL" }],
    options: [
      KEY,
      { name: "priority", value: "N", help: "higher wins for a new install" },
      { name: "public-key", value: "PATH", help: "trust by a public key that lies there on the client" },
      { name: "fingerprints", value: "DIR", help: "trust by fingerprints there (default, under /usr/local/etc/pkg)" },
    ],
    load: async () => (await repoModule()).clientConf,
  },
  {
    path: ["repo", "nginx-conf"],
    summary: "a server block for nginx",
    arguments: [REPO, { name: "SERVER-NAME" }],
    options: [
      { name: "certificate", value: "FILE", help: "serve https with it" },
      { name: "certificate-key", value: "FILE", help: "and its key" },
    ],
    notes: [REPO_NOTE],
    load: async () => (await repoModule()).nginxConf,
  },
  {
    path: ["repo", "prune"],
    summary: "forget old versions, and delete their files after a grace",
    arguments: [REPO],
    options: [
      { name: "keep", value: "N", help: "versions to keep of each package (default 3)" },
      { name: "grace", value: "TIME", help: "how long clients may still fetch them (default 1d)" },
      { name: "dry-run", help: "remove nothing, say what would go" },
      KEY,
    ],
    notes: [REPO_NOTE],
    load: async () => (await repoModule()).prune,
  },
];

const REST: readonly Command[] = [
  {
    path: ["receipt", "ls"],
    summary: "every receipt, newest first",
    arguments: [],
    options: [],
    load: async () => (await import("./commands/receipt.ts")).ls,
  },
  {
    path: ["receipt", "show"],
    summary: "one receipt",
    arguments: [{ name: "NAME" }],
    options: [],
    notes: ["The beginning of a name is enough."],
    load: async () => (await import("./commands/receipt.ts")).show,
  },
  {
    path: ["config", "show"],
    summary: "the effective settings and where each came from",
    arguments: [],
    options: [],
    load: async () => (await import("./commands/config.ts")).show,
  },
  {
    path: ["doctor"],
    summary: "what this machine lacks",
    arguments: [],
    options: [
      { name: "install", help: "install it, saying each command first" },
      { name: "tests", help: "also what the tests and benchmarks compare with" },
    ],
    load: async () => (await import("./commands/doctor.ts")).doctor,
  },
];

export const COMMANDS: readonly Command[] = [
  ...LINE,
  ...STORE,
  ...PACKAGES,
  ...SYSTEMS,
  ...TEMPLATES,
  ...POOLS,
  ...HOSTS,
  ...DAEMON,
  ...REST,
];
