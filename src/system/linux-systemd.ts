/**
 * Services of a Linux system under systemd: a unit a service with a command, links that enable it, networkd for addresses. Pure.
 * Sources: systemd.service(5), systemd.unit(5), systemd.network(5).
 */
import { type EtcTree, readyScript, withoutPort } from "./linux-services.ts";
import { SEED_SCRIPT, SEED_SCRIPT_PATH, SEED_UNIT, seedUnit } from "./seed-files.ts";
import type { NetworkSpec, ServiceSpec, SystemSpec } from "./types.ts";

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
  "modprobe@configfs.service",
  "modprobe@dm_mod.service",
  "modprobe@drm.service",
  "modprobe@fuse.service",
  "modprobe@loop.service",
  "proc-sys-fs-binfmt_misc.automount",
  "sys-fs-fuse-connections.mount",
  "sys-kernel-config.mount",
  "systemd-binfmt.service",
  // Users are those of the declaration, partitions those of the image.
  "systemd-sysusers.service",
];
/** They look for what to mount and to resume from on the disks; fstab says it. */
const MASKED_GENERATORS = ["systemd-gpt-auto-generator", "systemd-hibernate-resume-generator"];

/** `unitText` is the text of a unit that the base brings, by its path. */
export function systemdTree(spec: SystemSpec, busybox: string, unitText: (path: string) => string | undefined): EtcTree {
  const etc: EtcTree = new Map();
  const unit = (name: string, text: string): void => void etc.set(`systemd/system/${name}`, { text });
  const wanted = (name: string): void => void etc.set(`systemd/system/multi-user.target.wants/${name}`, { link: `../${name}` });
  etc.set("systemd/system/default.target", { link: "/usr/lib/systemd/system/multi-user.target" });
  for (const name of MASKED) etc.set(`systemd/system/${name}`, { link: "/dev/null" });
  for (const name of MASKED_GENERATORS) etc.set(`systemd/system-generators/${name}`, { link: "/dev/null" });
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
  if (spec.seed) {
    etc.set(SEED_SCRIPT_PATH.slice("/etc/".length), { text: SEED_SCRIPT, executable: true });
    unit(SEED_UNIT, seedUnit(`${busybox} sh ${SEED_SCRIPT_PATH}`));
    wanted(SEED_UNIT);
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
  etc.set("garth/ready", { text: readyScript(spec, "/bin/sh", reached), executable: true });
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
