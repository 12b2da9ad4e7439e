/**
 * The systems of examples/templates, booted: through their gates with no seed, and as machines that a seed disk tells who they are, with
 * Debian's own cloud-init, without it, and under a tiny process 1.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { execFileSync, spawnSync } from "node:child_process";
import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { type Garth, openGarth } from "../app/index.ts";
import { isStorePath } from "../base/index.ts";
import { type Firmware, type Machine, waitForSshBanner } from "../machine/index.ts";
import type { ShippedSystem } from "../ship/index.ts";
import { writeSeed } from "./seed.testing.ts";

/** Debian as it is without cloud-init: the files of its package are not in the slice. */
const BARE = `
const without = slice(debian.runtime.world, {
  role: "runtime",
  name: "without-cloud-init",
  prune: [...debian.runtime.prune, "usr/bin/cloud-init", "usr/lib/python3/dist-packages/cloudinit", "usr/lib/cloud-init",
    "usr/lib/systemd/system/cloud-*", "usr/lib/systemd/system-generators/cloud-init-generator", "etc/cloud"],
});
export const bare = system({ ...poolGuest(), name: "bare", kernel: debian.kernel, bootloader: debian.boot, base: [without], disk });
`;

const MINUTES = 60_000;
const MIB = 1 << 20;
const MAC = "52:54:00:0a:4d:32";
const ADDRESS = "10.77.0.50";
const GATEWAY = "10.77.0.1";

let directory = "";
let garth: Garth;

beforeAll(() => {
  directory = mkdtempSync(`${tmpdir()}/garth-templates-`);
  // A copy: where a mirror has no version of the lock any more, the lock is written anew.
  cpSync(new URL("../../examples/templates", import.meta.url).pathname, directory, { recursive: true });
  appendFileSync(`${directory}/garth.ts`, BARE);
  for (const key of ["pool", "host"]) execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", `${directory}/${key}`]);
  garth = openGarth({ root: `${directory}/root`, env: {}, workingDirectory: directory });
});

afterAll(async () => {
  await garth.close();
  garth.host.files.removeTree(`${directory}/root`);
  rmSync(directory, { recursive: true });
}, 2 * MINUTES);

async function ship(only: string, until: "image" | "gate"): Promise<ShippedSystem> {
  const report = await garth
    .ship(() => {})
    .run({
      file: undefined,
      only,
      until,
      jobs: 2,
      keepGoing: false,
      keepFailed: false,
      keyFile: `${directory}/key/repository.pem`,
      onStage: () => {},
    });
  const system = report.systems.find(({ name }) => name === only);
  if (system === undefined) throw new Error(`${only} was not shipped`);
  return system;
}

interface Running extends AsyncDisposable {
  /** Over SSH with the seed's key; a server with another host key than the seed's is refused. */
  readonly ask: (command: string) => string;
  readonly ssh: readonly string[];
  readonly machine: Machine;
}

/** Until its SSH server greets. */
async function booted(system: ShippedSystem, name: string, memoryMib: number, boot: "uefi" | "direct"): Promise<Running> {
  if (system.image === undefined) throw new Error(`${system.name} has no image`);
  const physical = (path: string): string => {
    const item = path.split("/", 4).join("/");
    if (!isStorePath(item)) throw new Error(`${path} is in no item`);
    return `${garth.store.physical(item)}${path.slice(item.length)}`;
  };
  const seed = `${directory}/${name}.seed`;
  const authorizedKey = readFileSync(`${directory}/pool.pub`, "utf8").trim();
  writeSeed(seed, { name, address: ADDRESS, mac: MAC, authorizedKey, hostKeyFile: `${directory}/host` });
  const firmware: Firmware =
    boot === "uefi"
      ? { kind: "uefi" }
      : {
          kind: "direct",
          kernel: physical(system.kernel),
          ...(system.initrd !== undefined && { initrd: physical(system.initrd) }),
          commandLine: system.commandLine,
        };
  const disk = { format: "raw", device: "virtio-blk" } as const;
  const machines = await garth.machines();
  let console = "";
  const machine = await machines.start(
    {
      name,
      system: "x86_64-linux",
      memoryBytes: memoryMib * MIB,
      cpus: 1,
      firmware,
      disks: [
        { ...disk, file: physical(system.image.path), mode: "snapshot" },
        { ...disk, file: seed, mode: "read-only" },
      ],
      network: {
        kind: "user",
        mac: MAC,
        forward: [{ hostPort: 0, guestPort: 22 }],
        isolated: true,
        subnet: { cidr: "10.77.0.0/24", gateway: GATEWAY, guest: ADDRESS },
      },
      display: false,
      credentials: {},
      onReboot: "exit",
      accelerator: "auto",
      channel: "org.qemu.guest_agent.0",
    },
    { onConsole: (chunk) => void (console += Buffer.from(chunk).toString()) },
  );
  const port = machine.port(22);
  const known = `${directory}/${name}.known`;
  writeFileSync(known, `${name} ${readFileSync(`${directory}/host.pub`, "utf8")}`);
  const settings = [
    "BatchMode=yes",
    "ConnectTimeout=60",
    `HostKeyAlias=${name}`,
    "IdentitiesOnly=yes",
    "LogLevel=ERROR",
    "StrictHostKeyChecking=yes",
    `UserKnownHostsFile=${known}`,
  ];
  const options = settings.flatMap((setting) => ["-o", setting]);
  const ssh = ["-F", "none", "-i", `${directory}/pool`, ...options];
  const running: Running = {
    machine,
    ssh: [...ssh, "-p", String(port)],
    ask: (command) => {
      const { status, stdout, stderr } = spawnSync("ssh", [...running.ssh, "root@127.0.0.1", command], { encoding: "utf8" });
      if (status !== 0) throw new Error(`${command}: ${status}\n${stdout}\n${stderr}\n${console.slice(-4000)}`);
      return stdout.trim();
    },
    [Symbol.asyncDispose]: () => machine.stop(),
  };
  try {
    await waitForSshBanner(garth.host, port, { timeoutMs: 4 * MINUTES });
  } catch (error) {
    await machine.stop();
    throw new Error(`${name} did not answer:\n${console.slice(-4000)}`, { cause: error });
  }
  return running;
}

/** Who the machine is, as programs of its own say it; the interface is called as it likes. */
function identity({ ask }: Running): Readonly<Record<string, string>> {
  const lines = ask(
    [
      "uname -n",
      "cat /etc/hostname",
      `busybox ip -4 -o address show | grep -o 'inet ${ADDRESS}/[0-9]*'`,
      "busybox ip route show default | grep -o 'via [0-9.]*'",
      "cat /etc/resolv.conf",
      "cat /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2",
      "echo /etc/ssh/ssh_host_*_key",
    ].join("; "),
  ).split("\n");
  const names = ["name", "kept", "address", "gateway", "servers", "hostKey", "hostKeys"];
  return Object.fromEntries(names.map((name, index) => [name, lines[index] ?? ""]));
}

const whoIs = (name: string) => ({
  name,
  kept: name,
  address: `inet ${ADDRESS}/24`,
  gateway: `via ${GATEWAY}`,
  servers: "nameserver 10.77.0.3",
  hostKey: readFileSync(`${directory}/host.pub`, "utf8").split(" ")[1] ?? "",
  hostKeys: "/etc/ssh/ssh_host_ed25519_key",
});

/** What whoever takes a machine from a pool counts on, whatever its process 1. */
function expectGuest(running: Running): void {
  const { ask, ssh } = running;
  expect(ask("id -un; id user; stat -c '%U %a' /home/user; ls /bin/bash")).toBe(
    "root\nuid=1000(user) gid=1000(user) groups=1000(user)\nuser 755\n/bin/bash",
  );
  expect(ask('python3 -c "print(1+1)"')).toBe("2");
  // A port of the host's by its name, with and without udev; drivers of all that a pool gives.
  expect(ask("test -c /dev/virtio-ports/org.qemu.guest_agent.0 && cut -d' ' -f1 /proc/modules")).toMatch(
    /(?=[\s\S]*^virtio_rng$)(?=[\s\S]*^virtio_net$)(?=[\s\S]*^virtio_blk$)(?=[\s\S]*^virtio_console$)/m,
  );
  const text = `${directory}/sent`;
  writeFileSync(text, "over sftp\n");
  const port = ssh.at(-1) ?? "";
  execFileSync("scp", [...ssh.slice(0, -2), "-P", port, "-s", text, "root@127.0.0.1:/home/user/sent"]);
  expect(ask("cat /home/user/sent")).toBe("over sftp");
  // sshd of itself takes ten sessions on a connection.
  const master = ["-S", `${directory}/control`];
  execFileSync("ssh", [...ssh, ...master, "-M", "-f", "-N", "root@127.0.0.1"]);
  try {
    const sessions = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do ssh $0 \"$@\" 'sleep 3; echo there' & done; wait";
    const said = execFileSync("sh", ["-c", sessions, ...master, ...ssh, "root@127.0.0.1"], { encoding: "utf8" });
    expect(said.trim().split("\n")).toEqual(Array.from({ length: 12 }, () => "there"));
  } finally {
    execFileSync("ssh", [...ssh, ...master, "-O", "exit", "root@127.0.0.1"], { stdio: "ignore" });
  }
  const refused = spawnSync("ssh", [...ssh, "-o", "PubkeyAuthentication=no", "root@127.0.0.1", "true"], { encoding: "utf8" });
  expect(refused.stderr).toContain("Permission denied (publickey)");
}

describe("micro", () => {
  test(
    "passes its gate with no seed, whose address it then asks for",
    async () => {
      const { verdict } = await ship("micro", "gate");
      expect(verdict).toMatch(/-verdict-micro$/);
    },
    8 * MINUTES,
  );

  test(
    "is who its seed says, and serves",
    async () => {
      await using running = await booted(await ship("micro", "image"), "micro-7", 256, "direct");
      expect(identity(running)).toEqual(whoIs("micro-7"));
      expect(running.ask("cat /proc/1/comm; pidof udhcpc || echo nobody asks")).toBe("init\nnobody asks");
      expectGuest(running);
    },
    8 * MINUTES,
  );
});

describe("debian-12", () => {
  test(
    "passes its gate with no seed",
    async () => {
      const { verdict } = await ship("debian12", "gate");
      expect(verdict).toMatch(/-verdict-debian12$/);
    },
    10 * MINUTES,
  );

  test(
    "is who its seed says by cloud-init, which finds nothing wrong and did the network",
    async () => {
      await using running = await booted(await ship("debian12", "image"), "debian-12-7", 512, "uefi");
      expect(running.ask("cloud-init status --wait --long")).toMatch(
        /^status: done$[\s\S]*DataSourceNoCloud \[seed=\/dev\/vdb1\]/m,
      );
      expect(running.ask("cloud-init query -f '{{v1.local_hostname}} {{v1.instance_id}} {{v1.platform}}'")).toBe(
        "debian-12-7 debian-12-7-first nocloud",
      );
      expect(running.ask("grep -cE 'WARN|ERROR|Traceback' /var/log/cloud-init.log || true")).toBe("0");
      expect(running.ask("ls /etc/systemd/network")).toBe("10-cloud-init-eth0.network\n10-garth.network");
      expect(identity(running)).toEqual(whoIs("debian-12-7"));
      expect(running.ask("systemctl --failed --no-legend; systemctl is-active qemu-guest-agent garth-seed")).toBe(
        "active\nactive",
      );
      expectGuest(running);
    },
    10 * MINUTES,
  );

  test(
    "without cloud-init is who its seed says by garth-seed",
    async () => {
      await using running = await booted(await ship("bare", "image"), "bare-7", 512, "direct");
      expect(running.ask("command -v cloud-init || ls /run/cloud-init 2>/dev/null || echo none")).toBe("none");
      expect(identity(running)).toEqual(whoIs("bare-7"));
      expect(running.ask("journalctl --no-pager --quiet -o cat -u garth-seed.service")).toContain(
        "garth-seed: bare-7 is 10.77.0.50/24, its network is kept by networkd",
      );
      expect(running.ask("systemctl --failed --no-legend")).toBe("");
    },
    10 * MINUTES,
  );
});

test(
  "interpreter passes its gate, and with it draws a plot",
  async () => {
    const { verdict } = await ship("interpreter", "gate");
    expect(verdict).toMatch(/-verdict-interpreter$/);
  },
  10 * MINUTES,
);
