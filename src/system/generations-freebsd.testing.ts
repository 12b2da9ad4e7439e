/** For the tests of FreeBSD's part of `generations`: machines whose loader is a model, and stand-ins for programs of FreeBSD. */
import { execFileSync, spawnSync } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { StorePath } from "../base/index.ts";
import { generationLines, renderLoaderConf } from "./freebsd-conf.ts";
import { SAMPLE } from "./freebsd-sample.ts";
import { inRoot, start, type Started } from "./freebsd-loader.testing.ts";
import { firstGeneration, GENERATIONS } from "./generations.ts";
import { freebsdGenerations } from "./generations-freebsd.ts";
import { generationsProgram } from "./generations-program.ts";
import type { SystemSpec } from "./types.ts";

export const SHELLS = ["dash", "busybox"] as const;
export const KINDS = ["ufs", "zfs"] as const;
type Kind = (typeof KINDS)[number];
type Shell = (typeof SHELLS)[number];
const ARGV: Readonly<Record<Shell, readonly string[]>> = { dash: ["dash"], busybox: ["busybox", "sh"] };

const write = (path: string, text: string, mode = 0o644): void => {
  fs.mkdirSync(dirname(path), { recursive: true });
  fs.writeFileSync(path, text);
  fs.chmodSync(path, mode);
};

export const system = (number: number): StorePath => `/frx/store/${String(number).repeat(64)}-system-sample`;
const DEFAULTS = `exec="echo Loading"
kernel="kernel"\t# a comment
bootfile="kernel"
loader_conf_files="/boot/device.hints /boot/loader.conf"
loader_conf_dirs="/boot/loader.conf.d"
local_loader_conf_files="/boot/loader.conf.local"
nextboot_conf="/boot/nextboot.conf"
verbose_loading="NO"
splash_load="NO"
module_path="/boot/modules"
module_blacklist="drm"
module_blacklist="\${module_blacklist} nvidia"
bitmap_type="splash_image_data"
`;

/** Programs of FreeBSD, as far as they are called. Each says what it was asked for, and may be the last thing that the machine does. */
const STAND_INS: Readonly<Record<string, string>> = {
  kenv: `cat "$GARTH_ROOT/kenv/$2" 2>/dev/null`,
  fsync: `exec sync "$@"`,
  chflags: `:`,
  lockf: `exec flock -n -E 75 "$4"`,
  mount: `echo "/dev/gpt/other /mnt ufs rw 2 2"
at=$(df -P "$GARTH_ROOT/" | awk 'END { print $NF }')
[ -e "$GARTH_ROOT/is-zfs" ] && echo "zroot/ROOT/default $at zfs rw 0 0" || echo "/dev/gpt/root $at ufs rw 1 1"`,
  mv: `case $1 in -fh) shift && exec /bin/mv -fT "$@" ;; -*) exit 64 ;; *) exec /bin/mv "$@" ;; esac`,
  zfsbootcfg: `[ "$1 $2 $3 $4" = "-z zroot -n freebsd:nvstore" ] || exit 64
case $5 in
-p) [ ! -e "$GARTH_ROOT/pool" ] || echo "nextboot_enable = $(cat "$GARTH_ROOT/pool")" ;;
-k) [ "$6 $7" = "nextboot_enable -v" ] && echo "$8" >"$GARTH_ROOT/pool" && echo "zfs bootenv is successfully written" ;;
esac`,
  shutdown: `echo "shutdown $*" >>"$GARTH_ROOT/said"`,
  sleep: `echo "sleep $*" >>"$GARTH_ROOT/said"`,
  reboot: `echo "reboot $*" >>"$GARTH_ROOT/said"`,
};
const COUNTED: readonly string[] = ["cat", "ln", "rm", "awk", "fsync", "mv", "zfsbootcfg", "mkdir", "rmdir", "chmod"];

export interface Said {
  /** null: it was killed. */
  readonly status: number | null;
  readonly stderr: string;
  readonly stdout: string;
}

export interface Machine {
  readonly root: string;
  /** Some of the functions. `killAt`: of the tools that are started, the first that is not. */
  readonly call: (text: string, killAt?: number) => Said;
  /** The program. */
  readonly run: (argv: readonly string[], options?: { readonly stdin?: string; readonly killAt?: number }) => Said;
  /** The loader, the kernel's words, rc(8) as far as it takes nextboot.conf away, the activation's link. */
  readonly boot: () => Started;
  readonly read: (path: string) => string;
  readonly list: (path: string) => readonly string[];
  /** Another one that is as this is now. */
  readonly copy: () => Machine;
  /** What there is, but for when it was made: the same for the same. */
  readonly state: () => string;
}

const PROGRAM = generationsProgram(freebsdGenerations());
const FUNCTIONS = PROGRAM.slice(0, PROGRAM.indexOf("\nverb=${1:-}"));

export const itemsOf = (number: number): readonly StorePath[] => [system(number), `/frx/store/${number}-kernel`];
/** As `add` reads them. */
export const namesOf = (number: number): string =>
  itemsOf(number)
    .map((item) => `${item.slice("/frx/store/".length)}\n`)
    .join("");

export const whole = (spec: SystemSpec, number: number): string =>
  renderLoaderConf(spec) + generationLines(spec, system(number), number);

export const OLD: SystemSpec = {
  ...SAMPLE,
  init: { exec: "/usr/local/sbin/one" },
  loaderSettings: {
    autoboot_delay: "2",
    "kern.racct.enable": "1",
    verbose_loading: "YES",
    module_blacklist: "none",
    virtio_load: "YES",
    if_wg_load: "YES",
    splash_load: "YES",
    cpu_name: "other",
    cpu_flags: "-v",
    cpu_before: "echo now",
    cpu_load: "YES",
  },
};
export const NEW: SystemSpec = {
  ...SAMPLE,
  console: "efi",
  loaderSettings: { if_wg_load: "YES", cpu_load: "YES", motto: "it's {new}" },
};
export const PLAIN: SystemSpec = { ...SAMPLE, loaderSettings: {} };
export const OWN_PATH: SystemSpec = { ...SAMPLE, loaderSettings: { module_path: "/boot/mine", "hint.uart.0.irq": "3" } };

export interface LoaderMachines extends Disposable {
  /** Where the stand-ins are. */
  readonly bin: string;
  readonly write: typeof write;
  /** With systems 1, 2, ..., of which the first is current. */
  readonly machine: (specs: readonly SystemSpec[], kind?: Kind, shell?: Shell) => Machine;
}

export function loaderMachines(): LoaderMachines {
  const scratch = fs.mkdtempSync(join(tmpdir(), "garth-loader-"));
  const bin = join(scratch, "bin");
  const NAMES = [...new Set([...Object.keys(STAND_INS), ...COUNTED])];
  /** Busybox's shell has tools of its own, which come before those of $PATH. */
  const BEFORE_OWN = NAMES.map((name) => `${name}() {\n\t${join(bin, name)} "$@"\n}\n`).join("");
  for (const name of NAMES) {
    const kill = COUNTED.includes(name)
      ? `if [ -n "$KILL_AT" ]; then
  	echo . >>"$GARTH_ROOT/steps"
  	[ "$(wc -l <"$GARTH_ROOT/steps")" -lt "$KILL_AT" ] || kill -9 0
  fi
  `
      : "";
    write(join(bin, name), `#!/bin/sh\n${kill}${STAND_INS[name] ?? `PATH=/usr/bin:/bin exec ${name} "$@"`}\n`, 0o755);
  }
  let count = 0;

  const machine: LoaderMachines["machine"] = (specs, kind = "ufs", shell = "dash") => {
    const root = join(scratch, `root ${++count}`);
    write(join(root, "boot/defaults/loader.conf"), DEFAULTS);
    write(join(root, "boot/device.hints"), 'hint.uart.0.at="isa"\nhint.uart.0.irq="4"\n');
    fs.mkdirSync(join(root, "boot/garth"));
    if (kind === "zfs") write(join(root, "is-zfs"), "");
    specs.forEach((spec, index) => {
      const number = index + 1;
      const item = join(root, system(number));
      write(join(item, "boot/loader.conf"), renderLoaderConf(spec));
      if (typeof spec.init === "object") write(join(item, "boot/pid1"), "#!/bin/sh\n", 0o755);
      write(join(root, `/frx/store/${number}-kernel/boot/kernel/kernel`), "kernel\n");
      fs.symlinkSync(`/frx/store/${number}-kernel/boot/kernel`, join(item, "boot/kernel"));
    });
    const [first] = specs;
    if (first !== undefined) write(join(root, "boot/loader.conf"), whole(first, 1));
    fs.symlinkSync(`${system(1)}/boot`, join(root, "boot/garth/1"));
    fs.symlinkSync("garth/1/kernel", join(root, "boot/kernel"));
    for (const entry of firstGeneration(system(1), itemsOf(1), { by: "image" })) {
      const path = join(root, entry.path);
      if (entry.kind === "directory") fs.mkdirSync(path, { recursive: true });
      else if (entry.kind === "link") fs.symlinkSync(entry.target, path);
      else write(path, entry.text);
    }
    return at(root, kind, shell);
  };

  const at = (root: string, kind: Kind, shell: Shell): Machine => {
    const execute = (text: string, argv: readonly string[], stdin = "", killAt?: number): Said => {
      fs.rmSync(join(root, "steps"), { force: true });
      write(join(root, "script"), `${shell === "busybox" ? BEFORE_OWN : ""}${text}`);
      return spawnSync("setsid", ["-w", ...ARGV[shell], join(root, "script"), ...argv], {
        encoding: "utf8",
        input: stdin,
        env: { PATH: `${bin}:/usr/bin:/bin`, GARTH_ROOT: root, KILL_AT: killAt === undefined ? "" : String(killAt) },
      });
    };
    return {
      root,
      call: (text, killAt) => execute(`${FUNCTIONS}\nboot_open write || exit\n${text}\n`, [], "", killAt),
      run: (argv, { stdin = "", killAt } = {}) => execute(PROGRAM, argv, stdin, killAt),
      boot: () => {
        const started = start(root, kind);
        fs.rmSync(join(root, "kenv"), { recursive: true, force: true });
        for (const [name, value] of started.environment)
          if (name.startsWith("garth.")) write(join(root, "kenv", name), `${value}\n`);
        if (!started.environment.has("init_exec")) fs.rmSync(join(root, "boot/nextboot.conf"), { force: true });
        fs.mkdirSync(join(root, "run"), { recursive: true });
        fs.rmSync(join(root, "run/current-system"), { force: true });
        fs.symlinkSync(started.environment.get("garth.system") ?? "", join(root, "run/current-system"));
        return started;
      },
      read: (path) => fs.readFileSync(join(root, path), "utf8"),
      list: (path) => fs.readdirSync(join(root, path)).toSorted(),
      state: () =>
        execFileSync(
          "sh",
          ["-c", `tar -c --sort=name --mtime=@0 --exclude=made boot var frx $(ls pool 2>/dev/null) | sha256sum`],
          {
            cwd: root,
            encoding: "utf8",
          },
        ),
      copy: () => {
        const other = join(scratch, `root ${++count}`);
        // With links to one file that are two names of it, as they are.
        execFileSync("cp", ["-a", root, other]);
        return at(other, kind, shell);
      },
    };
  };
  return { bin, write, machine, [Symbol.dispose]: () => fs.rmSync(scratch, { recursive: true, force: true }) };
}

/** What does not agree with what the loader reads, and what lies about: nothing, when all is settled. */
export function troubleOf({ root, read, list }: Machine): readonly string[] {
  const linkOf = (path: string): string | undefined =>
    fs.lstatSync(join(root, path), { throwIfNoEntry: false })?.isSymbolicLink() ? fs.readlinkSync(join(root, path)) : undefined;
  const current = /^garth\.generation="(\d+)"$/m.exec(read("boot/loader.conf"))?.[1];
  const numbers = list(`${GENERATIONS}/generations`);
  const left = ["boot", "boot/garth", GENERATIONS, `${GENERATIONS}/generations`, "frx/var/garth/roots", "frx/store"].flatMap(
    (path) => list(path).filter((name) => name.startsWith(".") || name.endsWith(".garth")),
  );
  const wanted: readonly (readonly [string, string])[] = [
    [`${GENERATIONS}/current`, `generations/${current}`],
    ["frx/var/garth/roots/current-system", linkOf(`${GENERATIONS}/generations/${current}/closure`) ?? "a system"],
    ...numbers.flatMap((number) => {
      const closure = linkOf(`${GENERATIONS}/generations/${number}/closure`) ?? "a system";
      return [
        [`frx/var/garth/roots/system-${number}`, closure],
        [`boot/garth/${number}`, `${closure}/boot`],
      ] as const;
    }),
  ];
  return [
    ...left,
    ...wanted.flatMap(([path, target]) => (linkOf(path) === target ? [] : [`${path} is ${linkOf(path)}, not ${target}`])),
    ...list("boot/garth").filter((name) => !numbers.includes(name)),
    ...numbers.flatMap((number) =>
      read(`${GENERATIONS}/generations/${number}/items`)
        .trim()
        .split("\n")
        .filter((name) => !fs.existsSync(inRoot(root, `/frx/store/${name}`))),
    ),
  ];
}
