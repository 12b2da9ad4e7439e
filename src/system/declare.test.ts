import { describe, expect, test } from "bun:test";
import { dirname } from "node:path";
import { thrownProblem } from "../base/testing.ts";
import { slice, world } from "../world/index.ts";
import { system, type SystemOptions } from "./index.ts";
import { DEVELOPMENT, FULL, KEY, MINIMAL, SLICES, specOf } from "./linux.testing.ts";

/** Hands options over as if they came from a file that was not type-checked. */
function refused(options: unknown): readonly [message: string, hint: string | undefined] {
  const make: unknown = system;
  if (typeof make !== "function") throw new TypeError("not a constructor");
  const { code, message, hint, where, exit } = thrownProblem(() => make(options));
  expect([code, exit]).toEqual(["E_RECIPE_INVALID", 2]);
  expect(where).toMatch(/^\/.*\/src\/system\/declare\.test\.ts:\d+$/);
  return [message.replace(/^system sample: /, ""), hint];
}
const messageOf = (more: object): string => refused({ ...MINIMAL, ...more })[0];
const PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n-----END OPENSSH PRIVATE KEY-----\n";

describe("a field that is wrong is named, with what it should be and what it is", () => {
  const cases: readonly (readonly [string, object, string])[] = [
    ["a misspelt field", { servces: [] }, "servces: expected no field of this name, found an empty list"],
    [
      "a name for a path",
      { name: "../x" },
      'system ../x: name: expected a name of letters, digits and . _ -, found the text "../x"',
    ],
    ["no base", { base: [] }, "base: expected a list of at least 1, found an empty list"],
    [
      "a world for a slice",
      { base: [world({ name: "w", directory: "/w" })] },
      'base[0]: expected a slice: what slice(world, { ... }) returned, found an object of kind "world"',
    ],
    ["a host name with a space", { hostName: "a b" }, 'hostName: expected a host name, found the text "a b"'],
    [
      "a time zone that climbs",
      { timeZone: "../etc" },
      'timeZone: expected the name of a time zone: Europe/Berlin, UTC, found the text "../etc"',
    ],
    [
      "a user with a colon",
      { users: [{ name: "a:b" }] },
      'users[0].name: expected a name of up to 31 lowercase letters, digits, - and _, not starting with a digit, found the text "a:b"',
    ],
    [
      "a home with a colon",
      { users: [{ name: "a", home: "/home/a:b" }] },
      'users[0].home: expected a path without :, found the text "/home/a:b"',
    ],
    [
      "a home that climbs",
      { users: [{ name: "a", home: "/home/../etc" }] },
      'users[0].home: expected an absolute path without . and .., found the text "/home/../etc"',
    ],
    [
      "a line break in a comment",
      { users: [{ name: "a", comment: "x\nroot::0:0" }] },
      'users[0].comment: expected text without : and line breaks, found the text "x\\nroot::0:0"',
    ],
    ["a number below zero", { groups: [{ name: "a", gid: -1 }] }, "groups[0].gid: expected a numeric id, found the number -1"],
    [
      "a mount point that is relative",
      { fileSystems: [{ mountPoint: "data", type: "tmpfs", device: "tmpfs" }] },
      'fileSystems[0].mountPoint: expected an absolute path without // and a slash at its end, found the text "data"',
    ],
    [
      "options with a space",
      { fileSystems: [{ mountPoint: "/a", type: "tmpfs", device: "tmpfs", options: ["ro /b"] }] },
      'fileSystems[0].options[0]: expected one word, without spaces, quotes and #, found the text "ro /b"',
    ],
    [
      "an empty command",
      { services: [{ name: "a", command: [] }] },
      "services[0].command: expected a list of at least 1, found an empty list",
    ],
    [
      "a command of two lines",
      { services: [{ name: "a", command: ["/bin/a", "x\nUser=root"] }] },
      'services[0].command[1]: expected one line, found the text "x\\nUser=root"',
    ],
    ["a service that climbs", { services: ["../a"] }, 'services[0]: expected the name of a service, found the text "../a"'],
    [
      "a variable that is none",
      { services: [{ name: "a", command: ["/a"], environment: { "A B": "" } }] },
      'services[0].environment["A B"]: expected the name of a variable, found the text "A B"',
    ],
    [
      "a port that is none",
      { services: [{ name: "a", command: ["/a"], listens: 65_536 }] },
      "services[0].listens: expected a TCP port, found the number 65536",
    ],
    [
      "an address that is none",
      { network: [{ address: { cidr: "10.0.0.256/24" } }] },
      'network[0].address.cidr: expected an address with its prefix: 10.0.2.15/24, found the text "10.0.0.256/24"',
    ],
    [
      "a prefix that is too long",
      { network: [{ address: { cidr: "10.0.0.2/33" } }] },
      'network[0].address.cidr: expected an address with its prefix: 10.0.2.15/24, found the text "10.0.0.2/33"',
    ],
    [
      "an interface for a command",
      { network: [{ interface: "eth0;reboot", address: "dhcp" }] },
      'network[0].interface: expected the name of an interface, or "*", found the text "eth0;reboot"',
    ],
    [
      "a name for a name server",
      { nameServers: ["dns"] },
      'nameServers[0]: expected an IPv4 or IPv6 address, found the text "dns"',
    ],
    [
      "half an address",
      { nameServers: ["2001:db8:::1"] },
      'nameServers[0]: expected an IPv4 or IPv6 address, found the text "2001:db8:::1"',
    ],
    [
      "a secret at the root",
      { secrets: [{ name: "a", path: "/" }] },
      'secrets[0].path: expected the path of a file, found the text "/"',
    ],
    [
      "set-id bits",
      { etc: { motd: { text: "", mode: 0o4755 } } },
      "etc.motd.mode: expected permission bits: 0o600, found the number 2541",
    ],
    [
      "a file outside etc",
      { etc: { "../root/x": "" } },
      'etc["../root/x"]: expected a path below /etc, without . and .., found the text "../root/x"',
    ],
    [
      "a kernel parameter with a space",
      { kernelParameters: ["a b"] },
      'kernelParameters[0]: expected one kernel parameter, without spaces, found the text "a b"',
    ],
    [
      "a module that is a path",
      { rootModules: ["../ext4"] },
      'rootModules[0]: expected the name of a kernel module, found the text "../ext4"',
    ],
    [
      "a size without a unit",
      { disk: { root: "big" } },
      'disk.root: expected a size such as "512M" or "2G", found the text "big"',
    ],
    [
      "a label that ext4 cuts off",
      { disk: { rootLabel: "seventeen-letters" } },
      'disk.rootLabel: expected 1 to 16 letters, digits, - and _, found the text "seventeen-letters"',
    ],
    ["an init that is none", { init: "openrc" }, 'init: expected "systemd" or "busybox" or "rc", found the text "openrc"'],
    ["an init of nothing", { init: { exec: "/" } }, 'init.exec: expected the path of a file, found the text "/"'],
    [
      "a repository without trust",
      { install: [{ repository: { kind: "remote-repository", url: "/x" }, packages: ["a"] }] },
      "install[0].repository.trust: expected a value: the field is required, found nothing",
    ],
    [
      "nothing to install",
      { install: [{ repository: { kind: "repository" }, packages: [] }] },
      "install[0].packages: expected a list of at least 1, found an empty list",
    ],
    ["a recipe that is none", { packages: ["hello"] }, 'packages[0]: expected a recipe, found the text "hello"'],
  ];
  for (const [what, more, message] of cases) test(what, () => expect(messageOf(more)).toEqual(message));

  test("nothing at all", () => expect(refused(undefined)[0]).toBe("system: expected an object, found nothing"));
});

describe("fields that do not go together", () => {
  const kernel = SLICES.kernel;
  const service = (name: string, more: object = {}): object => ({ name, command: ["/bin/x"], ...more });
  const cases: readonly (readonly [string, object, string])[] = [
    [
      "a runtime slice for a kernel",
      { kernel: SLICES.base[0] },
      'kernel: expected a slice with the role kernel, found the text "runtime"',
    ],
    ["a kernel for a loader", { bootloader: kernel }, 'bootloader: expected a slice with the role boot, found the text "kernel"'],
    [
      "a base without a runtime",
      { base: [kernel] },
      'base: expected a slice with the role runtime among them, found the text "kernel"',
    ],
    [
      "a slice twice",
      { base: [...SLICES.base, ...SLICES.base] },
      'base[1]: expected each slice once, found the text "guest-runtime"',
    ],
    [
      "a development slice at run time",
      { base: [...SLICES.base, DEVELOPMENT] },
      'base[1]: expected no development slice: it belongs into `development`, found the text "development"',
    ],
    [
      "a runtime slice in development",
      { development: SLICES.base },
      'development[0]: expected a slice with the role development, found the text "runtime"',
    ],
    [
      "a user twice",
      { users: [{ name: "a" }, { name: "a" }] },
      'users[1].name: expected a name of its own: another user has this name, found the text "a"',
    ],
    [
      "a number twice",
      {
        users: [
          { name: "a", uid: 7 },
          { name: "b", uid: 7 },
        ],
      },
      "users[1].uid: expected a uid of its own: another user has this number, found the number 7",
    ],
    [
      "two file systems on one mount point",
      { fileSystems: ["tmpfs", "ext4"].map((type) => ({ mountPoint: "/a", type, device: "x" })) },
      'fileSystems[1].mountPoint: expected a mountPoint of its own: another file system is mounted there, found the text "/a"',
    ],
    [
      "a file system from nowhere",
      { fileSystems: [{ mountPoint: "/a", type: "ext4" }] },
      "fileSystems[0]: expected either a label or a device, found nothing",
    ],
    [
      "a file system from two places",
      { fileSystems: [{ mountPoint: "/a", type: "ext4", label: "a", device: "b" }] },
      'fileSystems[0]: expected either a label or a device, found the text "both"',
    ],
    [
      "a root of another kind",
      { fileSystems: [{ mountPoint: "/", type: "xfs", label: "r" }] },
      'fileSystems[0].type: expected "ext4" for the root of an image, found the text "xfs"',
    ],
    [
      "two secrets at one place",
      { secrets: ["a", "b"].map((name) => ({ name, path: "/x" })) },
      'secrets[1].path: expected a path of its own: another secret is put there, found the text "/x"',
    ],
    [
      "after a service that is none",
      { services: [service("a", { after: ["b"] })] },
      'services[0].after[0]: expected one of the services: a, found the text "b"',
    ],
    [
      "services in a circle",
      { services: [service("a", { after: ["c"] }), service("b", { after: ["a"] }), service("c", { after: ["b"] })] },
      'services[0].after: expected no circle, found the text "a after c after b after a"',
    ],
    [
      "a service after itself",
      { services: [service("a", { after: ["a"] })] },
      'services[0].after: expected no circle, found the text "a after a"',
    ],
    [
      "a relative command",
      { services: [{ name: "a", command: ["x"] }] },
      'services[0].command[0]: expected an absolute path, found the text "x"',
    ],
    [
      "a one-shot that never ends",
      { services: [service("a", { oneShot: true, restart: "always" })] },
      'services[0].restart: expected never or on-failure for a one-shot, found the text "always"',
    ],
    [
      "ready when nobody is",
      { readiness: ["a"] },
      'readiness[0]: expected one of the services: there are none, found the text "a"',
    ],
    [
      "a password that no secret holds",
      { users: [{ name: "a", passwordSecret: "p" }], secrets: [{ name: "q" }] },
      'users[0].passwordSecret: expected one of the secrets: q, found the text "p"',
    ],
    ["rc on Linux", { init: "rc" }, 'init: expected "systemd" or "busybox" or { exec } on linux, found the text "rc"'],
    [
      "systemd on FreeBSD",
      { family: "freebsd", init: "systemd" },
      'init: expected "rc" or { exec } on freebsd, found the text "systemd"',
    ],
    [
      "a service that busybox cannot enable",
      { init: "busybox", services: ["cron"] },
      "services[0].command: expected a command: busybox enables no services that others bring, found nothing",
    ],
    [
      "a user for a service that is only enabled",
      { services: [{ name: "cron", user: "alice" }] },
      'services[0].user: expected nothing: without a command a service is enabled as it is, found the text "alice"',
    ],
    [
      "the type of a unit in its name",
      { services: [service("a.service")] },
      'services[0].name: expected the name without .service, found the text "a.service"',
    ],
    [
      "services of a process 1 that knows none",
      { init: { exec: "/usr/bin/x" }, services: ["cron"] },
      "services: expected none: process 1 is a program of yours, which starts what it likes, found a list of 1",
    ],
    [
      "loader.conf on Linux",
      { loaderSettings: { a: "b" } },
      'loaderSettings: expected nothing: linux has no such thing, found the text "loaderSettings"',
    ],
    [
      "kernel parameters on FreeBSD",
      { family: "freebsd", kernelParameters: [] },
      'kernelParameters: expected nothing: freebsd has no such thing, found the text "kernelParameters"',
    ],
    [
      "a disk smaller than its partitions",
      { disk: { size: "512M", root: "480M", esp: "32M" } },
      'disk.size: expected more than the partitions together (536870912 bytes), found the text "536870912 bytes"',
    ],
  ];
  for (const [what, more, message] of cases) test(what, () => expect(messageOf(more)).toBe(message));
});

describe("a text that looks like a secret", () => {
  const places: readonly (readonly [string, object])[] = [
    ['etc["a/key"]', { etc: { "a/key": PEM } }],
    ['etc["a/key"].text', { etc: { "a/key": { text: PEM } } }],
    [
      "services[0].environment.TOKEN",
      { services: [{ name: "a", command: ["/a"], environment: { TOKEN: `ghp_${"a".repeat(36)}` } }] },
    ],
    ["services[0].command[1]", { services: [{ name: "a", command: ["/a", "https://me:hunter2@example.org/"] }] }],
    ["services[0].prepare[0][1]", { services: [{ name: "a", command: ["/a"], prepare: [["/b", `glpat-${"a".repeat(20)}`]] }] }],
    ["kernelParameters[0]", { kernelParameters: ["url=https://me:hunter2@example.org/"] }],
  ];
  for (const [field, more] of places) {
    test(`is refused in ${field}, and not shown`, () => {
      const [message, hint] = refused({ ...MINIMAL, ...more });
      expect(message).toStartWith(`${field}: expected text that everybody may read, found the text "a`);
      expect(message).not.toMatch(/hunter2|aaaa|b3Blbn/);
      expect(hint).toContain("`secrets`, which are by reference");
    });
  }
});

describe("public keys", () => {
  const rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAB";
  const fine = [
    KEY,
    rsa,
    `restrict ${rsa}`,
    `no-X11-forwarding,no-pty ${rsa} me`,
    `command="echo \\"hi\\" there",from="10.0.0.1" ${rsa}`,
  ];
  fine.push(`restrict,command="/usr/bin/x y" ${rsa}`, "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2g= a b c");
  fine.push("ecdsa-sha2-nistp256 AAAAE2VjZHNh");
  for (const key of fine)
    test(key, () => expect(specOf({ users: [{ name: "a", authorizedKeys: [key] }] }).users[0]?.authorizedKeys).toEqual([key]));

  for (const key of ["", PEM, "AAAA", "ssh-dss AAAA", `command="x ${rsa}`, `${rsa}\n${rsa}`, `a b ${rsa}`]) {
    test(`none: ${JSON.stringify(key)}`, () =>
      expect(messageOf({ users: [{ name: "a", authorizedKeys: [key] }] })).toContain("expected a public key"));
  }
});

describe("what a declaration leaves out", () => {
  test("of a Linux system", () => {
    expect(specOf()).toEqual({
      name: "sample",
      family: "linux",
      hostName: "sample",
      timeZone: "UTC",
      init: "systemd",
      users: [],
      groups: [],
      fileSystems: [{ mountPoint: "/", type: "ext4", source: { label: "garth-root" }, options: ["rw", "relatime"] }],
      services: [],
      readiness: [],
      network: [{ interface: "*", address: "dhcp" }],
      nameServers: [],
      seed: false,
      secrets: [],
      etc: {},
      console: "ttyS0,115200",
      kernelParameters: [],
      rootModules: ["virtio_pci", "virtio_blk", "ext4"],
      coldplug: true,
      loaderSettings: {},
      rcSettings: {},
      disk: {
        sizeBytes: undefined,
        espBytes: 64 << 20,
        rootBytes: undefined,
        rootFreeBytes: undefined,
        rootLabel: "garth-root",
        espLabel: "efiboot",
      },
    });
  });

  test("of a FreeBSD system", () => {
    const spec = specOf({ family: "freebsd", secrets: [{ name: "s" }], etc: { motd: "" } });
    expect(spec).toMatchObject({
      init: "rc",
      console: "comconsole",
      rootModules: [],
      coldplug: false,
      secrets: [{ group: "wheel" }],
      etc: { motd: { group: "wheel" } },
    });
    expect(spec.fileSystems.map(({ mountPoint, type }) => [mountPoint, type])).toEqual([
      ["/", "ufs"],
      ["/dev", "devfs"],
    ]);
  });

  test("of users, services, secrets and files", () => {
    const spec = specOf({
      users: [{ name: "root" }, { name: "alice" }],
      services: ["cron", { name: "once", command: ["/x"], oneShot: true }],
      secrets: [{ name: "token" }],
      etc: { motd: "hi" },
      disk: { size: "2G", root: "1G", rootFree: "10M", rootLabel: "other" },
    });
    expect(spec.users.map(({ home, shell, uid }) => [home, shell, uid])).toEqual([
      ["/root", "/bin/sh", undefined],
      ["/home/alice", "/bin/sh", undefined],
    ]);
    expect(spec.services.map(({ restart, user, command }) => [restart, user, command])).toEqual([
      ["always", "root", undefined],
      ["never", "root", ["/x"]],
    ]);
    expect(spec.readiness).toEqual(["cron", "once"]);
    expect(spec.secrets).toEqual([{ name: "token", path: "/run/secrets/token", user: "root", group: "root", mode: 0o400 }]);
    expect(spec.etc).toEqual({ motd: { text: "hi", mode: 0o644, user: "root", group: "root" } });
    expect(spec.disk).toMatchObject({ sizeBytes: 2 ** 31, rootBytes: 2 ** 30, rootFreeBytes: 10 << 20 });
    expect(spec.fileSystems[0]?.source).toEqual({ label: "other" });
  });

  test("a root that is given replaces the usual one, and others are added", () => {
    const root = { mountPoint: "/", type: "ext4", label: "mine", options: ["ro"] } as const;
    const spec = specOf({ fileSystems: [{ mountPoint: "/data", type: "xfs", device: "/dev/vdb1" }, root] });
    expect(spec.fileSystems).toEqual([
      { mountPoint: "/data", type: "xfs", source: { device: "/dev/vdb1" }, options: [] },
      { mountPoint: "/", type: "ext4", source: { label: "mine" }, options: ["ro"] },
    ]);
  });

  test("a directory with a repository lies beside the project file, an address is an address", () => {
    const trust = { publicKey: "PEM" };
    const from = (url: string): unknown => {
      const options: SystemOptions = {
        ...FULL,
        install: [{ repository: { kind: "remote-repository", url, trust }, packages: ["a"] }],
      };
      const repository = system(options).install[0]?.repository;
      return repository?.kind === "remote-repository" ? repository.url : repository;
    };
    expect([from("../packages"), from("/srv/p"), from("https://example.org/p")]).toEqual([
      `${dirname(import.meta.dir)}/packages`,
      "/srv/p",
      "https://example.org/p",
    ]);
  });

  test("a slice of another world may be a base", () => {
    const other = slice(world({ name: "other", directory: "/o" }), { role: "runtime" });
    expect(system({ ...MINIMAL, base: [...SLICES.base, other] }).base).toHaveLength(2);
  });
});
