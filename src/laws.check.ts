/**
 * Reads TypeScript as a tree (oxc-parser, which keeps `import type`) and says where it breaks the laws of ARCHITECTURE.md.
 *
 * A file is named relative to src/: "store/gc.ts". Its first component is its room; a file directly in src/ belongs to none.
 */
import { parseSync } from "oxc-parser";
import {
  AMBIENT_GLOBALS,
  AMBIENT_IMPORTS,
  AMBIENT_MEMBERS,
  EXCEPTIONS,
  GLOBAL_OWNERS,
  LINES_MAX,
  MODULE_OWNERS,
  PRINTING_ROOMS,
  PURE_BUN,
  PURE_MODULES,
  type Room,
  ROOMS,
  TEST_LINES_MAX,
  VARIANTS,
} from "./laws.table.ts";

export interface Violation {
  readonly law: 1 | 2 | 3 | 4 | 5;
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

/** One import of any form: declaration, re-export, `import()`, `import("x").T`, `import x = require("x")`. */
interface Import {
  /** undefined when it is computed at run time. */
  readonly module: string | undefined;
  readonly typeOnly: boolean;
  /** Imported names; undefined when the whole module is taken. */
  readonly names: readonly string[] | undefined;
  readonly offset: number;
}

interface Use {
  /** "process.exit", or "fetch" alone. */
  readonly name: string;
  readonly global: string;
  readonly member: string | undefined;
  readonly offset: number;
}

interface Facts {
  readonly imports: readonly Import[];
  readonly uses: readonly Use[];
}

type Tree = Readonly<Record<string, unknown>> & { readonly type: string; readonly start: number };

function isTree(value: unknown): value is Tree {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string" && "start" in value;
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function literal(node: unknown): string | undefined {
  return isTree(node) && node.type === "Literal" ? text(node["value"]) : undefined;
}

function nameOf(node: unknown): string | undefined {
  if (!isTree(node)) return undefined;
  return node.type === "Identifier" ? text(node["name"]) : literal(node);
}

function trees(value: unknown): readonly Tree[] {
  return Array.isArray(value) ? value.filter(isTree) : isTree(value) ? [value] : [];
}

function declaredImport(node: Tree): Import {
  const specifiers = trees(node["specifiers"]);
  const kind = node["importKind"] ?? node["exportKind"];
  const whole = specifiers.some((one) => one.type === "ImportNamespaceSpecifier") || node.type === "ExportAllDeclaration";
  const isType = (one: Tree) => one["importKind"] === "type" || one["exportKind"] === "type";
  return {
    module: literal(node["source"]),
    typeOnly: kind === "type" || (specifiers.length > 0 && specifiers.every(isType)),
    names: whole ? undefined : specifiers.map((one) => nameOf(one["imported"] ?? one["local"]) ?? "default"),
    offset: node.start,
  };
}

function importOf(node: Tree): Import | undefined {
  switch (node.type) {
    case "ImportDeclaration":
    case "ExportAllDeclaration":
      return declaredImport(node);
    case "ExportNamedDeclaration":
      return literal(node["source"]) === undefined ? undefined : declaredImport(node);
    case "ImportExpression":
      return { module: literal(node["source"]), typeOnly: false, names: undefined, offset: node.start };
    case "TSImportType":
      return { module: literal(node["source"]), typeOnly: true, names: undefined, offset: node.start };
    case "TSExternalModuleReference":
      return { module: literal(node["expression"]), typeOnly: false, names: undefined, offset: node.start };
    case "CallExpression":
      return nameOf(node["callee"]) === "require"
        ? { module: literal(trees(node["arguments"])[0]), typeOnly: false, names: undefined, offset: node.start }
        : undefined;
    default:
      return undefined;
  }
}

function isPureBun(node: Tree): boolean {
  const [object, property] = node.type === "TSQualifiedName" ? [node["left"], node["right"]] : [node["object"], node["property"]];
  return nameOf(object) === "Bun" && PURE_BUN.includes(nameOf(property) ?? "");
}

/** Members of these nodes are names, not references. */
const NAME_FIELDS: Readonly<Record<string, string>> = {
  MemberExpression: "property",
  Property: "key",
  PropertyDefinition: "key",
  MethodDefinition: "key",
  TSPropertySignature: "key",
  TSMethodSignature: "key",
};

function facts(file: string, source: string): Facts {
  const parsed = parseSync(file, source);
  const first = parsed.errors[0];
  if (first !== undefined) throw new Error(`${file}: ${first.message}`);
  const imports: Import[] = [];
  const uses: Use[] = [];
  const bound = new Set<string>();

  const bind = (pattern: unknown): void => {
    if (!isTree(pattern)) return;
    if (pattern.type === "Identifier") bound.add(nameOf(pattern) ?? "");
    for (const field of ["elements", "properties", "value", "left", "argument", "parameter"]) trees(pattern[field]).forEach(bind);
  };
  const visit = (node: Tree): void => {
    const found = importOf(node);
    if (found !== undefined) imports.push(found);
    if (node.type === "ImportDeclaration") trees(node["specifiers"]).forEach((one) => bind(one["local"]));
    if (node.type === "VariableDeclarator" && isTree(node["id"]) && node["id"].type === "ObjectPattern") {
      const global = nameOf(node["init"]);
      for (const property of trees(node["id"]["properties"])) {
        const member = nameOf(property["key"]);
        if (global !== undefined) uses.push({ name: `${global}.${member}`, global, member, offset: node.start });
      }
    }
    if (node.type === "VariableDeclarator" || node.type.endsWith("FunctionDeclaration")) bind(node["id"]);
    if (node.type.includes("Function")) trees(node["params"]).forEach(bind);
    if (node.type === "NewExpression" && nameOf(node["callee"]) === "Date" && trees(node["arguments"]).length === 0) {
      uses.push({ name: "new Date()", global: "Date", member: "now", offset: node.start });
    }
    if (isPureBun(node)) return;
    if (node.type === "MemberExpression") {
      const global = nameOf(node["object"]);
      const member = nameOf(node["property"]);
      if (isTree(node["object"]) && node["object"].type === "Identifier" && global !== undefined && member !== undefined) {
        uses.push({ name: `${global}.${member}`, global, member, offset: node.start });
      }
    } else if (node.type === "Identifier") {
      const global = nameOf(node) ?? "";
      uses.push({ name: global, global, member: undefined, offset: node.start });
    }
    const skipped = node["computed"] === true ? undefined : NAME_FIELDS[node.type];
    for (const [field, value] of Object.entries(node)) if (field !== skipped) trees(value).forEach(visit);
  };
  if (isTree(parsed.program)) visit(parsed.program);
  return { imports, uses: uses.filter((use) => !bound.has(use.global)) };
}

/** Tests, what they share (`testing.ts`, `NAME.testing.ts`), and the programs they start (`NAME.child.ts`). */
const isTest = (file: string) => /(?:\.test|\.testing|\.child|(?:^|\/)testing)\.ts$/.test(file);

function resolve(from: string, relative: string): string {
  const parts = from.split("/").slice(0, -1);
  for (const part of relative.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}

function roomOf(file: string): string | undefined {
  return file.includes("/") ? file.slice(0, file.indexOf("/")) : undefined;
}

type Complain = (law: Violation["law"], offset: number, message: string) => void;

function checkDoor(file: string, room: Room | undefined, one: Import, complain: Complain): void {
  const target = resolve(file, one.module ?? "");
  const entered = roomOf(target);
  const own = roomOf(file);
  if (entered === undefined || own === undefined) return;
  const base = target.slice(target.lastIndexOf("/") + 1).replace(/\.tsx?$/, "");
  const variant = VARIANTS.find((name) => base === name);
  if (entered === own) {
    if (variant !== undefined && !isTest(file) && file !== `${own}/index.ts`) {
      complain(4, one.offset, `${target} is a variant: only ${own}/index.ts imports it`);
    }
    return;
  }
  const door = target === `${entered}/index.ts`;
  if (isTest(file)) {
    if (!door && target !== `${entered}/testing.ts`) complain(1, one.offset, `${target} is not a door (index.ts or testing.ts)`);
    return;
  }
  if (!door) complain(1, one.offset, `${target} is not a door: import ${entered}/index.ts`);
  const types = one.typeOnly && (room?.types?.includes("*") === true || room?.types?.includes(entered) === true);
  if (room?.imports.includes(entered) !== true && !types) {
    complain(1, one.offset, `${own} may not import ${entered}${room?.types?.includes(entered) === true ? " (types only)" : ""}`);
  }
}

function checkModule(file: string, room: string, pure: boolean, one: Import, complain: Complain): void {
  const { module } = one;
  if (module === undefined) {
    if (room !== "project") complain(1, one.offset, "an import computed at run time: only project loads files it does not know");
    return;
  }
  const named = /^[a-z]+(?:\/|$)/.test(module) && `node:${module}` in MODULE_OWNERS ? `node:${module}` : module;
  const exception = EXCEPTIONS.find((each) => each.file === file && each.module === named);
  if (exception !== undefined && one.names?.every((name) => exception.names.includes(name)) === true) return;
  const owners = MODULE_OWNERS[named];
  if (owners !== undefined && !owners.includes(room))
    complain(3, one.offset, `${named} belongs to ${owners.join(", ") || "nobody"}`);
  if (!pure) return;
  if (!PURE_MODULES.includes(named)) complain(2, one.offset, `a pure file imports ${named}`);
  const ambient = one.names?.find((name) => AMBIENT_IMPORTS.includes(name));
  if (ambient !== undefined) complain(2, one.offset, `a pure file imports ${ambient} from ${named}`);
}

function checkUse(room: string, pure: boolean, use: Use, complain: Complain): void {
  if (use.global === "console" && !PRINTING_ROOMS.includes(room)) complain(3, use.offset, `${room} prints: ${use.name}`);
  if (use.member !== undefined) {
    const { global, member } = use;
    const owner = GLOBAL_OWNERS.find((each) => each.global === global && each.members.includes(member));
    const law = global === "process" && ["platform", "arch"].includes(member) ? 4 : 3;
    if (owner !== undefined && !owner.rooms.includes(room)) {
      complain(law, use.offset, `${use.name} belongs to ${owner.rooms.join(", ")}`);
    }
  }
  if (!pure) return;
  const member = `${use.global}.${use.member ?? ""}`;
  if (AMBIENT_MEMBERS.includes(member)) complain(2, use.offset, `a pure file uses ${use.name}`);
  else if (use.member === undefined && AMBIENT_GLOBALS.includes(use.global))
    complain(2, use.offset, `a pure file uses ${use.name}`);
}

/** Everything that is wrong with these files. Keys are names relative to src/. */
export function violations(files: ReadonlyMap<string, string>): readonly Violation[] {
  const found: Violation[] = [];
  for (const [file, source] of files) {
    const lines = source.split("\n").length - 1;
    const complain: Complain = (law, offset, message) => {
      const line = source.slice(0, offset).split("\n").length;
      if (!found.some((one) => one.file === file && one.line === line && one.message === message)) {
        found.push({ law, file, line, message });
      }
    };
    const most = isTest(file) ? TEST_LINES_MAX : LINES_MAX;
    if (lines > most) complain(5, source.length, `${lines} lines, at most ${most}`);
    const own = roomOf(file);
    if (own === undefined) continue;
    const room = ROOMS.find((each) => each.room === own);
    if (room === undefined) complain(1, 0, `${own} is not in the table of rooms`);
    const { imports, uses } = facts(file, source);
    const pure = !isTest(file) && (room?.pure === true || file.endsWith("/plan.ts"));
    for (const one of imports) {
      if (one.module?.startsWith(".") === true) checkDoor(file, room, one, complain);
      else if (!isTest(file)) checkModule(file, own, pure, one, complain);
    }
    if (!isTest(file)) for (const use of uses) checkUse(own, pure, use, complain);
  }
  return found;
}
