/**
 * The initial RAM disk: what a kernel needs until the root is mounted, and nothing else. Pure.
 *
 * One static program (busybox of the boot slice), the modules of the kernel slice that the root's disk hangs on, in the order in which
 * they need each other (modules.dep(5)), and a script. The script finds the root by its GPT label, mounts it, puts
 * `/run/current-system` there, lets the system activate itself, and hands over to process 1. Where the system is on trial, a process beside
 * it, of the system's own program, waits for its time to be over.
 */
import { closest, Problem } from "../base/index.ts";
import { GENERATIONS_PROGRAM } from "./generations.ts";
import type { Composition, Part, PlannedEntry, PlannedTree } from "./types.ts";

/** Path of the program in the boot slice. */
const BUSYBOX = "usr/bin/busybox";
/** How long the root may take to appear. */
const ROOT_WAIT_S = 10;

/** @throws Problem E_BOOT_SLICE, E_KERNEL_MODULE */
export function planInitrd(composition: Composition): PlannedTree {
  const { spec, kernel, bootloader } = composition;
  const modules = modulesFor(composition, spec.rootModules);
  const names = modules.map((path) => path.slice(path.lastIndexOf("/") + 1));
  const directory: PlannedEntry = { type: "directory" };
  return new Map<string, PlannedEntry>([
    ["bin", directory],
    [
      "bin/busybox",
      { type: "file", executable: true, content: { kind: "part", part: bootloader.path, path: busyboxIn(bootloader) } },
    ],
    ["dev", directory],
    ["init", { type: "file", executable: true, content: { kind: "text", text: initScript(spec.disk.rootLabel, names) } }],
    ["modules", directory],
    ...modules.map(
      (path, index) =>
        [
          `modules/${names[index] ?? ""}`,
          { type: "file", executable: false, content: { kind: "part", part: kernel.path, path } },
        ] as const,
    ),
    ["proc", directory],
    ["sys", directory],
    ["sysroot", directory],
  ]);
}

export function busyboxIn(bootloader: Part): string {
  if (bootloader.listing.some(({ path, type }) => path === BUSYBOX && type === "file")) return BUSYBOX;
  throw new Problem({
    code: "E_BOOT_SLICE",
    message: `the slice ${bootloader.name} has no ${BUSYBOX}, which the initial RAM disk is made of`,
    hint: "put Debian's package busybox-static into the world, and keep usr/bin/busybox in the boot slice",
    exit: 2,
  });
}

/** "6.1.0-56-cloud-amd64": the one directory below usr/lib/modules of the kernel slice. @throws Problem E_KERNEL_SLICE */
export function kernelRelease(kernel: Part): string {
  const releases = kernel.listing.flatMap(({ path, type }) => {
    const match = /^usr\/lib\/modules\/([^/]+)$/.exec(path);
    return match?.[1] !== undefined && type === "directory" ? [match[1]] : [];
  });
  const [release, ...more] = releases;
  if (release !== undefined && more.length === 0) return release;
  throw new Problem({
    code: "E_KERNEL_SLICE",
    message:
      release === undefined
        ? `the slice ${kernel.name} has no modules below usr/lib/modules`
        : `the slice ${kernel.name} has the modules of ${releases.length} kernels: ${releases.join(", ")}`,
    hint: "a system boots one kernel: keep boot/vmlinuz-RELEASE and usr/lib/modules/RELEASE of it",
    exit: 2,
  });
}

/** The texts that planning reads of the kernel slice. */
export function moduleTexts(release: string): Readonly<Record<"dependencies" | "builtin", string>> {
  const directory = `usr/lib/modules/${release}`;
  return { dependencies: `${directory}/modules.dep`, builtin: `${directory}/modules.builtin` };
}

/** Paths in the kernel slice, each after those it needs. What is `optional` may be missing. @throws Problem E_KERNEL_MODULE */
export function modulesFor(
  { kernel, baseTexts }: Pick<Composition, "kernel" | "baseTexts">,
  wanted: readonly string[],
  optional: readonly string[] = [],
): readonly string[] {
  if (wanted.length + optional.length === 0) return [];
  const release = kernelRelease(kernel);
  const texts = moduleTexts(release);
  const needs = new Map<string, readonly string[]>();
  const byName = new Map<string, string>();
  for (const line of (baseTexts.get(texts.dependencies) ?? "").split("\n")) {
    const [path, rest] = line.split(":");
    if (path === undefined || rest === undefined) continue;
    needs.set(
      path,
      rest.split(" ").filter((each) => each !== ""),
    );
    byName.set(moduleName(path), path);
  }
  const builtin = new Set((baseTexts.get(texts.builtin) ?? "").split("\n").map(moduleName));
  const order = new Set<string>();
  const visit = (path: string): void => {
    if (order.has(path)) return;
    // modules.dep lists what a module needs with the nearest first.
    for (const need of (needs.get(path) ?? []).toReversed()) visit(need);
    order.add(path);
  };
  for (const name of [...wanted, ...optional]) {
    const path = byName.get(moduleName(name));
    if (path !== undefined) visit(path);
    else if (wanted.includes(name) && !builtin.has(moduleName(name))) throw noModule(name, kernel, release, [...byName.keys()]);
  }
  return [...order].map((path) => `usr/lib/modules/${release}/${path}`);
}

/** modprobe(8): - and _ are the same in the name of a module. */
function moduleName(path: string): string {
  return path
    .slice(path.lastIndexOf("/") + 1)
    .replace(/\.ko(?:\.\w+)?$/, "")
    .replaceAll("-", "_");
}

function noModule(name: string, kernel: Part, release: string, known: readonly string[]): Problem {
  const meant = closest(name, known);
  return new Problem({
    code: "E_KERNEL_MODULE",
    message: `rootModules names ${name}, and the kernel ${release} has no such module, neither as a file nor built in`,
    where: `${kernel.path}/usr/lib/modules/${release}`,
    hint: meant === undefined ? "leave it out of rootModules" : `did you mean ${meant}?`,
    exit: 2,
  });
}

function initScript(rootLabel: string, modules: readonly string[]): string {
  return `#!/bin/busybox sh
# The first program after the kernel: finds the root, mounts it, and becomes process 1 of the system.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev

stop() {
    echo "garth: initrd: $1" >/dev/console
    for path in /sys/class/block/*; do
        name=
        while IFS='=' read -r key value; do [ "$key" = PARTNAME ] && name=$value; done <"$path/uevent"
        echo "garth: initrd: there is \${path##*/}\${name:+ labelled $name}" >/dev/console
    done
    # The end of process 1 is a panic of the kernel, which a machine that is watched must come to.
    exit 1
}

system=
trial=
root=${rootLabel}
set -f
for word in $($b cat /proc/cmdline); do
    case $word in
    garth.system=*) system=\${word#*=} ;;
    garth.root=*) root=\${word#*=} ;;
    garth.trial=*) trial=\${word#*=} ;;
    esac
done
set +f
[ -n "$system" ] || stop "the kernel's command line has no garth.system="
${modules.map((name) => `$b insmod /modules/${name} || stop "${name} cannot be loaded"\n`).join("")}
find_root() {
    for path in /sys/class/block/*; do
        while IFS='=' read -r key value; do
            [ "$key=$value" = "PARTNAME=$root" ] && device=/dev/\${path##*/} && return 0
        done <"$path/uevent"
    done
    return 1
}
device=
tries=0
until find_root; do
    tries=$((tries + 1))
    [ "$tries" -gt ${ROOT_WAIT_S * 10} ] && stop "no partition is labelled $root after ${ROOT_WAIT_S} s"
    $b usleep 100000
done

$b mount -t ext4 -o rw "$device" /sysroot || stop "$device cannot be mounted as ext4"
development=$($b readlink /sysroot/run/current-development)
$b mount -t tmpfs -o mode=0755,nosuid,nodev run /sysroot/run
$b ln -s "$system" /sysroot/run/current-system
[ -z "$development" ] || $b ln -s "$development" /sysroot/run/current-development
for directory in dev proc sys; do $b mount --move /$directory /sysroot/$directory; done
fail() {
    echo "garth: initrd: $1" >/sysroot/dev/console
    exit 1
}
[ -e "/sysroot$system/activate" ] || fail "$system is not on this root"
# In the root that is going to be, whoever process 1 is then; before anything of the system could stand still.
if [ -n "$trial" ]; then
    # The shell opens it for whatever it begins in the background, and begins nothing without.
    $b ln -s /sysroot/dev/null /dev/null
    $b setsid $b chroot /sysroot "$system/${GENERATIONS_PROGRAM}" watch "$trial" </sysroot/dev/null >/sysroot/dev/console 2>&1 &
fi
$b chroot /sysroot "$system/activate" "$system" || fail "$system cannot be activated"
exec $b switch_root /sysroot /run/current-system/init
`;
}
