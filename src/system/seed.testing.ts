/** A seed disk for tests, made by sfdisk and mtools: what cloud-init and garth-seed each find of one machine. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";

export interface TestSeed {
  readonly name: string;
  readonly address: string;
  readonly mac: string;
  readonly authorizedKey: string;
  /** File of a private key, its public one beside it. */
  readonly hostKeyFile: string;
}

const PARTITION_AT = 32 << 10;
const SECTOR = 512;
const DISK_BYTES = 1 << 20;

/** In the subnet 10.77.0.0/24, whose gateway is .1 and whose name server is .3. */
export function writeSeed(file: string, { name, address, mac, authorizedKey, hostKeyFile }: TestSeed): void {
  const privateKey = readFileSync(hostKeyFile, "utf8");
  const publicKey = readFileSync(`${hostKeyFile}.pub`, "utf8").trim();
  const files: Readonly<Record<string, string>> = {
    "meta-data": `instance-id: ${name}-first\nlocal-hostname: ${name}\n`,
    "user-data": `#cloud-config
hostname: ${name}
disable_root: false
users: [{ name: root, lock_passwd: false }]
ssh_authorized_keys: [${JSON.stringify(authorizedKey)}]
ssh_deletekeys: true
ssh_keys:
  ed25519_private: |
${privateKey.trimEnd().replaceAll(/^/gm, "    ")}
  ed25519_public: ${JSON.stringify(publicKey)}
`,
    "network-config": `version: 1
config:
  - type: physical
    name: eth0
    mac_address: "${mac}"
    subnets: [{ type: static, address: ${address}/24, gateway: 10.77.0.1, dns_nameservers: [10.77.0.3] }]
`,
    "coppice-instance.env": `COPPICE_INSTANCE_ID='${name}-first'
COPPICE_HOSTNAME='${name}'
COPPICE_ADDRESS='${address}'
COPPICE_PREFIX_LENGTH='24'
COPPICE_GATEWAY='10.77.0.1'
COPPICE_NAME_SERVERS='10.77.0.3'
COPPICE_MAC='${mac}'
COPPICE_USER='root'
COPPICE_HOST_PUBLIC_KEY='${publicKey}'
COPPICE_HOST_KEY_BASE64='${Buffer.from(privateKey).toString("base64")}'
`,
    "coppice-authorized-key.pub": `${authorizedKey}\n`,
  };
  const directory = mkdtempSync(`${tmpdir()}/garth-seed-`);
  try {
    writeFileSync(file, new Uint8Array(DISK_BYTES));
    const table = `label: dos\nstart=${PARTITION_AT / SECTOR}, type=1\n`;
    execFileSync("sfdisk", ["--quiet", file], { input: table });
    const disk = `${file}@@${PARTITION_AT}`;
    execFileSync("mformat", ["-i", disk, "-v", "CIDATA", "-T", String((DISK_BYTES - PARTITION_AT) / SECTOR), "::"]);
    for (const [each, text] of Object.entries(files)) {
      writeFileSync(`${directory}/${each}`, text);
      execFileSync("mcopy", ["-i", disk, `${directory}/${each}`, `::${each}`]);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
}
