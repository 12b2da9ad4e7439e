/** Seed disks, against Debian's cloud-init: what it takes for sound, what it makes of the network, and what it does with keys. */
import { afterAll, describe, expect, test } from "bun:test";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type SeedFields, seedFiles } from "./seed.ts";
import { SEED, SEED_PRIVATE_KEY } from "./seed.testing.ts";

const scratch = mkdtempSync(join(tmpdir(), "garth-seed-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const MAC = SEED.mac.toLowerCase();
const { hostKey: _, ...keyless } = SEED;

function fileOf(name: string, fields: SeedFields = SEED): string {
  const path = join(scratch, name);
  writeFileSync(path, seedFiles(fields).find((one) => one.name === name)?.text ?? "");
  return path;
}

test.each<readonly [string, SeedFields]>([
  ["a user's", SEED],
  ["root's", { ...SEED, user: "root" }],
  ["one without a host key", keyless],
])("cloud-init finds nothing wrong with user-data: %s", (_what, fields) => {
  const checked = spawnSync("cloud-init", ["schema", "--config-file", fileOf("user-data", fields)], { encoding: "utf8" });
  expect([checked.status, checked.stdout.trim(), checked.stderr]).toEqual([
    0,
    expect.stringMatching(/^Valid cloud-config: /),
    "",
  ]);
});

test("cloud-init reads the same values", () => {
  const script = "import json, sys, yaml; print(json.dumps([yaml.safe_load(open(path)) for path in sys.argv[1:]]))";
  const read: unknown = JSON.parse(
    execFileSync("python3", ["-c", script, fileOf("meta-data"), fileOf("user-data"), fileOf("network-config")], {
      encoding: "utf8",
    }),
  );
  expect(read).toMatchObject([
    { "instance-id": "debian-12-17", "local-hostname": "debian-12-17" },
    {
      hostname: "debian-12-17",
      disable_root: false,
      users: ["default", { name: "agent", ssh_authorized_keys: [SEED.authorizedKey] }],
      ssh_authorized_keys: [SEED.authorizedKey],
      ssh_keys: { ed25519_private: SEED_PRIVATE_KEY, ed25519_public: SEED.hostKey?.publicKey },
      growpart: { mode: "off" },
    },
    { version: 1 },
  ]);
});

/** What cloud-init writes for whoever manages the network, by path. */
function rendered(renderer: string, distribution: string): Readonly<Record<string, string>> {
  const directory = mkdtempSync(join(scratch, "net-"));
  const words = ["devel", "net-convert", "--network-data", fileOf("network-config"), "--kind", "yaml", "--directory", directory];
  // The guest's interface has a name that nobody knew.
  execFileSync("cloud-init", [...words, "--output-kind", renderer, "--distro", distribution, "--mac", `enp0s3,${MAC}`], {
    stdio: "ignore",
  });
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
  return Object.fromEntries(
    files.map((one) => [
      join(one.parentPath, one.name).slice(directory.length),
      readFileSync(join(one.parentPath, one.name), "utf8"),
    ]),
  );
}

describe("the network is found by its address, whoever manages it:", () => {
  test("ifupdown", () => {
    const files = rendered("eni", "debian");
    expect(files["/etc/network/interfaces.d/50-cloud-init"]).toContain(
      "auto eth0\niface eth0 inet static\n    address 10.77.0.50/24\n    dns-nameservers 10.77.0.3 9.9.9.9\n    gateway 10.77.0.1\n",
    );
    expect(files["/etc/udev/rules.d/70-persistent-net.rules"]).toContain(`ATTR{address}=="${MAC}", NAME="eth0"`);
  });

  test("networkd", () => {
    const { "/etc/systemd/network/10-cloud-init-eth0.network": text = "" } = rendered("networkd", "debian");
    for (const line of [`MACAddress=${MAC}`, "Address=10.77.0.50/24", "Gateway=10.77.0.1", "DNS=10.77.0.3 9.9.9.9", "DHCP=no"])
      expect(text.split("\n")).toContain(line);
  });

  test("netplan", () => {
    const { "/etc/netplan/50-cloud-init.yaml": text = "" } = rendered("netplan", "debian");
    expect(text.replaceAll("'", "")).toContain(`macaddress: ${MAC}\n`);
    expect(text).toContain("- 10.77.0.50/24");
  });

  test("sysconfig", () => {
    const { "/etc/sysconfig/network-scripts/ifcfg-eth0": text = "" } = rendered("sysconfig", "rhel");
    for (const line of [`HWADDR=${MAC}`, "IPADDR=10.77.0.50", "NETMASK=255.255.255.0", "GATEWAY=10.77.0.1", "DNS2=9.9.9.9"])
      expect(text.split("\n")).toContain(line);
  });
});
