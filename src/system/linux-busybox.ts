/**
 * Services of a Linux system under busybox's init: an inittab, and a script a service that runs it again when it ends. Pure.
 * Sources: init of busybox (its inittab example), udhcpc's script.
 */
import { type EtcTree, readyScript, withoutPort } from "./linux-services.ts";
import { SEED_SCRIPT, SEED_SCRIPT_PATH } from "./seed-files.ts";
import { shellWord } from "./sh.ts";
import type { ServiceSpec, SystemSpec } from "./types.ts";

/**
 * Scripts are of busybox's own shell, in which its programs are called by their bare names: they start in a tenth of the time of others,
 * which under emulation is most of a boot. What a service runs is the system's.
 */
const SCRIPTS = "/etc/garth";

/** `hasLogin`: the base brings login(1), and the console asks who is there. Under systemd a generator of its own sees to that. */
export function busyboxTree(spec: SystemSpec, busybox: string, hasLogin: boolean): EtcTree {
  const etc: EtcTree = new Map();
  if (spec.seed) etc.set(SEED_SCRIPT_PATH.slice("/etc/".length), { text: SEED_SCRIPT, executable: true });
  const script = (path: string, text: string): void => void etc.set(`garth/${path}`, { text, executable: true });
  script("start", startScript(spec, busybox));
  script("supervise", SUPERVISE.replaceAll("@BUSYBOX@", busybox));
  script("stop", STOP.replaceAll("@BUSYBOX@", busybox));
  if (spec.network.some(({ address }) => address === "dhcp")) script("dhcp", DHCP.replaceAll("@BUSYBOX@", busybox));
  for (const service of spec.services) script(`services/${service.name}`, serviceScript(service));
  const reached = withoutPort(spec).map((name) => `until [ -e /run/garth/${name}.reached ]; do sleep 0.1; done`);
  script("ready", readyScript(spec, `${busybox} sh`, reached));
  etc.set("inittab", {
    text: [
      "# What busybox's init runs: at the start, then everything at once. Each service waits for those it comes after.",
      `::sysinit:${SCRIPTS}/start`,
      ...spec.services.map(({ name, restart, oneShot, after }) =>
        ["::once:/etc/garth/supervise", name, restart, oneShot ? "once" : "long", ...after].join(" "),
      ),
      `::once:${SCRIPTS}/ready`,
      ...(hasLogin ? [`::respawn:${busybox} getty -L ${consoleSpeed(spec)} ${consoleDevice(spec)} vt100`] : []),
      "::ctrlaltdel:/sbin/reboot",
      `::shutdown:${SCRIPTS}/stop`,
      "",
    ].join("\n"),
  });
  return etc;
}

/** "ttyS0,115200n8": device, speed, and how many bits; only the first must be there. */
function consoleDevice({ console: said }: SystemSpec): string {
  return said.split(",", 1)[0] ?? said;
}

function consoleSpeed({ console: said }: SystemSpec): string {
  return /,(\d+)/.exec(said)?.[1] ?? "115200";
}

function startScript(spec: SystemSpec, busybox: string): string {
  const network = spec.network.flatMap(({ interface: device, address }) => {
    const first = device === "*" ? '"$(first_interface)"' : device;
    if (address === "dhcp") return [`network_dhcp ${first}`];
    return [
      `interface=${first}`,
      `ip address add ${address.cidr} dev "$interface"`,
      `ip link set "$interface" up`,
      ...(address.gateway === undefined ? [] : [`ip route add default via ${address.gateway}`]),
    ];
  });
  return [
    `#!${busybox} sh`,
    "# The first thing that process 1 runs.",
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    MOUNTED,
    "mkdir -p /run/garth /run/lock /run/shm /dev/pts /dev/shm",
    "mounted /dev/pts || mount -t devpts -o gid=5,mode=620 devpts /dev/pts",
    "mounted /dev/shm || mount -t tmpfs -o nosuid,nodev tmpfs /dev/shm",
    'read -r name </etc/hostname && echo "$name" >/proc/sys/kernel/hostname',
    "[ -s /etc/machine-id ] || tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id",
    ...(spec.coldplug
      ? [
          "# Drivers of what the machine has: each device says which module it wants.",
          "find /sys/devices -name modalias -exec cat {} + 2>/dev/null | sort -u | xargs -r /sbin/modprobe -abq 2>/dev/null",
        ]
      : []),
    "# Ports to the host by their names, as udev links them.",
    "for path in /sys/class/virtio-ports/*; do",
    '    [ -s "$path/name" ] && read -r name <"$path/name" && mkdir -p /dev/virtio-ports && ln -sf "../${path##*/}" "/dev/virtio-ports/$name"',
    "done",
    ...mountLines(spec),
    'first_interface() { for path in /sys/class/net/*; do [ -e "$path/device" ] && echo "${path##*/}" && return; done; }',
    "# Nobody waits for an answer: there may be none.",
    `network_dhcp() { [ -z "$1" ] || { ip link set "$1" up; udhcpc -f -S -T 1 -t 10 -A 10 -i "$1" -s ${SCRIPTS}/dhcp >/dev/null 2>&1 & }; }`,
    "ip link set lo up",
    ...(spec.seed
      ? ["# It says who the machine is, where it has a seed.", `[ -n "$(sh ${SEED_SCRIPT_PATH})" ] || {`, ...network, ":", "}"]
      : network),
    ":",
    "",
  ].join("\n");
}

/** Of a shell alone. */
const MOUNTED = `mounted() {
    while read -r _ at _; do [ "$at" = "$1" ] && return; done </proc/self/mounts
    return 1
}`;

/** Of fstab, what is not mounted when process 1 begins. busybox knows no PARTLABEL: the kernel says which partition has the label. */
function mountLines({ fileSystems }: SystemSpec): readonly string[] {
  const wanted = fileSystems.filter(({ mountPoint, options }) => mountPoint !== "/" && !options.includes("noauto"));
  if (wanted.length === 0) return [];
  return [
    'labelled() { for path in /sys/class/block/*; do grep -qx "PARTNAME=$1" "$path/uevent" && echo "/dev/${path##*/}" && return; done; }',
    'attach() { mounted "$4" || mount -t "$1" -o "$2" "$3" "$4" || echo "garth: $4 cannot be mounted" >/dev/console; }',
    ...wanted.map(({ type, source, mountPoint, options }) => {
      const device = "label" in source ? `"$(labelled ${shellWord(source.label)})"` : shellWord(source.device);
      return `attach ${type} ${shellWord(options.join(",") || "defaults")} ${device} ${shellWord(mountPoint)}`;
    }),
  ];
}

function serviceScript({ name, command, prepare, user, environment, oneShot }: ServiceSpec): string {
  if (command === undefined) throw new Error(`the service ${name} has no command, which was looked at before`);
  const drop = user === "root" ? "" : `setpriv --reuid=${user} --regid="$(id -g ${user})" --init-groups `;
  const words = `${drop}${command.map(shellWord).join(" ")}`;
  return [
    "#!/bin/sh",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "export PATH",
    ...Object.entries(environment).map(([key, value]) => `export ${key}=${shellWord(value)}`),
    ...prepare.map((line) => `${line.map(shellWord).join(" ")} || exit`),
    ...(oneShot ? [] : [`: >/run/garth/${name}.started`]),
    `exec ${words}`,
    "",
  ].join("\n");
}

/**
 * Starts a service when those it comes after have started or were given up, and again when it ends, as its policy says. That it ended is
 * said on the console: a gate counts it. In /run/garth: NAME.started lets others begin, NAME.reached counts for readiness.
 */
const SUPERVISE = `#!@BUSYBOX@ sh
# supervise NAME always|on-failure|never once|long [AFTER ...]
name=$1
policy=$2
kind=$3
shift 3
at=/run/garth/$name
for before; do until [ -e "/run/garth/$before.started" ]; do sleep 0.1; done; done
count=1
while :; do
    ${SCRIPTS}/services/"$name" </dev/null >>"$at.log" 2>&1 &
    pid=$!
    if [ "$kind" = long ]; then
        until [ -e "$at.started" ] || ! kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
        # One that ends at once was never there.
        sleep 1
        kill -0 "$pid" 2>/dev/null && : >"$at.reached"
    fi
    wait "$pid"
    status=$?
    if [ "$kind" = once ] && [ "$status" -eq 0 ]; then
        : >"$at.reached"
        break
    fi
    printf '\\ngarth: service %s ended with status %s, start %s\\n' "$name" "$status" "$count" >/dev/console
    tail -n 3 "$at.log" | sed "s/^/garth: $name: /" >/dev/console
    case $policy in
    never) break ;;
    on-failure) [ "$status" -eq 0 ] && break ;;
    esac
    count=$((count + 1))
    [ "$kind" = long ] || sleep 1
done
: >"$at.started"
`;

const STOP = `#!@BUSYBOX@ sh
# The last thing that process 1 runs: what is written is on the disk, and the root can be left.
sync
umount -a -r 2>/dev/null
sync
`;

/** What udhcpc calls when it has an address, or none any more. */
const DHCP = `#!@BUSYBOX@ sh
case $1 in
deconfig)
    ip address flush dev "$interface"
    ;;
bound | renew)
    ip address flush dev "$interface"
    ip address add "$ip/$mask" dev "$interface"
    for gateway in $router; do ip route add default via "$gateway" dev "$interface" && break; done
    [ -z "$dns" ] || for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
    ;;
esac
`;
