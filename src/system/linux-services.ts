/**
 * Services of a Linux system, for each process 1 it may have. Pure.
 *
 *   systemd   a unit a service with a command, links that enable it, networkd for addresses
 *   busybox   an inittab, and a script a service that runs it again when it ends
 *
 * Both say on the console when everything the declaration waits for has been reached: `garth: ready <closure>`, after lines
 * `garth: KEY=VALUE` with facts for receipts. Sources: systemd.service(5), systemd.unit(5), init of busybox (its inittab example).
 */
import { shellWord } from "./sh.ts";
import type { NetworkSpec, ServiceSpec, SystemSpec } from "./types.ts";

/** Path below etc/ -> text or symlink. */
export type EtcTree = Map<string, { readonly text: string; readonly executable?: boolean } | { readonly link: string }>;

const READY_DIRECTORY = "/var/lib/garth";

/** What the system says of itself when it is ready, and that it is. Run by either process 1, by the shell of the system. */
function readyScript(spec: SystemSpec, reached: readonly string[]): string {
  const ports = spec.services.filter(({ name, listens }) => listens !== undefined && spec.readiness.includes(name));
  const waits = ports.map(
    ({ listens = 0 }) => `until listens ${listens.toString(16).toUpperCase().padStart(4, "0")}; do sleep 0.1; done`,
  );
  const states = spec.readiness.map((name) => `echo "garth: ${factName(name)}_status=running"`);
  return [
    "#!/bin/sh",
    "# Waits until every service that the declaration names has been reached, then says so on the console.",
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    'listens() { cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ":$1 [0-9A-F]*:0000 0A "; }',
    ...reached,
    ...waits,
    "system=$(readlink /run/current-system)",
    `mkdir -p ${READY_DIRECTORY}`,
    `echo ready >${READY_DIRECTORY}/ready`,
    // On a line of its own: a getty may have asked for a name, and waits behind its question.
    "{",
    "    echo",
    '    echo "garth: run_current_system_target=$system"',
    '    echo "garth: pid1_command=$(cat /proc/1/comm)"',
    "    addresses=$(hostname -I 2>/dev/null)",
    '    [ -z "$addresses" ] || echo "garth: guest_ip=${addresses%% *}"',
    ...states.map((line) => `    ${line}`),
    '    echo "garth: ready $system"',
    "} >/dev/console",
    "",
  ].join("\n");
}

/** Services to wait for that do not say so by listening. */
function withoutPort({ services, readiness }: SystemSpec): readonly string[] {
  return services.flatMap(({ name, listens }) => (listens === undefined && readiness.includes(name) ? [name] : []));
}

/** Keys of receipts are lower case with underscores. */
function factName(service: string): string {
  return service.toLowerCase().replaceAll(/[^a-z0-9]+/g, "_");
}

// ---- systemd

/** Units that a small virtual machine has no use for; each costs time at every boot. */
const MASKED = [
  "getty-static.service",
  "systemd-journal-flush.service",
  "systemd-update-done.service",
  "systemd-update-utmp.service",
  "systemd-update-utmp-runlevel.service",
  "sys-kernel-debug.mount",
  "sys-kernel-tracing.mount",
  "dev-hugepages.mount",
];

/** `unitText` is the text of a unit that the base brings, by its path. */
export function systemdTree(spec: SystemSpec, unitText: (path: string) => string | undefined): EtcTree {
  const etc: EtcTree = new Map();
  const unit = (name: string, text: string): void => void etc.set(`systemd/system/${name}`, { text });
  const wanted = (name: string): void => void etc.set(`systemd/system/multi-user.target.wants/${name}`, { link: `../${name}` });
  etc.set("systemd/system/default.target", { link: "/usr/lib/systemd/system/multi-user.target" });
  for (const name of MASKED) etc.set(`systemd/system/${name}`, { link: "/dev/null" });
  for (const service of spec.services) {
    const name = unitName(service.name);
    if (service.command !== undefined) {
      unit(name, serviceUnit(service, service.command));
      wanted(name);
      continue;
    }
    const [declared, brought] = unitFiles(service.name);
    const own = spec.etc[declared.slice("/etc/".length)];
    const link = own === undefined ? brought : declared;
    for (const place of installPlaces(name, own?.text ?? unitText(brought))) etc.set(`systemd/system/${place}`, { link });
    if (service.after.length > 0) unit(`${name}.d/garth.conf`, ["[Unit]", ...orderLines(service), ""].join("\n"));
  }
  const readiness = spec.readiness.map(unitName);
  unit(
    "garth-ready.service",
    [
      "[Unit]",
      "Description=Say that the system is ready",
      ...(readiness.length > 0 ? [`Requires=${readiness.join(" ")}`] : []),
      `After=${["network.target", ...readiness].join(" ")}`,
      "",
      "[Service]",
      "Type=oneshot",
      "RemainAfterExit=yes",
      "ExecStart=/etc/garth/ready",
      "",
    ].join("\n"),
  );
  wanted("garth-ready.service");
  const quiet = withoutPort(spec).map(unitName);
  // systemd takes a service for started when its program runs; whether it still does a second later is another question.
  const reached = quiet.length === 0 ? [] : ["sleep 1", ...quiet.map((name) => `systemctl is-active --quiet ${name} || exit 1`)];
  etc.set("garth/ready", { text: readyScript(spec, reached), executable: true });
  etc.set("systemd/system/multi-user.target.wants/systemd-networkd.service", {
    link: "/usr/lib/systemd/system/systemd-networkd.service",
  });
  // networkd takes the first file that matches an interface and no other.
  [...Map.groupBy(spec.network, (each) => each.interface)].forEach(([device, all], index) =>
    etc.set(`systemd/network/${index + 10}-garth.network`, { text: networkUnit(spec, device, all) }),
  );
  return etc;
}

/** systemd.unit(5): what is none of these is a part of a name. */
const UNIT_TYPE = /\.(?:service|socket|device|mount|automount|swap|target|path|timer|slice|scope)$/;

function unitName(name: string): string {
  return UNIT_TYPE.test(name) ? name : `${name}.service`;
}

/** Where the unit lies that is enabled and not made here: declared, or brought by a package. `getty@tty1` is of `getty@.service`. */
export function unitFiles(name: string): readonly [declared: string, brought: string] {
  const file = unitName(name).replace(/@.+(\.[a-z]+)$/, "@$1");
  return [`/etc/systemd/system/${file}`, `/usr/lib/systemd/system/${file}`];
}

/** Where systemctl enable would link to the unit (systemd.unit(5), "[INSTALL] SECTION OPTIONS"); one that does not say starts at each boot. */
function installPlaces(name: string, text = ""): readonly string[] {
  const section = /^\[Install\]$([^[]*)/m.exec(text.replaceAll(/^[#;].*$/gm, ""))?.[1] ?? "";
  const words = (key: string): readonly string[] =>
    [...section.matchAll(new RegExp(`^${key}=(.*)$`, "gm"))].flatMap(([, value = ""]) => value.split(/\s+/).filter(Boolean));
  const places = [
    ...words("WantedBy").map((target) => `${target}.wants/${name}`),
    ...words("RequiredBy").map((target) => `${target}.requires/${name}`),
  ];
  return [...(places.length === 0 ? [`multi-user.target.wants/${name}`] : places), ...words("Alias")];
}

function orderLines({ after }: ServiceSpec, first: readonly string[] = []): readonly string[] {
  const units = after.map(unitName);
  return [`After=${[...first, ...units].join(" ")}`, ...(units.length > 0 ? [`Wants=${units.join(" ")}`] : [])];
}

function serviceUnit(service: ServiceSpec, command: readonly string[]): string {
  const { name, prepare, user, environment, restart, oneShot } = service;
  return [
    "[Unit]",
    `Description=${name}`,
    ...orderLines(service, ["network.target"]),
    "",
    "[Service]",
    ...(oneShot ? ["Type=oneshot", "RemainAfterExit=yes"] : ["Type=exec"]),
    ...(user === "root" ? [] : [`User=${user}`]),
    ...Object.entries(environment).map(([key, value]) => `Environment=${systemdWord(`${key}=${value}`)}`),
    ...prepare.map((line) => `ExecStartPre=+${systemdCommand(line)}`),
    `ExecStart=${systemdCommand(command)}`,
    ...(restart === "never" ? [] : [`Restart=${restart}`, "RestartSec=1"]),
    "",
  ].join("\n");
}

function systemdCommand(words: readonly string[]): string {
  return words.map((word) => systemdWord(word.replaceAll("$", () => "$$"))).join(" ");
}

/** systemd.syntax(7): double quotes, C escapes; % starts a specifier. */
function systemdWord(word: string): string {
  const escaped = word.replaceAll("%", "%%");
  if (/^[A-Za-z0-9_@%+=:,./$-]+$/.test(escaped)) return escaped;
  const quoted = escaped.replaceAll("\\", "\\\\").replaceAll('"', '\\"');
  return `"${quoted.replaceAll("\n", "\\n").replaceAll("\t", "\\t").replaceAll("\r", "\\r")}"`;
}

function networkUnit(spec: SystemSpec, device: string, networks: readonly NetworkSpec[]): string {
  return [
    "[Match]",
    `Name=${device === "*" ? "en* eth*" : device}`,
    "",
    "[Network]",
    ...networks.flatMap(({ address }) => {
      if (address === "dhcp") return ["DHCP=yes"];
      return [`Address=${address.cidr}`, ...(address.gateway === undefined ? [] : [`Gateway=${address.gateway}`])];
    }),
    ...spec.nameServers.map((server) => `DNS=${server}`),
    "",
  ].join("\n");
}

// ---- busybox

const SCRIPTS = "/etc/garth";

/** `hasLogin`: the base brings login(1), and the console asks who is there. Under systemd a generator of its own sees to that. */
export function busyboxTree(spec: SystemSpec, busybox: string, hasLogin: boolean): EtcTree {
  const etc: EtcTree = new Map();
  const script = (path: string, text: string): void => void etc.set(`garth/${path}`, { text, executable: true });
  script("start", startScript(spec, busybox));
  script("supervise", SUPERVISE);
  script("stop", STOP.replaceAll("@BUSYBOX@", busybox));
  if (spec.network.some(({ address }) => address === "dhcp")) script("dhcp", DHCP.replaceAll("@BUSYBOX@", busybox));
  for (const service of spec.services) script(`services/${service.name}`, serviceScript(service));
  const reached = withoutPort(spec).map((name) => `until [ -e /run/garth/${name}.reached ]; do sleep 0.1; done`);
  script("ready", readyScript(spec, reached));
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
      `$busybox ip address add ${address.cidr} dev "$interface"`,
      `$busybox ip link set "$interface" up`,
      ...(address.gateway === undefined ? [] : [`$busybox ip route add default via ${address.gateway}`]),
    ];
  });
  return [
    "#!/bin/sh",
    "# The first thing that process 1 runs.",
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    `busybox=${busybox}`,
    "mkdir -p /run/garth /run/lock /run/shm /dev/pts /dev/shm",
    "mountpoint -q /dev/pts || $busybox mount -t devpts -o gid=5,mode=620 devpts /dev/pts",
    "mountpoint -q /dev/shm || $busybox mount -t tmpfs -o nosuid,nodev tmpfs /dev/shm",
    "$busybox hostname -F /etc/hostname",
    "[ -s /etc/machine-id ] || tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id",
    "# Drivers of what the machine has: each device says which module it wants.",
    "find /sys/devices -name modalias -exec cat {} + 2>/dev/null | sort -u | xargs -r modprobe -abq 2>/dev/null",
    ...mountLines(spec),
    'first_interface() { for path in /sys/class/net/*; do [ -e "$path/device" ] && echo "${path##*/}" && return; done; }',
    `network_dhcp() { [ -z "$1" ] || { $busybox ip link set "$1" up; $busybox udhcpc -b -S -T 1 -t 10 -i "$1" -s ${SCRIPTS}/dhcp >/dev/null; }; }`,
    "$busybox ip link set lo up",
    ...network,
    ":",
    "",
  ].join("\n");
}

/** Of fstab, what is not mounted when process 1 begins. busybox knows no PARTLABEL: the kernel says which partition has the label. */
function mountLines({ fileSystems }: SystemSpec): readonly string[] {
  const wanted = fileSystems.filter(({ mountPoint, options }) => mountPoint !== "/" && !options.includes("noauto"));
  if (wanted.length === 0) return [];
  return [
    'labelled() { for path in /sys/class/block/*; do grep -qx "PARTNAME=$1" "$path/uevent" && echo "/dev/${path##*/}" && return; done; }',
    'attach() { mountpoint -q "$4" || $busybox mount -t "$1" -o "$2" "$3" "$4" || echo "garth: $4 cannot be mounted" >/dev/console; }',
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
const SUPERVISE = `#!/bin/sh
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

const STOP = `#!/bin/sh
# The last thing that process 1 runs: what is written is on the disk, and the root can be left.
sync
@BUSYBOX@ umount -a -r 2>/dev/null
sync
`;

/** What udhcpc calls when it has an address, or none any more. */
const DHCP = `#!/bin/sh
busybox=@BUSYBOX@
case $1 in
deconfig)
    $busybox ip address flush dev "$interface"
    ;;
bound | renew)
    $busybox ip address flush dev "$interface"
    $busybox ip address add "$ip/$mask" dev "$interface"
    for gateway in $router; do $busybox ip route add default via "$gateway" dev "$interface" && break; done
    [ -z "$dns" ] || for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
    ;;
esac
`;
