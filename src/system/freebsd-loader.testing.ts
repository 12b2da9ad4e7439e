/**
 * FreeBSD's loader for tests: which files it reads in which order, what it takes from them, and how it marks nextboot.conf as used. As
 * stand/lua/config.lua of 15.x has it (config.load, readConf, checkNextboot, loadKernel, loadModule).
 *
 * Where the root is ZFS, its nvstore is the file `pool` below the root, with the value of nextboot_enable.
 */
import fs from "node:fs";
import { join } from "node:path";

export interface Started {
  /** Path of the kernel, without links. */
  readonly kernel: string;
  /** What kenv(1) says later. */
  readonly environment: ReadonlyMap<string, string>;
  /** `load` of every module, as it is executed. */
  readonly modules: readonly string[];
  /** Commands that were executed and lines that are none. */
  readonly said: readonly string[];
}

/** A path of the root without links: theirs are absolute, or lead on from where they are. */
export function inRoot(root: string, path: string): string {
  let at = root;
  for (const part of path.split("/").filter((each) => each !== "")) {
    const next = join(at, part);
    const isLink = fs.lstatSync(next, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
    const target = isLink ? fs.readlinkSync(next) : "";
    at = !isLink ? next : target.startsWith("/") ? inRoot(root, target) : inRoot(root, join(at.slice(root.length), target));
  }
  return at;
}

const VARIABLE = /\$\{([^}]+)\}|\$([A-Za-z0-9][-\w.]*)/g;
const KINDS = ["load", "name", "type", "flags", "before", "after", "error"] as const;

/** What it starts now; `root` is changed as the loader changes it. */
export function start(root: string, kind: "ufs" | "zfs" = "ufs"): Started {
  const environment = new Map<string, string>();
  const modules = new Map<string, Map<string, string>>();
  const said: string[] = [];
  const read = new Set<string>();
  let more: string | undefined;
  const pool = join(root, "pool");
  if (kind === "zfs" && fs.existsSync(pool)) environment.set("nextboot_enable", fs.readFileSync(pool, "utf8").trimEnd());

  const textOf = (path: string): string | undefined => {
    const file = inRoot(root, path);
    return fs.statSync(file, { throwIfNoEntry: false })?.isFile() ? fs.readFileSync(file, "utf8") : undefined;
  };
  const set = (name: string, value: string): void => {
    if (name === "loader_conf_files") more = value;
    else environment.set(name, value);
    if (kind === "zfs" && name === "nextboot_enable" && fs.existsSync(pool)) fs.writeFileSync(pool, `${value}\n`);
  };
  const execute = (command: string): void => {
    const [word, ...names] = command.split(/\s+/);
    if (word === "unset") for (const name of names) environment.delete(name);
    else if (word !== "echo") said.push(command);
  };
  const parse = (text: string): void => {
    for (const line of text.split("\n")) {
      if (/^\s*(#.*)?$/.test(line)) continue;
      const found = /^\s*([A-Za-z0-9_.-]+)\s*=\s*(?:"([^"]*)"|([-A-Za-z0-9][-A-Za-z0-9_.]*))\s*(?:#.*)?$/.exec(line);
      const [, name = "", quoted, word = ""] = found ?? [];
      const value = quoted ?? word;
      const module = /^(.+)_(load|name|type|flags|before|after|error)$/.exec(name);
      if (found === null) said.push(`malformed: ${line}`);
      else if (module !== null) {
        const [, of = "", key = ""] = module;
        const upper = key === "load" ? value.toUpperCase() : value;
        modules.set(of, (modules.get(of) ?? new Map<string, string>()).set(key, upper));
        environment.set(name, upper);
      } else if (name === "exec") execute(value);
      // A dollar that begins no name makes the whole line none.
      else if (/\$(?![A-Za-z0-9]|\{[^}]+\})/.test(value)) said.push(`malformed: ${line}`);
      else
        set(
          name,
          value.replaceAll(VARIABLE, (_, long: string, short: string) => environment.get(long ?? short) ?? ""),
        );
    }
  };
  const readConf = (path: string): void => {
    if (read.has(path)) return;
    const isTop = read.size === 0;
    more = undefined;
    parse(textOf(path) ?? "");
    read.add(path);
    for (const name of words(more)) readConf(name);
    if (!isTop) return;
    for (const directory of words(environment.get("loader_conf_dirs"))) {
      const at = inRoot(root, directory);
      if (!fs.existsSync(at)) continue;
      for (const name of fs.readdirSync(at)) if (name.endsWith(".conf")) readConf(`${directory}/${name}`);
    }
    for (const name of words(environment.get("local_loader_conf_files"))) readConf(name);
  };

  readConf("/boot/defaults/loader.conf");
  checkNextboot();
  const kernel = environment.get("kernel") ?? "";
  const file = inRoot(root, `/boot/${kernel}/kernel`);
  if (!fs.statSync(file, { throwIfNoEntry: false })?.isFile()) throw new Error(`the loader finds no kernel ${kernel}`);
  return { kernel: file.slice(root.length), environment, modules: [...modules].flatMap(loadCommand), said };

  function checkNextboot(): void {
    const path = environment.get("nextboot_conf");
    const enabled = environment.get("nextboot_enable");
    if (path === undefined || enabled === "NO") return;
    const text = textOf(path);
    if (text === undefined || (enabled === undefined && text.startsWith('nextboot_enable="NO"'))) return;
    parse(text);
    if (kind === "ufs") {
      const open = fs.openSync(inRoot(root, path), "r+");
      fs.writeSync(open, 'nextboot_enable="NO" '.slice(0, text.length), 0);
      fs.closeSync(open);
    }
    set("nextboot_enable", "NO");
  }
}

function words(text: string | undefined): readonly string[] {
  return (text ?? "").split(/\s+/).filter((word) => word !== "");
}

function loadCommand([name, module]: readonly [string, ReadonlyMap<string, string>]): readonly string[] {
  if (module.get("load") !== "YES") return [];
  for (const key of module.keys()) if (!KINDS.some((each) => each === key)) throw new Error(`${name}_${key}`);
  const type = module.get("type");
  const hooks = (["before", "after", "error"] as const).flatMap((key) => {
    const command = module.get(key);
    return command === undefined || command === "echo" ? [] : [`${key}: ${command}`];
  });
  const command = `load ${type === undefined ? "" : `-t ${type} `}${module.get("name") ?? name} ${module.get("flags") ?? ""}`;
  return [command.trimEnd(), ...hooks];
}
