/** For the tests of FreeBSD's part of `generations`: machines whose loader is a model, and stand-ins for programs of FreeBSD. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { StorePath } from "../base/index.ts";
import { generationLines, renderLoaderConf } from "./freebsd-conf.ts";
import { SAMPLE } from "./freebsd-sample.ts";
import { freebsdGenerations } from "./generations-freebsd.ts";
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

/** Of the shared text, what the functions use. */
const HELPERS = `is_number() {
	case $1 in '' | *[!0-9]*) return 1 ;; esac
}
is_generation() {
	is_number "$1" && [ -d "$state/generations/$1" ]
}
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
  mv: `[ "$1" = -fh ] || exit 64
shift
exec /bin/mv -fT "$@"`,
  zfsbootcfg: `[ "$1 $2 $3 $4" = "-z zroot -n freebsd:nvstore" ] || exit 64
case $5 in
-p) [ ! -e "$GARTH_ROOT/pool" ] || echo "nextboot_enable = $(cat "$GARTH_ROOT/pool")" ;;
-k) [ "$6 $7" = "nextboot_enable -v" ] && echo "$8" >"$GARTH_ROOT/pool" && echo "zfs bootenv is successfully written" ;;
esac`,
  shutdown: `echo "shutdown $*" >>"$GARTH_ROOT/said"`,
  sleep: `echo "sleep $*" >>"$GARTH_ROOT/said"`,
  reboot: `echo "reboot $*" >>"$GARTH_ROOT/said"`,
};
const COUNTED: readonly string[] = ["cat", "ln", "rm", "awk", "fsync", "mv", "zfsbootcfg", "mkdir", "grep", "readlink"];

export interface Machine {
  readonly root: string;
  readonly call: (
    text: string,
    killAt?: number,
  ) => { readonly status: number | null; readonly stderr: string; readonly stdout: string };
  readonly read: (path: string) => string;
  readonly list: (path: string) => readonly string[];
}

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
  loaderSettings: { if_wg_load: "YES", cpu_load: "YES", motto: "it's $ {new}" },
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
      fs.mkdirSync(join(root, `var/lib/garth/system/generations/${number}`), { recursive: true });
    });
    const [first] = specs;
    if (first !== undefined) write(join(root, "boot/loader.conf"), whole(first, 1));
    fs.symlinkSync(`${system(1)}/boot`, join(root, "boot/garth/1"));
    fs.symlinkSync("garth/1/kernel", join(root, "boot/kernel"));
    const call = (text: string, killAt?: number): ReturnType<Machine["call"]> => {
      fs.rmSync(join(root, "steps"), { force: true });
      const script = `${shell === "busybox" ? BEFORE_OWN : ""}root=$GARTH_ROOT\nstate=$root/var/lib/garth/system\n${HELPERS}say() {\n\techo "garth: $*" >&2\n}\n${freebsdGenerations().functions}\nboot_open write || exit\n${text}\n`;
      write(join(root, "script"), script);
      return spawnSync("setsid", ["-w", ...ARGV[shell], join(root, "script")], {
        encoding: "utf8",
        env: { PATH: `${bin}:/usr/bin:/bin`, GARTH_ROOT: root, KILL_AT: killAt === undefined ? "" : String(killAt) },
      });
    };
    return {
      root,
      call,
      read: (path) => fs.readFileSync(join(root, path), "utf8"),
      list: (path) => fs.readdirSync(join(root, path)).toSorted(),
    };
  };
  return { bin, write, machine, [Symbol.dispose]: () => fs.rmSync(scratch, { recursive: true, force: true }) };
}
