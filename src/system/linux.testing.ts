/** For the tests of Linux systems: a declaration with one of everything, and the little of a Debian that it is rendered against. */
import { readFileSync } from "node:fs";
import type { StorePath } from "../base/index.ts";
import { type ListedEntry, slice, world } from "../world/index.ts";
import { system, type SystemOptions } from "./declare.ts";
import type { Composition, Part, SystemSpec } from "./types.ts";

const digest = (digit: string): string => digit.repeat(64);

export const RELEASE = "6.1.0-56-cloud-amd64";
export const SAMPLE_SYSTEM: StorePath = `/frx/store/${digest("5")}-system-sample`;
export const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1hZGUtdXAga2V5IGZvciBhIHRlc3Qu alice's key";

const base = world({ name: "guest", directory: "/srv/guest" });
export const SLICES = {
  kernel: slice(base, { role: "kernel" }),
  bootloader: slice(base, { role: "boot" }),
  base: [slice(base, { role: "runtime" })],
} as const;
export const DEVELOPMENT = slice(base, { role: "development" });

/** What is needed and no more. */
export const MINIMAL: SystemOptions = { name: "sample", ...SLICES };

export const FULL: SystemOptions = {
  ...MINIMAL,
  hostName: "sample.example.org",
  timeZone: "Europe/Berlin",
  init: "busybox",
  users: [
    { name: "root", authorizedKeys: [KEY] },
    { name: "alice", groups: ["adm"], comment: "Alice", authorizedKeys: [KEY], passwordSecret: "alice-password" },
    { name: "web", uid: 8080, group: "www-data", home: "/srv/web dir", shell: "/usr/sbin/nologin" },
    { name: "ghost", home: "/nonexistent" },
  ],
  groups: [{ name: "data", members: ["alice"] }],
  fileSystems: [
    { mountPoint: "/data dir", type: "ext4", label: "data", options: ["rw", "noatime"] },
    { mountPoint: "/tmp", type: "tmpfs", device: "tmpfs", options: ["mode=1777"] },
    { mountPoint: "/boot/efi", type: "vfat", label: "efiboot", options: ["noauto"] },
  ],
  services: [
    {
      name: "migrate",
      command: ["/usr/local/bin/migrate", "--to", "last one"],
      user: "web",
      oneShot: true,
      restart: "on-failure",
    },
    {
      name: "web-server",
      command: ["/usr/local/bin/web", "--greeting", "it's $HOME 100%", ""],
      prepare: [["/bin/mkdir", "-p", "/srv/web dir/cache"]],
      user: "web",
      environment: { PORT: "8080", MOTTO: 'say "hi"\nback\\slash' },
      after: ["migrate"],
      listens: 8080,
    },
    { name: "queue", command: ["/usr/local/bin/queue"], restart: "on-failure", after: ["web-server"] },
  ],
  network: [
    { address: "dhcp" },
    { interface: "eth1", address: { cidr: "10.0.2.15/24", gateway: "10.0.2.2" } },
    { interface: "eth1", address: { cidr: "2001:db8::15/64" } },
  ],
  nameServers: ["10.0.2.3", "2001:db8::3"],
  seed: false,
  secrets: [
    { name: "alice-password" },
    { name: "web.token", path: "/srv/web dir/token", user: "web", group: "www-data", mode: 0o440 },
  ],
  etc: {
    "web/web.conf": { text: "port 8080\n", mode: 0o400, user: "web", group: "www-data" },
    "sudoers.d/alice": { text: "alice ALL=(ALL) ALL\n", mode: 0o440 },
    motd: "Welcome.\n",
  },
  kernelParameters: ["quiet"],
  rootModules: ["virtio_pci", "virtio-blk", "ext4"],
  coldplug: true,
};

export const specOf = (more: Partial<SystemOptions> = {}): SystemSpec => system({ ...MINIMAL, ...more }).spec;

/** `dir/`, `program*`, `file`, `link->target`, each with the directories above. */
export function listing(text: string): readonly ListedEntry[] {
  const entries = new Map<string, ListedEntry>();
  for (const word of text.trim().split(/\s+/)) {
    const [named = "", target] = word.split("->");
    const path = named.replace(/[/*]$/, "");
    for (let end = path.indexOf("/"); end > 0; end = path.indexOf("/", end + 1)) {
      const above = path.slice(0, end);
      if (!entries.has(above)) entries.set(above, { path: above, type: "directory", executable: true, sizeBytes: 0 });
    }
    if (named.endsWith("/")) entries.set(path, { path, type: "directory", executable: true, sizeBytes: 0 });
    else if (target === undefined) entries.set(path, { path, type: "file", executable: named.endsWith("*"), sizeBytes: 1 });
    else entries.set(path, { path, type: "symlink", executable: true, sizeBytes: target.length, target });
  }
  return [...entries.values()].toSorted((left, right) => (left.path < right.path ? -1 : 1));
}

export function partOf(name: string, digit: string, text: string, more: Partial<Part> = {}): Part {
  return {
    path: `/frx/store/${digest(digit)}-${name}`,
    name,
    origin: "native",
    prefix: "",
    attributes: new Map(),
    listing: listing(text),
    ...more,
  };
}

export const KERNEL = partOf(
  "kernel",
  "c",
  `boot/vmlinuz-${RELEASE} boot/config-${RELEASE} usr/lib/modules/${RELEASE}/modules.dep usr/lib/modules/${RELEASE}/modules.builtin`,
);
export const BOOT = partOf("boot", "b", "usr/bin/busybox* usr/lib/systemd/boot/efi/systemd-bootx64.efi");
export const RUNTIME = partOf(
  "runtime",
  "d",
  `bin->usr/bin sbin->usr/sbin lib->usr/lib usr/bin/sh* usr/bin/login* usr/bin/mkdir* usr/sbin/sshd* usr/sbin/nologin* usr/lib/systemd/systemd*
  usr/lib/systemd/system/ssh.service usr/lib/systemd/system/getty@.service usr/bin/editor->/etc/alternatives/editor usr/bin/vi*
  etc/alternatives/editor->/usr/bin/vi etc/passwd etc/group etc/shadow etc/hostname etc/machine-id etc/ssh/ssh_host_rsa_key
  etc/ssh/sshd_config etc/systemd/system/multi-user.target.wants/cron.service->/usr/lib/systemd/system/cron.service
  etc/rc2.d/S01cron->../init.d/cron etc/sudoers etc/opt/ etc/link->passwd etc/.garth-system
  var/log/ var/mail/ var/lib/dpkg/status var/run->/run root/.profile tmp/ dev/ opt/tool/run* home/`,
  {
    attributes: new Map([
      ["etc/shadow", { mode: 0o640, uid: 0, gid: 42 }],
      ["etc/sudoers", { mode: 0o440, uid: 0, gid: 0 }],
      ["etc/opt", { mode: 0o2750, uid: 0, gid: 33 }],
      ["etc/link", { mode: 0o777, uid: 7, gid: 7 }],
      ["root", { mode: 0o700, uid: 0, gid: 0 }],
      ["tmp", { mode: 0o1777, uid: 0, gid: 0 }],
      ["var/mail", { mode: 0o2775, uid: 0, gid: 8 }],
      ["usr/bin/vi", { mode: 0o4755, uid: 0, gid: 0 }],
    ]),
  },
);
export const PACKAGE = partOf("web-1.0", "e", "bin/migrate* bin/queue* bin/web* current->bin", {
  origin: "store",
  prefix: "usr/local",
});

const data = (name: string): string => readFileSync(`${import.meta.dir}/testdata/${name}`, "utf8");

/** A part of Debian's own files; the modules are those of its cloud kernel. */
export const BASE_TEXTS: ReadonlyMap<string, string> = new Map([
  [
    "etc/passwd",
    "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n",
  ],
  ["etc/group", "root:x:0:\ndaemon:x:1:\nadm:x:4:\nmail:x:8:\nwww-data:x:33:\nshadow:x:42:\n"],
  ["etc/shadow", "root:*:19700:0:99999:7:::\ndaemon:*:19700:0:99999:7:::\nwww-data:*:19700:0:99999:7:::\n"],
  [`usr/lib/modules/${RELEASE}/modules.dep`, data("modules.dep")],
  [`usr/lib/modules/${RELEASE}/modules.builtin`, data("modules.builtin")],
]);

export function composition(options: Partial<SystemOptions> = {}, more: Partial<Composition> = {}): Composition {
  return {
    spec: specOf(options),
    kernel: KERNEL,
    bootloader: BOOT,
    base: [RUNTIME],
    packages: [PACKAGE],
    development: [],
    baseTexts: BASE_TEXTS,
    ...more,
  };
}
