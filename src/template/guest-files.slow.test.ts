/**
 * garth-seed in guests that are namespaces: a root of their own, an interface with the seed's address, and the tools of Debian, or
 * busybox alone. Needs root, as in a guest.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { CLOUD_FILES, SEED_FILES } from "./guest-files.ts";

const scratch = fs.mkdtempSync(join(tmpdir(), "garth-seeded-"));
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));

function textAt(path: string): string {
  const found = [...CLOUD_FILES, ...SEED_FILES].find((file) => file.path === path)?.content;
  if (found === undefined || !("text" in found)) throw new Error(`no text at ${path}`);
  return found.text;
}
const SCRIPT = textAt("/usr/local/sbin/garth-seed");

const MAC = "52:54:00:0a:4d:32";
const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKj0lF6sDkMpHl0ZbYB6l6mC4YvYgYB8uq3zr0eQ4kzE somebody's pool";
const HOST_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nnot looked at\n-----END OPENSSH PRIVATE KEY-----\n";
const PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGuest";
const ENVIRONMENT: Readonly<Record<string, string>> = {
  INSTANCE_ID: "first",
  HOSTNAME: "debian-12-17",
  ADDRESS: "10.77.0.50",
  PREFIX_LENGTH: "24",
  GATEWAY: "10.77.0.1",
  NAME_SERVERS: "10.77.0.3 9.9.9.9",
  MAC,
  USER: "agent",
  HOST_PUBLIC_KEY: PUBLIC,
  HOST_KEY_BASE64: Buffer.from(HOST_KEY).toString("base64"),
};

type Tools = "debian" | "busybox";

interface Guest {
  readonly root: string;
  read(path: string): string | undefined;
  mode(path: string): string | undefined;
  write(path: string, text: string): void;
  /** Runs garth-seed with the seed in a directory; what it said, and what became of the interface and the name. */
  seed(change?: Readonly<Record<string, string | undefined>>): {
    readonly status: number | null;
    readonly stdout: string;
    readonly stderr: string;
    readonly hostname: string;
    readonly addresses: readonly string[];
    readonly route: string;
  };
}

/** A root as a guest has it before its first start. */
function guest(tools: Tools, files: Readonly<Record<string, string>> = {}): Guest {
  const root = fs.mkdtempSync(join(scratch, "root-"));
  const write = (path: string, text: string): void => {
    fs.mkdirSync(dirname(join(root, path)), { recursive: true });
    fs.writeFileSync(join(root, path), text);
  };
  for (const name of ["dev", "etc/ssh", "home/agent", "proc", "root", "run", "sys", "tmp", "usr", "var/lib"])
    fs.mkdirSync(join(root, name), { recursive: true });
  write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nagent:x:1000:1000::/home/agent:/bin/sh\n");
  write("etc/group", "root:x:0:\nagent:x:1000:\n");
  write("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 golden\n");
  write("etc/ssh/ssh_host_rsa_key", "of the image");
  write("etc/ssh/ssh_host_ed25519_key", "of the image");
  write("garth-seed", SCRIPT);
  for (const [path, text] of Object.entries(files)) write(path, text);
  if (tools === "debian") for (const name of ["bin", "lib", "lib64", "sbin"]) fs.symlinkSync(`usr/${name}`, join(root, name));
  else {
    fs.mkdirSync(join(root, "bin"));
    fs.copyFileSync("/bin/busybox", join(root, "bin/busybox"));
    // What a small system has by its own name; the rest it has to find in busybox.
    for (const name of ["sh", "cat", "mkdir", "chmod", "rm", "mv", "rmdir"]) fs.symlinkSync("busybox", join(root, "bin", name));
  }
  const setUp = `set -eu
mount --make-rprivate /
${tools === "debian" ? `mount --bind -o ro /usr "$0/usr"` : ":"}
mount -t proc proc "$0/proc"
mount -t sysfs sysfs "$0/sys"
: >"$0/dev/null"
mount --bind /dev/null "$0/dev/null"
ip link add guest0 address ${MAC} type veth peer name other0
ip link set other0 up
ip addr add 192.0.2.7/24 dev guest0
ip addr add 2001:db8::7/64 dev guest0
set +e
chroot "$0" /bin/sh /garth-seed /seed
{
  echo "status=$?"
  echo "hostname=$(cat /proc/sys/kernel/hostname)"
  ip -o addr show dev guest0 scope global | sed 's/^.*inet6* \\([^ ]*\\) .*$/address=\\1/'
  echo "route=$(ip -4 route show default)"
} >"$0/facts"
`;
  return {
    root,
    read: (path) => (fs.existsSync(join(root, path)) ? fs.readFileSync(join(root, path), "utf8") : undefined),
    mode: (path) => {
      const stat = fs.statSync(join(root, path), { throwIfNoEntry: false });
      return stat && `${(stat.mode & 0o777).toString(8)} ${stat.uid}:${stat.gid}`;
    },
    write,
    seed: (change = {}) => {
      const values = Object.entries({ ...ENVIRONMENT, ...change }).flatMap(([key, value]) =>
        value === undefined ? [] : [`COPPICE_${key}='${value}'\n`],
      );
      write("seed/coppice-instance.env", values.join(""));
      write("facts", "");
      write("seed/coppice-authorized-key.pub", `${KEY}\n`);
      const words = ["--mount", "--net", "--uts", "--pid", "--fork", "sh", "-c", setUp, root];
      const ran = spawnSync("unshare", words, { encoding: "utf8", timeout: 60_000 });
      const facts = fs.readFileSync(join(root, "facts"), "utf8").split("\n");
      const fact = (name: string): readonly string[] =>
        facts.flatMap((line) => (line.startsWith(`${name}=`) ? [line.slice(name.length + 1).trim()] : []));
      const status = fact("status")[0];
      if (status === undefined) throw new Error(`the guest was not set up: ${ran.stderr}`);
      return {
        status: Number(status),
        stdout: ran.stdout,
        stderr: ran.stderr,
        hostname: fact("hostname")[0] ?? "",
        addresses: fact("address"),
        route: fact("route")[0] ?? "",
      };
    },
  };
}

const SYSTEMD = { "run/systemd/system/.keep": "" };
const enabled = (unit: string) => ({ [`etc/systemd/system/multi-user.target.wants/${unit}`]: "" });

test("both shells and shellcheck take the script, systemd takes the unit, cloud-init the settings", () => {
  const file = join(scratch, "garth-seed");
  fs.writeFileSync(file, SCRIPT, { mode: 0o755 });
  expect(spawnSync("shellcheck", ["-s", "sh", file], { encoding: "utf8" }).stdout).toBe("");
  for (const [shell, ...words] of [
    ["dash", "-n"],
    ["bash", "--posix", "-n"],
    ["busybox", "sh", "-n"],
  ] as const)
    expect(spawnSync(shell, [...words, file], { encoding: "utf8" })).toMatchObject({ status: 0, stderr: "" });
  const unit = join(scratch, "garth-seed.service");
  fs.writeFileSync(unit, textAt("/etc/systemd/system/garth-seed.service").replace("/usr/local/sbin/garth-seed", file));
  const verified = spawnSync("systemd-analyze", ["verify", unit], { encoding: "utf8" });
  expect([verified.status, verified.stderr.split("\n").filter((line) => line.includes("garth-seed"))]).toEqual([0, []]);
  const settings = join(scratch, "90.cfg");
  fs.writeFileSync(settings, textAt("/etc/cloud/cloud.cfg.d/90_garth_nocloud.cfg"));
  const read = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
  expect(JSON.parse(execFileSync("python3", ["-c", read, settings], { encoding: "utf8" }))).toEqual({
    datasource_list: ["NoCloud", "None"],
    datasource: { NoCloud: { fs_label: "CIDATA" } },
  });
});

describe.each<Tools>(["debian", "busybox"])("a guest with the tools of %s", (tools) => {
  test("becomes who its seed says, where nobody else manages its network", () => {
    const machine = guest(tools);
    const seeded = machine.seed();
    expect(seeded).toEqual({
      status: 0,
      stdout: "garth-seed: debian-12-17 is 10.77.0.50/24, its network is kept by nobody\n",
      stderr: "",
      hostname: "debian-12-17",
      // What it had is gone; what is of the other kind is nobody's business.
      addresses: ["10.77.0.50/24", "2001:db8::7/64"],
      route: "default via 10.77.0.1 dev guest0",
    });
    expect(machine.read("etc/hostname")).toBe("debian-12-17\n");
    expect(machine.read("etc/hosts")).toBe("127.0.0.1 localhost\n127.0.1.1 debian-12-17\n");
    expect(machine.read("etc/resolv.conf")).toBe("nameserver 10.77.0.3\nnameserver 9.9.9.9\n");
    expect(machine.read("etc/ssh/ssh_host_ed25519_key")).toBe(HOST_KEY);
    expect(machine.mode("etc/ssh/ssh_host_ed25519_key")).toBe("600 0:0");
    expect(machine.read("etc/ssh/ssh_host_ed25519_key.pub")).toBe(`${PUBLIC}\n`);
    expect(machine.read("etc/ssh/ssh_host_rsa_key")).toBeUndefined();
    for (const [home, owner] of [
      ["root", "0:0"],
      ["home/agent", "1000:1000"],
    ] as const) {
      expect(machine.read(`${home}/.ssh/authorized_keys`)).toBe(`${KEY}\n`);
      expect([machine.mode(`${home}/.ssh`), machine.mode(`${home}/.ssh/authorized_keys`)]).toEqual([
        `700 ${owner}`,
        `600 ${owner}`,
      ]);
    }
    // The seed is nobody's.
    expect(machine.mode("run/garth-seed")).toBe("700 0:0");
  });

  test("is left what it made of itself at its next start, and is somebody else with another seed", () => {
    const machine = guest(tools);
    machine.seed();
    machine.write("etc/ssh/ssh_host_ed25519_key", "its own");
    machine.write("root/.ssh/authorized_keys", "somebody else's\n");
    machine.write("etc/resolv.conf", "nameserver 192.0.2.1\n");
    const again = machine.seed();
    // What is not kept on the disk is set at each start.
    expect([again.status, again.hostname, again.addresses]).toEqual([0, "debian-12-17", ["10.77.0.50/24", "2001:db8::7/64"]]);
    expect(machine.read("etc/ssh/ssh_host_ed25519_key")).toBe("its own");
    expect(machine.read("root/.ssh/authorized_keys")).toBe("somebody else's\n");
    expect(machine.read("etc/resolv.conf")).toBe("nameserver 192.0.2.1\n");
    const other = machine.seed({ INSTANCE_ID: "second", HOSTNAME: "other", ADDRESS: "10.77.0.51" });
    expect([other.hostname, other.addresses]).toEqual(["other", ["10.77.0.51/24", "2001:db8::7/64"]]);
    expect(machine.read("etc/ssh/ssh_host_ed25519_key")).toBe(HOST_KEY);
    expect(machine.read("root/.ssh/authorized_keys")).toBe(`somebody else's\n${KEY}\n`);
    expect(machine.read("etc/hosts")).toBe("127.0.0.1 localhost\n127.0.1.1 other\n");
  });

  test("with half a seed changes nothing, and says why", () => {
    const machine = guest(tools);
    const seeded = machine.seed({ ADDRESS: undefined });
    expect([seeded.status, seeded.addresses]).toEqual([1, ["192.0.2.7/24", "2001:db8::7/64"]]);
    expect(seeded.stderr).toContain("garth-seed: the seed says too little");
    expect(machine.read("etc/ssh/ssh_host_ed25519_key")).toBe("of the image");
    // A value is never executed.
    const sly = machine.seed({ HOSTNAME: "$(touch /tmp/sly)", ADDRESS: "`touch /tmp/sly`" });
    expect([sly.status, machine.read("tmp/sly")]).toEqual([1, undefined]);
    expect(sly.stderr).toContain("garth-seed: COPPICE_HOSTNAME has a value that cannot be used");
  });

  test("without the interface is named all the same, and tries again at its next start", () => {
    const machine = guest(tools);
    const seeded = machine.seed({ MAC: "52:54:00:00:00:01" });
    expect([seeded.status, seeded.hostname, seeded.addresses]).toEqual([1, "debian-12-17", ["192.0.2.7/24", "2001:db8::7/64"]]);
    expect(seeded.stderr).toContain("no interface has the address 52:54:00:00:00:01");
    expect(machine.seed()).toMatchObject({ status: 0, addresses: ["10.77.0.50/24", "2001:db8::7/64"] });
  });
});

describe("whoever manages the network is told:", () => {
  test("networkd, before any other file of its", () => {
    const machine = guest("debian", { ...SYSTEMD, ...enabled("systemd-networkd.service") });
    const seeded = machine.seed();
    expect(seeded).toMatchObject({
      status: 0,
      addresses: ["192.0.2.7/24", "2001:db8::7/64"],
      stdout: expect.stringContaining("kept by networkd"),
    });
    expect(machine.read("etc/systemd/network/05-garth-seed.network")).toBe(
      `[Match]\nMACAddress=${MAC}\n\n[Network]\nAddress=10.77.0.50/24\nGateway=10.77.0.1\nDNS=10.77.0.3\nDNS=9.9.9.9\n`,
    );
    expect(machine.read("etc/resolv.conf")).toBe("nameserver 10.77.0.3\nnameserver 9.9.9.9\n");
  });

  test("resolved, where it is asked for names", () => {
    const units = { ...enabled("systemd-networkd.service"), ...enabled("systemd-resolved.service") };
    const machine = guest("debian", { ...SYSTEMD, ...units });
    fs.symlinkSync("../run/systemd/resolve/stub-resolv.conf", join(machine.root, "etc/resolv.conf"));
    expect(machine.seed().status).toBe(0);
    expect(machine.read("etc/systemd/resolved.conf.d/garth-seed.conf")).toBe("[Resolve]\nDNS=10.77.0.3 9.9.9.9\n");
    expect(fs.readlinkSync(join(machine.root, "etc/resolv.conf"))).toBe("../run/systemd/resolve/stub-resolv.conf");
  });

  test("NetworkManager, by a file that is root's alone", () => {
    const machine = guest("debian", {
      ...SYSTEMD,
      ...enabled("NetworkManager.service"),
      "etc/NetworkManager/system-connections/.keep": "",
    });
    expect(machine.seed()).toMatchObject({ status: 0, stdout: expect.stringContaining("kept by NetworkManager") });
    const file = "etc/NetworkManager/system-connections/garth-seed.nmconnection";
    expect(machine.read(file)).toContain(`mac-address=${MAC}`);
    expect(machine.read(file)).toContain("address1=10.77.0.50/24,10.77.0.1\ndns=10.77.0.3;9.9.9.9;\n");
    expect(machine.mode(file)).toBe("600 0:0");
  });

  test("ifupdown, in place of what would ask for an address", () => {
    const dhcp = "auto guest0\niface guest0 inet dhcp\n";
    const machine = guest("debian", { ...SYSTEMD, ...enabled("networking.service"), "etc/network/interfaces": dhcp });
    expect(machine.seed()).toMatchObject({ status: 0, stdout: expect.stringContaining("kept by ifupdown") });
    expect(machine.read("etc/network/interfaces")).toBe(
      "auto lo\niface lo inet loopback\n\nauto guest0\niface guest0 inet static\n    address 10.77.0.50/24\n    gateway 10.77.0.1\n    dns-nameservers 10.77.0.3 9.9.9.9\n",
    );
    expect(machine.read("etc/network/interfaces.before-garth-seed")).toBe(dhcp);
  });

  test("networkd where netplan has written for it, which enables nothing", () => {
    const machine = guest("debian", { ...SYSTEMD, "run/systemd/network/10-netplan-all-en.network": "[Match]\nName=en*\n" });
    expect(machine.seed()).toMatchObject({ status: 0, stdout: expect.stringContaining("kept by networkd") });
    expect(machine.read("etc/systemd/network/05-garth-seed.network")).toContain("Address=10.77.0.50/24");
  });

  test("not a manager that is masked", () => {
    const machine = guest("debian", { ...SYSTEMD, ...enabled("systemd-networkd.service") });
    fs.symlinkSync("/dev/null", join(machine.root, "etc/systemd/system/systemd-networkd.service"));
    expect(machine.seed()).toMatchObject({ status: 0, addresses: ["10.77.0.50/24", "2001:db8::7/64"] });
  });
});

describe("cloud-init", () => {
  const cloud = (instance: string, address: string) => ({
    ...SYSTEMD,
    ...enabled("systemd-networkd.service"),
    "run/cloud-init/.keep": "",
    "var/lib/cloud/data/instance-id": `${instance}\n`,
    "etc/systemd/network/10-cloud-init-eth0.network": `[Network]\nAddress=${address}/24\n`,
  });

  test("that read this seed keeps the network", () => {
    const machine = guest("debian", cloud("first", "10.77.0.50"));
    expect(machine.seed()).toMatchObject({ status: 0, stdout: expect.stringContaining("kept by cloud-init") });
    expect(machine.read("etc/systemd/network/05-garth-seed.network")).toBeUndefined();
    expect(machine.read("etc/ssh/ssh_host_ed25519_key")).toBe(HOST_KEY);
  });

  test("that added it to a seed of the image's own does, too", () => {
    const machine = guest("debian", {
      ...cloud("of-the-image", "10.77.0.50"),
      "etc/netplan/50-cloud-init.yaml": `addresses: [10.77.0.50/24]\nmatch: { macaddress: "${MAC.toUpperCase()}" }\n`,
    });
    expect(machine.seed()).toMatchObject({ status: 0, stdout: expect.stringContaining("kept by cloud-init") });
  });

  test.each([
    ["read another", cloud("golden", "10.77.0.50")],
    ["wrote an address that ours only begins with", cloud("first", "10.77.0.501")],
    ["fell back to asking for an address", cloud("first", "10.77.0.99")],
  ])("that %s does not", (_what, files) => {
    const machine = guest("debian", files);
    expect(machine.seed()).toMatchObject({ status: 0, stdout: expect.stringContaining("kept by networkd") });
    expect(machine.read("etc/systemd/network/05-garth-seed.network")).toContain("Address=10.77.0.50/24");
  });
});

test("a user that is not there is made, and a host key that was not given, too", () => {
  const machine = guest("debian", { "etc/shadow": "root:*:19000::::::\n", "etc/login.defs": "" });
  const { status, stderr } = machine.seed({ USER: "newcomer", HOST_KEY_BASE64: undefined, HOST_PUBLIC_KEY: undefined });
  expect([status, stderr]).toEqual([0, ""]);
  expect(machine.read("etc/passwd")).toMatch(/^newcomer:x:1001:/m);
  expect(machine.read("etc/shadow")).toMatch(/^newcomer:\*:/m);
  expect(machine.read("home/newcomer/.ssh/authorized_keys")).toBe(`${KEY}\n`);
  expect(machine.read("etc/ssh/ssh_host_ed25519_key.pub")).toMatch(/^ssh-ed25519 /);
  expect(machine.read("etc/ssh/ssh_host_rsa_key")).toBeUndefined();
});

test("without a seed nothing happens", () => {
  const machine = guest("busybox");
  const words = ["--mount", "--uts", "--net", "chroot", machine.root, "/bin/sh", "/garth-seed"];
  const ran = spawnSync("unshare", words, { encoding: "utf8", timeout: 30_000 });
  expect([ran.status, ran.stdout]).toEqual([0, ""]);
  expect(machine.read("etc/ssh/ssh_host_ed25519_key")).toBe("of the image");
});
