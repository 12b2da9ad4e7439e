/**
 * A FreeBSD host for the scripts of a pool, as far as they can tell: stand-ins for its tools that write down how they were called, datasets
 * that are files, a bhyve that does what it is told. Everything below one directory; the places of the pool have odd characters in them.
 */
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { sha256 } from "../base/index.ts";
import type { Sidecar } from "../template/index.ts";
import { bhyveEntry, bhyveFacts, bhyvePool, bhyveTemplate, IDENTITY } from "./freebsd.testing.ts";
import { type BhyveEntryPlan, type BhyvePoolPlan, planBhyveEntry, planBhyvePool, type PlannedFile } from "./index.ts";

export type Shell = "dash" | "busybox sh";

const LIMIT_MS = 60_000;

/** By the name of the tool; `$state` is the directory of what they know, `log` notes a call. */
const TOOLS: Readonly<Record<string, string>> = {
  kldload: '[ ! -e "$state/no-vmm" ]',
  lockf: 'log lockf "$1 $2 $3"; shift 4; exec "$@"',
  sha256: 'sha256sum "$2" | cut -d" " -f1',
  pciconf: '[ -e "$state/$2" ] && echo "$2@pci0:1:0:0:"',
  bhyvectl: 'log bhyvectl "$*"; name=${1#--vm=}; rm "$state/vmm/$name"',
  // The parent of what it starts, for as long as that lives, as daemon(8) is.
  daemon: `while getopts cfp:t: option; do case $option in p) file=$OPTARG ;; esac; done
shift $((OPTIND - 1))
log daemon
{ "$@" & echo $! >"$file"; wait $!; rm -f "$file"; } </dev/null >/dev/null 2>&1 &`,
  // -fx PATTERN: of the bhyve that runs. -L -F FILE: of the process in the file.
  pgrep: `case $1 in
-fx) [ "$2" = "bhyve: $(cat "$state/bhyve.name" 2>/dev/null)" ] || exit 1; file=$state/bhyve.pid ;;
-L) file=$3 ;;
esac
pid=$(cat "$file" 2>/dev/null) || exit 1
case $(/bin/ps -o state= -p "$pid") in '' | Z*) exit 1 ;; esac
echo "$pid"`,
  // One line of \`turns\` for each start: a status to end with, or nothing: it runs until \`end\` says a status.
  bhyve: `log bhyve "$*"
for name; do :; done
if [ -e "$state/vmm/$name" ]; then log "bhyve: $name is there"; exit 4; fi
: >"$state/vmm/$name"
echo "console: $(head -n 1 "$state/turns")"
turn=$(head -n 1 "$state/turns")
sed -i 1d "$state/turns"
[ -z "$turn" ] || exit "$turn"
echo "$name" >"$state/bhyve.name"
echo $$ >"$state/bhyve.pid"
trap '' PIPE
if [ -e "$state/typed" ]; then read -r line; echo "typed: $line"; fi
read -r status <"$state/end"
exit "$status"`,
  ssh: `[ ! -e "$state/silent" ] || exit 255
pgrep -fx "bhyve: $(cat "$state/bhyve.name" 2>/dev/null)" >/dev/null || exit 255
log ssh "$*"`,
  // A dataset is a file of \`zfs\` with its name, "/" written as "%"; in it are its mount point, and what it is a clone of.
  zfs: `verb=$1; shift
for name; do :; done
file=$state/zfs/$(printf %s "$name" | tr / %)
known() { for each in "$state"/zfs/$1; do [ ! -e "$each" ] || return 0; done; return 1; }
[ ! -e "$state/fail-zfs-$verb" ] || { log zfs "$verb" fails; exit 1; }
mountpoint() { for word; do case $word in mountpoint=*) printf '%s\\n' "\${word#mountpoint=}" ;; esac; done; }
case $verb in
list)
  case $* in
  *-t\\ snapshot*) for each in "$file"@*; do [ ! -e "$each" ] || basename "$each" | tr % /; done ;;
  *) [ -e "$file" ] ;;
  esac ;;
get) echo yes ;;
create)
  log zfs create "$name"
  mountpoint "$@" >"$file"
  [ "$(head -n 1 "$file")" = none ] || mkdir -p "$(head -n 1 "$file")" ;;
snapshot)
  log zfs snapshot "$name"
  cp -R "$(head -n 1 "\${file%@*}")" "$state/data-$(basename "$file")"
  : >"$file" ;;
clone)
  for origin; do [ "$origin" = "$name" ] || from=$origin; done
  log zfs clone "$from" "$name"
  { mountpoint "$@"; echo "origin $from"; } >"$file"
  cp "$state/data-$(printf %s "$from" | tr / %)"/* "$(head -n 1 "$file")"
  [ ! -e "$state/fail-mount" ] || exit 1 ;;
destroy)
  log zfs destroy "$name"
  if known "\${file##*/}%*" || known "\${file##*/}@*" || grep -qsxF "origin $name" "$state"/zfs/*; then
    echo "$name has children" >&2
    exit 1
  fi
  mounted=$(head -n 1 "$file")
  case $mounted in '' | none) ;; *) rm -f "$mounted"/* ;; esac
  rm "$file" ;;
esac`,
};

export interface Ran {
  readonly status: number | null;
  readonly stdout: readonly string[];
  readonly stderr: string;
  /** Calls of tools in this run, in order. */
  readonly log: readonly string[];
}

export interface World {
  readonly pool: BhyvePoolPlan;
  readonly entry: BhyveEntryPlan;
  readonly poolDirectory: string;
  readonly entryDirectory: string;
  /** Writes the files of both plans. */
  write(): void;
  init(): Ran;
  drain(): Ran;
  verb(name: keyof BhyveEntryPlan["steps"]): Ran;
  /** The same, to be ended before its time; the status it ends with, and what it told. */
  start(name: keyof BhyveEntryPlan["steps"]): { signal(name: "SIGTERM"): void; ended: Promise<Pick<Ran, "status" | "stdout">> };
  /** What the stand-ins know, by name; `undefined` removes it. */
  set(name: string, text: string | undefined): void;
  get(name: string): string | undefined;
  /** Of the supervisor. */
  events(): readonly string[];
  /** Settles when the supervisor tells of this step. */
  told(step: string): Promise<string>;
  /** bhyve ends with this status. */
  end(status: number): Promise<void>;
  /** Of a machine: everything that is left of it, relative. */
  left(): readonly string[];
  datasets(): readonly string[];
  pidOf(which: "bhyve" | "supervisor"): number;
  stateOf(pid: number): string;
  close(): void;
}

export interface WorldOptions {
  readonly shell: Shell;
  readonly storage?: "zfs" | "copy";
  readonly sidecar?: Partial<Sidecar>;
  /** Small, to be seen. */
  readonly consoleBytes?: number;
  readonly bootTimeoutMs?: number;
}

export function openWorld({ shell, storage = "zfs", sidecar = {}, ...options }: WorldOptions): World {
  const place = fs.mkdtempSync(join(tmpdir(), "garth-bhyve-world-"));
  const state = join(place, "state");
  const pools = join(place, "it's $HOME `id`; & pools");
  const image = join(place, "an image's.img");
  for (const directory of [pools, join(place, "bin"), join(state, "vmm"), join(state, "zfs")])
    fs.mkdirSync(directory, { recursive: true });
  fs.writeFileSync(image, "the template\n", { mode: 0o444 });
  fs.writeFileSync(join(place, "VARS.fd"), "variables\n");
  fs.writeFileSync(join(place, "CODE.fd"), "");
  fs.writeFileSync(join(state, "turns"), "");
  spawnSync("mkfifo", [join(state, "end")]);
  for (const [name, body] of Object.entries({ ...TOOLS, sh: `exec ${shell} "$@"` })) {
    const log = `log() { printf '%s\\n' "$*" >>"$state/log"; }`;
    fs.writeFileSync(join(place, "bin", name), `#!/bin/sh\nstate=${state}\n${log}\n${body}\n`, { mode: 0o755 });
  }
  const facts = bhyveFacts({
    pools,
    firmware: { code: join(place, "CODE.fd"), variables: join(place, "VARS.fd") },
    lockFile: join(place, "md.lock"),
    storage: storage === "zfs" ? { kind: "zfs", dataset: "zroot/garth" } : { kind: "copy" },
  });
  const plain = bhyveTemplate(sidecar, { imageFile: image });
  const imageSha256 = sha256(fs.readFileSync(image));
  const template = { ...plain, manifest: { ...plain.manifest, image: { ...plain.manifest.image, sha256: imageSha256 } } };
  const record = bhyvePool({ size: 1, bootTimeoutMs: options.bootTimeoutMs ?? 30_000 });
  const pool = planBhyvePool(record, template, facts);
  const entry = planBhyveEntry(record, template, bhyveEntry(facts), IDENTITY, facts);
  const poolDirectory = join(pools, "debian-12");
  const entryDirectory = join(poolDirectory, "debian-12-17");
  const path = (which: "bhyve" | "supervisor"): string =>
    which === "bhyve" ? join(state, "bhyve.pid") : join(entryDirectory, "supervisor.pid");

  /** The scripts as they are, but for where the tools are; the network and the identity are others' and write down that they were called. */
  const changed = ({ path: file, content }: PlannedFile): string | Uint8Array => {
    const name = file.slice(file.lastIndexOf("/") + 1);
    if (name === "network.sh" || name === "instance.sh")
      return `${name === "network.sh" ? '[ "$1" != policy ] || cat >/dev/null\n' : ""}echo "${name} $*" >>${state}/log\n[ ! -e ${state}/fail-${name}-$1 ]\n`;
    if (typeof content !== "string" || !name.endsWith(".sh")) return content;
    const bytes = options.consoleBytes === undefined ? "1048576" : String(options.consoleBytes);
    return (
      content
        .replace("PATH=/sbin:", `PATH=${place}/bin:/sbin:`)
        // busybox has a ps(1) of its own, and takes it.
        .replace("export PATH\n", `export PATH\nps() { /bin/ps "$@"; }\nid() { cat ${state}/uid 2>/dev/null || echo 0; }\n`)
        .replaceAll("/dev/vmm/", `${state}/vmm/`)
        .replaceAll("1048576", bytes)
    );
  };
  const write = (): void => {
    for (const file of [...pool.files, ...entry.files]) {
      fs.mkdirSync(dirname(file.path), { recursive: true, mode: 0o700 });
      fs.writeFileSync(file.path, changed(file), { mode: file.mode });
    }
  };
  const environment = { PATH: `${place}/bin:/usr/bin:/bin`, HOME: "/nowhere" };
  const run = (argv: readonly string[], stdin: string | undefined): Ran => {
    fs.rmSync(join(state, "log"), { force: true });
    const ran = spawnSync(join(place, "bin/sh"), argv.slice(1), {
      encoding: "utf8",
      timeout: LIMIT_MS,
      input: stdin ?? "",
      env: environment,
    });
    const log = join(state, "log");
    return {
      status: ran.status,
      stdout: ran.stdout.split("\n").filter((line) => line !== ""),
      stderr: ran.stderr,
      log: fs.existsSync(log) ? fs.readFileSync(log, "utf8").trimEnd().replaceAll(place, "").split("\n") : [],
    };
  };
  const events = (): readonly string[] => {
    const file = join(entryDirectory, "events");
    return fs.existsSync(file) ? fs.readFileSync(file, "utf8").trimEnd().split("\n") : [];
  };
  const pidOf = (which: "bhyve" | "supervisor"): number =>
    fs.existsSync(path(which)) ? Number(fs.readFileSync(path(which), "utf8")) : 0;
  const stateOf = (pid: number): string =>
    spawnSync("ps", ["-o", "state=", "-p", String(pid)], { encoding: "utf8" }).stdout.trim();
  write();
  return {
    pool,
    entry,
    poolDirectory,
    entryDirectory,
    write,
    init: () => run(pool.steps.init.argv, undefined),
    drain: () => run(pool.steps.drain.argv, undefined),
    verb: (name) => run(entry.steps[name].argv, entry.steps[name].stdin),
    start: (name) => {
      const argv = [join(place, "bin/sh"), ...entry.steps[name].argv.slice(1)];
      const child = Bun.spawn(argv, { env: environment, stdout: "pipe", stderr: "ignore" });
      const ended = Promise.all([child.exited, new Response(child.stdout).text()]);
      return {
        signal: (signal) => child.kill(signal),
        ended: ended.then(([status, text]) => ({ status, stdout: text.split("\n").filter((line) => line !== "") })),
      };
    },
    set: (name, text) =>
      text === undefined ? fs.rmSync(join(state, name), { force: true }) : fs.writeFileSync(join(state, name), text),
    get: (name) => (fs.existsSync(join(state, name)) ? fs.readFileSync(join(state, name), "utf8") : undefined),
    events,
    told: async (step) => {
      const tail = Bun.spawn(["tail", "-n", "+1", "-F", join(entryDirectory, "events")], { stdout: "pipe", stderr: "ignore" });
      let text = "";
      for await (const chunk of tail.stdout.pipeThrough(new TextDecoderStream())) {
        text += chunk;
        const line = text.split("\n").find((each) => each.startsWith(`garth-pool: debian-12-17 ${step}`));
        if (line === undefined || !text.endsWith("\n")) continue;
        tail.kill();
        return line;
      }
      throw new Error(`nobody told of ${step}: ${text}`);
    },
    end: async (status) => fs.promises.writeFile(join(state, "end"), `${status}\n`),
    left: () =>
      fs.existsSync(entryDirectory)
        ? fs
            .readdirSync(entryDirectory, { recursive: true, encoding: "utf8" })
            .filter((name) => !entry.files.some(({ path: file }) => file === join(entryDirectory, name)))
            .toSorted()
        : ["(nothing)"],
    datasets: () =>
      fs
        .readdirSync(join(state, "zfs"))
        .map((name) => name.replaceAll("%", "/"))
        .toSorted(),
    pidOf,
    stateOf,
    close: () => {
      for (const name of fs.readdirSync(state)) if (name.startsWith("fail-") || name === "uid") fs.rmSync(join(state, name));
      const { status, stderr } = run(entry.steps.destroy.argv, undefined);
      fs.rmSync(place, { recursive: true });
      if (status !== 0) throw new Error(`the machine could not be destroyed: ${stderr}`);
    },
  };
}
