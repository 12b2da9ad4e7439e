/** For the tests of the FreeBSD family: a system with one of everything, and the little of a base that it is rendered against. */
import type { StorePath } from "../base/index.ts";
import type { ListedEntry } from "../world/index.ts";
import type { Composition, Part, ServiceSpec, SystemSpec } from "./types.ts";

const digest = (digit: string): string => digit.repeat(64);

export const SAMPLE_SYSTEM: StorePath = `/frx/store/${digest("5")}-system-sample`;

export function sampleService(service: Partial<ServiceSpec> & { readonly name: string }): ServiceSpec {
  return {
    command: undefined,
    prepare: [],
    user: "root",
    environment: {},
    after: [],
    restart: "always",
    oneShot: false,
    listens: undefined,
    ...service,
  };
}

export const SAMPLE: SystemSpec = {
  name: "sample",
  family: "freebsd",
  hostName: "sample.example.org",
  timeZone: "Europe/Berlin",
  init: "rc",
  users: [
    {
      name: "root",
      uid: undefined,
      group: undefined,
      groups: [],
      home: "/root",
      shell: "/bin/sh",
      comment: "Charlie &",
      authorizedKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1hZGUtdXAga2V5IGZvciBhIHRlc3Qu root's key"],
      passwordSecret: undefined,
    },
    {
      name: "alice",
      uid: undefined,
      group: undefined,
      groups: ["wheel", "operator"],
      home: "/home/alice",
      shell: "/bin/tcsh",
      comment: "Alice",
      authorizedKeys: [],
      passwordSecret: "alice-password",
    },
    {
      name: "web",
      uid: 8080,
      group: "www",
      groups: ["data"],
      home: "/nonexistent",
      shell: "/usr/sbin/nologin",
      comment: "",
      authorizedKeys: [],
      passwordSecret: undefined,
    },
  ],
  groups: [{ name: "data", gid: undefined, members: ["alice"] }],
  fileSystems: [
    { mountPoint: "/", type: "ufs", source: { label: "garth-root" }, options: ["rw"] },
    { mountPoint: "/dev", type: "devfs", source: { device: "devfs" }, options: ["rw"] },
    { mountPoint: "/proc", type: "procfs", source: { device: "procfs" }, options: [] },
    { mountPoint: "/tmp", type: "tmpfs", source: { device: "tmpfs" }, options: ["rw", "mode=1777"] },
    { mountPoint: "/data", type: "ufs", source: { label: "data" }, options: ["rw", "noatime"] },
    { mountPoint: "/boot/efi", type: "msdosfs", source: { label: "efiboot" }, options: ["rw", "noauto"] },
  ],
  services: [
    sampleService({ name: "sshd", listens: 22 }),
    sampleService({
      name: "migrate",
      command: ["/usr/local/bin/migrate", "--to", "last one"],
      user: "web",
      restart: "never",
      oneShot: true,
    }),
    sampleService({
      name: "web-server",
      command: ["/usr/local/bin/web", "--greeting", "it's $HOME"],
      prepare: [["/bin/mkdir", "-p", "/data/web dir"]],
      user: "web",
      environment: { PORT: "8080", MOTTO: 'say "hi"' },
      after: ["sshd", "migrate"],
      listens: 8080,
    }),
    sampleService({ name: "queue", command: ["/usr/local/bin/queue"], restart: "on-failure" }),
    sampleService({ name: "nginx", after: ["web-server"] }),
  ],
  readiness: ["sshd", "web-server", "migrate"],
  network: [
    { interface: "vtnet0", address: "dhcp" },
    { interface: "vtnet1", address: { cidr: "10.0.2.15/24", gateway: "10.0.2.2" } },
    { interface: "vtnet1", address: { cidr: "10.0.3.15/24", gateway: undefined } },
    { interface: "vtnet1", address: { cidr: "2001:db8::15/64", gateway: "2001:db8::2" } },
  ],
  nameServers: ["10.0.2.3", "2001:db8::3"],
  seed: false,
  secrets: [
    { name: "alice-password", path: "/run/secrets/alice-password", user: "root", group: "wheel", mode: 0o400 },
    { name: "web.token", path: "/data/web token", user: "web", group: "www", mode: 0o440 },
  ],
  etc: {
    "newsyslog.conf.d/web.conf": { text: "/var/log/web.log 640 7 * @T00 J\n", mode: 0o600, user: "web", group: "www" },
    "motd.template": { text: "Welcome.\n", mode: 0o644, user: "root", group: "wheel" },
  },
  console: "comconsole",
  kernelParameters: [],
  rootModules: [],
  coldplug: false,
  loaderSettings: { virtio_load: "YES", "kern.racct.enable": "1", autoboot_delay: "2" },
  rcSettings: { sendmail_enable: "NONE", dumpdev: "NO", motto: 'a "quoted" $word \\ `tick`' },
  disk: {
    sizeBytes: undefined,
    espBytes: 64 << 20,
    rootBytes: undefined,
    rootFreeBytes: undefined,
    rootLabel: "garth-root",
    espLabel: "efiboot",
  },
};

/** A few lines as FreeBSD is distributed, where root has an empty password. */
export const BASE_MASTER_PASSWD = `# $FreeBSD$
#
root::0:0::0:0:Charlie &:/root:/bin/sh
toor:*:0:0::0:0:Bourne-again Superuser:/root:
daemon:*:1:1::0:0:Owner of many system processes:/root:/usr/sbin/nologin
sshd:*:22:22::0:0:Secure Shell Daemon:/var/empty:/usr/sbin/nologin
_dhcp:*:65:65::0:0:dhcp programs:/var/empty:/usr/sbin/nologin
www:*:80:80:daemon:0:0:World Wide Web Owner:/nonexistent:/usr/sbin/nologin
nobody:*:65534:65534::0:0:Unprivileged user:/nonexistent:/usr/sbin/nologin
`;

export const BASE_GROUP = `# $FreeBSD$
wheel:*:0:root
daemon:*:1:
operator:*:5:root
sshd:*:22:
_dhcp:*:65:
www:*:80:
nogroup:*:65533:
nobody:*:65534:
`;

function part(name: string, digit: string, paths: string, attributes: Part["attributes"] = new Map()): Part {
  return {
    path: `/frx/store/${digest(digit)}-${name}`,
    name,
    origin: "native",
    prefix: "",
    attributes,
    listing: paths.split(/\s+/).map((line): ListedEntry => {
      const [path = "", target] = line.split("->");
      if (path.endsWith("/")) return { path: path.slice(0, -1), type: "directory", executable: false, sizeBytes: 0 };
      if (target !== undefined) return { path, type: "symlink", executable: false, sizeBytes: target.length, target };
      return { path: path.replace("*", ""), type: "file", executable: path.endsWith("*"), sizeBytes: 1 };
    }),
  };
}

export const SAMPLE_COMPOSITION: Composition = {
  spec: SAMPLE,
  kernel: part("kernel", "c", "boot/ boot/kernel/ boot/kernel/kernel* boot/kernel/virtio.ko* boot/modules/"),
  bootloader: part(
    "boot",
    "b",
    `boot/ boot/defaults/ boot/defaults/loader.conf boot/device.hints boot/loader* boot/loader.conf boot/loader.efi* boot/lua/
    boot/lua/loader.lua`,
  ),
  base: [
    part(
      "runtime",
      "d",
      `bin/ bin/sh* etc/ etc/aliases->mail/aliases etc/defaults/ etc/defaults/rc.conf etc/fstab etc/group etc/hosts etc/login.conf
      etc/login.conf.db etc/mail/ etc/mail/aliases etc/master.passwd etc/ntp/ etc/passwd etc/pwd.db etc/rc* etc/rc.d/ etc/rc.d/sshd*
      etc/rc.subr etc/spwd.db etc/ssh/ etc/ssh/ssh_config etc/ssh/sshd_config usr/ usr/bin/ usr/bin/su*`,
      new Map([
        ["etc/ntp", { mode: 0o700, uid: 0, gid: 0 }],
        ["etc/master.passwd", { mode: 0o600, uid: 0, gid: 0 }],
        ["usr/bin/su", { mode: 0o4555, uid: 0, gid: 0 }],
      ]),
    ),
  ],
  packages: [
    {
      ...part("web-1.0", "e", "bin/ bin/migrate* bin/queue* bin/web* etc/ etc/rc.d/ etc/rc.d/nginx*"),
      origin: "package",
      prefix: "usr/local",
    },
  ],
  development: [],
  baseTexts: new Map([
    ["etc/master.passwd", BASE_MASTER_PASSWD],
    ["etc/group", BASE_GROUP],
  ]),
};
