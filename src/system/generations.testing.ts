/**
 * For the tests of generations on Linux: a machine with a disk (a root of ext4, an EFI system partition), on which the program is run in
 * namespaces of its own and killed at a given step.
 *
 * The partition is vfat where the kernel of this machine knows that, else ext2 (and the program mounts that): what vfat does with a rename is looked
 * at in a machine with a kernel that has it. Which partition has which label /sys would say: a tree of our own does.
 */
import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { bootDirectory } from "./generations.ts";
import { type BootedEntry, chooseEntry, type LoaderEntry, parseEntries, triedName } from "./generations-loader.testing.ts";
import {
  BUSYBOX,
  FIRST,
  LABEL,
  makeEsp,
  makeFileSystem,
  makeRoot,
  PROGRAM,
  SECOND,
  THIRD,
  writeTo,
} from "./generations-sample.testing.ts";
import { shellWord } from "./sh.ts";

/** What a shell says of a program that SIGKILL ended. */
const KILLED = 137;
const HAS_VFAT = /\bvfat\b/.test(fs.readFileSync("/proc/filesystems", "utf8"));
const ESP_TYPE = HAS_VFAT ? "vfat" : "ext2";

/** What is run with the disk's file systems at hand: `$work` has the images, `$sys` a tree for /sys. */
const ENTER = `
at=$work/at
root_loop=$(losetup --find --show "$work/root.img") && esp_loop=$(losetup --find --show "$work/esp.img") || exit 100
leave() {
    umount -R "$at"
    losetup -d "$root_loop"
    losetup -d "$esp_loop"
}
trap leave EXIT
mkdir -p "$at" "$work/sys/devices/disk/one" "$work/sys/devices/disk/two" "$work/sys/dev/block"
mount -t ext4 "$root_loop" "$at" || exit 100
number=$(stat -c %d "$at")
rm -f "$work"/sys/dev/block/*
ln -s ../../devices/disk/two "$work/sys/dev/block/$((number >> 8 & 4095)):$((number & 255))"
printf 'DEVNAME=%s\\nPARTN=1\\nPARTNAME=%s\\n' "\${esp_loop#/dev/}" "$label" >"$work/sys/devices/disk/one/uevent"
printf 'DEVNAME=%s\\nPARTN=2\\nPARTNAME=garth-root\\n' "\${root_loop#/dev/}" >"$work/sys/devices/disk/two/uevent"
mount --bind -o ro /usr "$at/usr" && mount --rbind /dev "$at/dev" && mount --bind "$work/sys" "$at/sys" &&
    mount --bind "$work/run" "$at/run" && mount --bind "$work/test" "$at/test" && mount -t proc proc "$at/proc" &&
    mount --bind "$work/cmdline" "$at/proc/cmdline" || exit 100
[ ! -e "$at/proc/sysrq-trigger" ] || mount --bind /dev/null "$at/proc/sysrq-trigger" || exit 100
`;
/** Of all that the program has to do with, a copy. */
const LOOK = `
look() {
    mkdir -p "$work/esp"
    mount -t "$type" -o ro "$esp_loop" "$work/esp" 2>/dev/null || mount -t "$type" "$esp_loop" "$work/esp" || exit 100
    rm -rf "$work/seen"
    mkdir -p "$work/seen/esp"
    cp -a "$work/esp/." "$work/seen/esp"
    (cd "$at" && cp -a --parents var/lib/garth frx "$work/seen")
    umount "$work/esp"
}
`;
/** Calls, each a line of words that are quoted, one after the other; the first in a process group of its own, which dies as one. */
const CALL = `

: >"$work/statuses"
if [ -n "$elsewhere" ]; then mkdir -p "$at$elsewhere" && mount --rbind "$at" "$at$elsewhere" || exit 100; fi
kill_now=$kill_at
now=$path
while read -r call; do
    echo 0 >"$work/test/count"
    rm -f "$work/test/last"
    eval "set -- $call"
    setsid -w chroot "$at" env -i "GARTH_ROOT=$elsewhere" "PATH=$now" "KILL_AT=$kill_now" $shell /test/program "$@" <"$work/stdin"
    echo "$?" >>"$work/statuses"
    if [ -n "$cut" ]; then
        cp --sparse=always "$work/root.img" "$cut/root.img" && cp --sparse=always "$work/esp.img" "$cut/esp.img" || exit 100
        cut=
    fi
    kill_now=0
    now=/usr/sbin:/usr/bin
done <"$work/calls"
look
`;
/** In place of each tool: the n-th that is started is not, and nothing runs any more. */
const WRAPPER = `#!/bin/dash
read -r n </test/count
n=$((n + 1))
echo "$n" >/test/count
[ "$n" -ne "$KILL_AT" ] || kill -9 0
echo "\${0##*/}" >/test/last
exec /test/real/\${0##*/} "$@"
`;
/** Those that change something: before any other everything is as it was before the next of these. */
export const TOOLS = "cat chmod ln mkdir mount mv rm rmdir sync umount".split(" ");

export interface Said {
  /** Of the last call. undefined: it was killed. */
  readonly status: number | undefined;
  /** At the step that was asked for, before it ended. */
  readonly killed: boolean;
  readonly stdout: string;
  /** Lines, without the `garth: ` of the program's own. */
  readonly stderr: readonly string[];
}

export interface CallOptions {
  readonly stdin?: string;
  readonly shell?: "dash" | "busybox";
  /** The step at which everything is killed. Under dash. */
  readonly killAt?: number;
  /** More calls, on the machine as the one before left it. What is said is of all of them. */
  readonly after?: readonly (readonly string[])[];
  /** Where the disk is copied to as it is when the first ends: what a failure of the power would leave. */
  readonly cutTo?: GenerationsMachine;
}

/** Path below the root, or below esp/ -> "directory", "-> target", or the bytes of a file as characters. */
export type Seen = ReadonlyMap<string, string>;

export class GenerationsMachine implements Disposable {
  /** Of the partition. */
  label = LABEL;
  /** Run in the session before the call, with $work and $at. */
  before = "";
  /** Where the root is, if not at /: of the root itself nothing but that is used. */
  elsewhere = "";
  readonly directory = fs.mkdtempSync(join(tmpdir(), "garth-generations-"));

  constructor() {
    for (const name of ["run", "test/real", "test/steps"]) fs.mkdirSync(join(this.directory, name), { recursive: true });
    this.#write("cmdline", "");
    this.#write("test/program", PROGRAM.replaceAll("-t vfat", `-t ${ESP_TYPE}`), 0o755);
    this.#write("test/steps/reboot", '#!/bin/dash\necho "$*" >>/test/reboot\n', 0o755);
    for (const name of TOOLS) {
      this.#write(`test/steps/${name}`, WRAPPER, 0o755);
      const real = ["/usr/bin", "/usr/sbin"].map((at) => `${at}/${name}`).find((path) => fs.existsSync(path));
      if (real === undefined) throw new Error(`there is no ${name}`);
      fs.symlinkSync(real, join(this.directory, "test/real", name));
    }
  }

  /** A disk with generation 1, and the items of other systems. */
  static fresh(sizes: { readonly espBytes?: number; readonly rootBytes?: number } = {}): GenerationsMachine {
    const machine = new GenerationsMachine();
    const tree = join(machine.directory, "tree");
    makeRoot(join(tree, "root"), [FIRST, SECOND, THIRD]);
    makeEsp(join(tree, "esp"));
    makeFileSystem(join(machine.directory, "root.img"), join(tree, "root"), sizes.rootBytes ?? 4 * 2 ** 20, "ext4");
    makeFileSystem(join(machine.directory, "esp.img"), join(tree, "esp"), sizes.espBytes ?? 2 ** 19, ESP_TYPE);
    fs.rmSync(tree, { recursive: true });
    machine.boot();
    return machine;
  }

  #write(path: string, text: string, mode = 0o644): void {
    writeTo(this.directory, path, text, mode);
  }

  copyDisk(to: GenerationsMachine): void {
    for (const name of ["root.img", "esp.img"])
      execFileSync("cp", ["--sparse=always", join(this.directory, name), join(to.directory, name)]);
    fs.copyFileSync(join(this.directory, "cmdline"), join(to.directory, "cmdline"));
    fs.rmSync(join(to.directory, "run"), { recursive: true });
    fs.cpSync(join(this.directory, "run"), join(to.directory, "run"), { recursive: true, verbatimSymlinks: true });
  }

  #enter(script: string, more: Readonly<Record<string, string>> = {}): { readonly stdout: string; readonly stderr: string } {
    const words = ["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER + LOOK + script];
    const { status, stdout, stderr } = spawnSync("unshare", words, {
      encoding: "utf8",
      env: { PATH: "/usr/sbin:/usr/bin", work: this.directory, label: this.label, type: ESP_TYPE, ...more },
    });
    if (status !== 0) throw new Error(`${script} ended with ${status}: ${stderr}`);
    return { stdout, stderr };
  }

  call(argv: readonly string[], options: CallOptions = {}): Said {
    const { stdin = "", shell = "dash", killAt = 0, cutTo, after = [] } = options;
    this.#write("stdin", stdin);
    this.#write("calls", [argv, ...after].map((words) => `${words.map(shellWord).join(" ")}\n`).join(""));
    const { stdout, stderr } = this.#enter(this.before + CALL, {
      elsewhere: this.elsewhere,
      shell: shell === "dash" ? "/bin/dash" : `${BUSYBOX} sh`,
      path: `${killAt === 0 ? "" : "/test/steps:"}/usr/sbin:/usr/bin:/sbin:/bin`,
      kill_at: `${killAt}`,
      cut: cutTo?.directory ?? "",
    });
    const statuses = fs.readFileSync(join(this.directory, "statuses"), "utf8").trim().split("\n").map(Number);
    const lines = stderr.split("\n").filter((line) => line !== "" && line !== "Killed");
    return {
      status: statuses.at(-1),
      killed: statuses[0] === KILLED,
      stdout,
      stderr: lines.map((line) => line.replace(/^garth: /, "")),
    };
  }

  /** The tool that the step before the last was: that one was not started any more. */
  get lastTool(): string {
    const path = join(this.directory, "test/last");
    return fs.existsSync(path) ? fs.readFileSync(path, "utf8").trim() : "";
  }

  /** Something in the root, where it is mounted, with the partition at `$work/esp`. */
  sh(script: string): string {
    const mount = `mkdir -p "$work/esp" && mount -t "$type" "$esp_loop" "$work/esp" && cd "$at" || exit 100`;
    return this.#enter(`${mount}\n${script}\nstatus=$?\numount "$work/esp"\ncd /\nlook\nexit "$status"`).stdout;
  }

  /** What the last call left, as it was when its session ended. */
  get seen(): Seen {
    const seen = new Map<string, string>();
    const walk = (path: string): void => {
      for (const name of fs.readdirSync(join(this.directory, "seen", path)).toSorted()) {
        const below = path === "" ? name : `${path}/${name}`;
        const at = join(this.directory, "seen", below);
        const stat = fs.lstatSync(at);
        if (stat.isDirectory()) {
          seen.set(below, "directory");
          walk(below);
        } else seen.set(below, stat.isSymbolicLink() ? `-> ${fs.readlinkSync(at)}` : fs.readFileSync(at, "latin1"));
      }
    };
    walk("");
    return seen;
  }

  entries(): readonly LoaderEntry[] {
    const { seen } = this;
    const files = [...seen].flatMap(([path, text]): [string, string][] =>
      path.startsWith(ENTRIES) && path.endsWith(".conf") ? [[path.slice(ENTRIES.length), text]] : [],
    );
    return parseEntries(new Map(files));
  }

  /** Which entry the loader takes, marked as tried; /run is a new one, and the kernel has its options. */
  boot(): BootedEntry {
    this.sh(":");
    fs.rmSync(join(this.directory, "run"), { recursive: true });
    fs.mkdirSync(join(this.directory, "run"));
    const chosen = chooseEntry(this.entries());
    if (chosen.triesLeft !== undefined)
      this.sh(`mv "$work/esp/loader/entries/${chosen.file}" "$work/esp/loader/entries/${triedName(chosen.file)}"`);
    fs.symlinkSync(chosen.system, join(this.directory, "run/current-system"));
    this.#write("cmdline", `initrd=\\garth\\x ${chosen.options}\n`);
    return chosen;
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.directory, { recursive: true, force: true });
  }
}

const STATE = "var/lib/garth/system";
const ROOTS = "frx/var/garth/roots";
const ENTRIES = "esp/loader/entries/";
const SYSTEMS = [FIRST, SECOND, THIRD];

/** What of the machine's records does not agree with the loader's files, and what lies about: nothing, when all is settled. */
export function troubleOf(machine: GenerationsMachine): readonly string[] {
  const { seen } = machine;
  const paths = [...seen.keys()];
  const linkOf = (path: string): string | undefined => /^-> (.*)$/.exec(seen.get(path) ?? "")?.[1];
  const below = (directory: string): readonly string[] =>
    paths.flatMap((path) => (dirname(path) === directory ? [path.slice(directory.length + 1)] : []));
  const numbers = below(`${STATE}/generations`);
  const closure = (number: string | undefined): string | undefined =>
    number === undefined ? undefined : linkOf(`${STATE}/generations/${number}/closure`);
  const pointer = (name: string): string | undefined => linkOf(`${STATE}/${name}`)?.replace("generations/", "");
  const entries = machine.entries();
  const versionOf = (file: RegExp): string | undefined => entries.find((entry) => file.test(entry.file))?.version;
  const current = versionOf(/^garth-current\.conf$/);
  const next = versionOf(/^garth-next/);
  const wanted = new Map<string, string | undefined>([
    [`${STATE}/current`, current === undefined ? undefined : `generations/${current}`],
    [`${STATE}/next`, next === undefined ? undefined : `generations/${next}`],
    [`${ROOTS}/current-system`, closure(current)],
    [`${ROOTS}/rollback-system`, closure(pointer("rollback"))],
    ...numbers.map((number) => [`${ROOTS}/system-${number}`, closure(number) ?? "a system"] as const),
  ]);
  const kernels = new Set(numbers.flatMap((number) => [bootDirectory(`/frx/store/${(closure(number) ?? "").slice(11)}`)]));
  return [
    ...paths.filter((path) => /\.garth$|\.new$|\/\.removed-|generations\/\./.test(path)),
    ...[...wanted].flatMap(([path, target]) => (linkOf(path) === target ? [] : [`${path} is ${linkOf(path)}, not ${target}`])),
    ...below(ROOTS).filter((name) => !wanted.has(`${ROOTS}/${name}`)),
    ...numbers.flatMap((number) => {
      const state = seen.get(`${STATE}/generations/${number}/state`)?.trim() ?? "";
      const items = (seen.get(`${STATE}/generations/${number}/items`) ?? "").trim().split("\n");
      return [
        ...(entries.some(({ file }) => file === `garth-${number}.conf`) ? [] : [`${number} is not in the menu`]),
        ...items.flatMap((name) => (seen.has(`frx/store/${name}`) ? [] : [`${number} has no ${name}`])),
        ...(state === "good" || state === "failed" || (state === "trial" && number === next) ? [] : [`${number} is ${state}`]),
      ];
    }),
    ...entries.flatMap(({ file, version, linux }) => [
      ...(numbers.includes(version) ? [] : [`${file} is of ${version}, which is none`]),
      ...(seen.has(`esp${linux}`) ? [] : [`${file} has no kernel`]),
    ]),
    ...below("esp/garth").filter((name) => !kernels.has(name)),
  ];
}

/** What of the machine that starts with an entry is not whole. */
export function lackOf(machine: GenerationsMachine, { system, linux, initrd }: BootedEntry): readonly string[] {
  const { seen } = machine;
  const sample = SYSTEMS.find(({ path }) => path === system);
  if (sample === undefined) return [`it is ${system}`];
  const kernel = sample.links.get(`${sample.path}/boot/kernel`) ?? "";
  return [
    ...(seen.get(`esp${linux}`) === sample.files.get(kernel) ? [] : ["its kernel"]),
    ...(seen.get(`esp${initrd}`) === sample.files.get(`${sample.path}/boot/initrd`) ? [] : ["its initrd"]),
    ...sample.items.filter((path) => seen.get(path.slice(1)) !== "directory"),
    ...[...sample.files].flatMap(([path, text]) => (seen.get(path.slice(1)) === text ? [] : [path])),
  ];
}
