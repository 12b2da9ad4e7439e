/**
 * The seed disk: tells a machine who it is. A disk with one FAT partition labelled CIDATA that holds exactly
 *
 *     meta-data  user-data  network-config                  for cloud-init (its NoCloud datasource)
 *     coppice-instance.env  coppice-authorized-key.pub      the same in plain text, for garth-seed and whoever else has no cloud-init
 *
 * Made in one pass in memory. The same fields give the same bytes. It holds the machine's private host key: whoever writes it to
 * a file writes it for one user alone.
 */
import { Problem, sha256 } from "../base/index.ts";
import { MBR_TYPE, mbrSector, planFat } from "../formats/index.ts";

export interface SeedFields {
  /** New for each machine: cloud-init and garth-seed do their work once for each. Letters, digits, `.`, `_`, `-`. */
  readonly instanceId: string;
  /** One label or several with dots; at most 64 characters, as Linux has it. */
  readonly hostname: string;
  /** IPv4, as are all addresses here. */
  readonly address: string;
  readonly prefixLength: number;
  readonly gateway: string;
  /** Up to three, as resolv.conf(5) has it. */
  readonly nameServers: readonly string[];
  /** Of the interface that gets the address: its name in the guest is not known. */
  readonly mac: string;
  /** Who logs in. */
  readonly user: string;
  /** One line: `ssh-ed25519 AAAA... comment`. For `user`, and for root. */
  readonly authorizedKey: string;
  /** The only one of the machine. Without it the machine makes one for itself. */
  readonly hostKey?: { readonly privateKey: string; readonly publicKey: string };
}

export interface SeedFile {
  readonly name: string;
  readonly text: string;
}

export const SEED_LABEL = "CIDATA";
const DISK_BYTES = 256 << 10;
const PARTITION_AT = 32 << 10;
/** As much is left free behind it: room for a second table, which tools that know GPT alone look for. */
const PARTITION_BYTES = DISK_BYTES - 2 * PARTITION_AT;
/** FAT knows nothing earlier than 1980, and the fields have no time. */
const TIME_SECONDS = 315_532_800;

const FORMS = {
  instanceId: [/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, "1 to 128 letters, digits, dots, underscores and hyphens"],
  hostname: [
    /^(?=.{1,64}$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$/,
    "a hostname of at most 64 characters",
  ],
  mac: [/^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i, "six pairs of hexadecimal digits with colons"],
  user: [/^[a-z_][a-z0-9_-]{0,31}$/, "the name of a user"],
  authorizedKey: [
    /^[a-z0-9][a-z0-9@.-]{2,60} [A-Za-z0-9+/]{20,8000}={0,2}(?: [^\p{Cc}]{0,200})?$/u,
    "one line of an authorized_keys file",
  ],
  publicKey: [/^ssh-ed25519 [A-Za-z0-9+/]{20,200}={0,2}(?: [^\p{Cc}]{0,200})?$/u, "the public half of an ed25519 key"],
  privateKey: [
    /^-----BEGIN OPENSSH PRIVATE KEY-----\n(?:[A-Za-z0-9+/=]{1,76}\n){1,40}-----END OPENSSH PRIVATE KEY-----\n?$/,
    "a private key as OpenSSH writes it",
  ],
} as const;
const NAME_SERVERS_MAX = 3;

function refused(field: string, shown: string, wanted: string): Problem {
  return new Problem({
    code: "E_SEED_FIELD",
    message: `making a seed disk: ${field} is ${shown}, not ${wanted}`,
    hint: "look at what names the machine",
    exit: 2,
  });
}

/** As a number; undefined for what is no dotted quad. */
export function ipv4(text: string): number | undefined {
  if (!/^(?:(?:0|[1-9]\d{0,2})(?:\.(?!$)|$)){4}$/.test(text)) return undefined;
  const parts = text.split(".").map(Number);
  return parts.every((part) => part <= 255) ? parts.reduce((sum, part) => sum * 256 + part, 0) : undefined;
}

/** @throws Problem E_SEED_FIELD (exit 2) */
export function checkSeed(fields: SeedFields): void {
  const { hostKey, prefixLength } = fields;
  const texts = { ...fields, ...hostKey };
  for (const field of ["instanceId", "hostname", "mac", "user", "authorizedKey", "publicKey", "privateKey"] as const) {
    const [form, wanted] = FORMS[field];
    const text = texts[field];
    // A key is not repeated in an error.
    if (text !== undefined && !form.test(text))
      throw refused(field, field.endsWith("Key") ? "something else" : JSON.stringify(text), wanted);
  }
  if (!Number.isInteger(prefixLength) || prefixLength < 1 || prefixLength > 30)
    throw refused("prefixLength", String(prefixLength), "a number from 1 to 30");
  const addressOf = (field: string, text: string): number => {
    const value = ipv4(text);
    if (value === undefined) throw refused(field, JSON.stringify(text), "an IPv4 address");
    return value;
  };
  const [address, gateway] = [addressOf("address", fields.address), addressOf("gateway", fields.gateway)];
  const size = 2 ** (32 - prefixLength);
  const isHost = (value: number): boolean => value % size !== 0 && value % size !== size - 1;
  if (!isHost(address)) throw refused("address", fields.address, `the address of a machine in a network of /${prefixLength}`);
  if (Math.floor(address / size) !== Math.floor(gateway / size) || address === gateway || !isHost(gateway))
    throw refused("gateway", fields.gateway, `another machine in the network of ${fields.address}/${prefixLength}`);
  if (fields.nameServers.length > NAME_SERVERS_MAX)
    throw refused("nameServers", `${fields.nameServers.length} of them`, `at most ${NAME_SERVERS_MAX}`);
  for (const [index, one] of fields.nameServers.entries()) addressOf(`nameServers[${index}]`, one);
}

/** A string of YAML; JSON's are. */
const quoted = (text: string): string => JSON.stringify(text);
const block = (text: string, indent: string): string => text.trimEnd().replaceAll(/^/gm, indent);
/** For a shell: nothing in it means anything. */
export const shellValue = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/**
 * What is left to an image's own habits would be done at the first boot of each machine: keys of other kinds, a grown root, lists of
 * packages, locales. Each is said not to be.
 */
function userData(fields: SeedFields): string {
  const { hostKey, user } = fields;
  const key = quoted(fields.authorizedKey);
  // Root gets the key by disable_root, and then nobody else is made. "default" is the image's own user with its groups, to whom
  // another entry of its name adds.
  const users =
    user === "root"
      ? `  - name: root
    lock_passwd: false`
      : `  - default
  - name: ${quoted(user)}
    lock_passwd: false
    ssh_authorized_keys:
      - ${key}`;
  // What is given is not made; nobody is told to make nothing: that is no list for cloud-init.
  const keys =
    hostKey === undefined
      ? ""
      : `ssh_keys:
  ed25519_private: |
${block(hostKey.privateKey, "    ")}
  ed25519_public: ${quoted(hostKey.publicKey)}
`;
  return `#cloud-config
hostname: ${quoted(fields.hostname)}
preserve_hostname: false
manage_etc_hosts: localhost
disable_root: false
ssh_pwauth: false
users:
${users}
ssh_authorized_keys:
  - ${key}
ssh_deletekeys: true
ssh_genkeytypes: [ed25519]
${keys}ssh:
  emit_keys_to_console: false
no_ssh_fingerprints: true
package_update: false
package_upgrade: false
package_reboot_if_required: false
apt:
  preserve_sources_list: true
growpart:
  mode: "off"
resize_rootfs: false
locale: "false"
`;
}

/**
 * Version 1: renderers of every distribution know it, and the interface is found by its address alone. It is called eth0 from then
 * on, which ifupdown needs to know.
 */
function networkConfig(fields: SeedFields): string {
  const servers = fields.nameServers.map((one) => `          - ${quoted(one)}\n`).join("");
  return `version: 1
config:
  - type: physical
    name: eth0
    mac_address: ${quoted(fields.mac.toLowerCase())}
    subnets:
      - type: static
        address: ${quoted(`${fields.address}/${fields.prefixLength}`)}
        gateway: ${quoted(fields.gateway)}
${servers === "" ? "" : `        dns_nameservers:\n${servers}`}`;
}

/** KEY='value' lines, which a shell may execute and garth-seed does not. */
export function instanceEnvironment(fields: SeedFields): string {
  const { hostKey } = fields;
  const values: Readonly<Record<string, string>> = {
    COPPICE_INSTANCE_ID: fields.instanceId,
    COPPICE_HOSTNAME: fields.hostname,
    COPPICE_ADDRESS: fields.address,
    COPPICE_PREFIX_LENGTH: String(fields.prefixLength),
    COPPICE_GATEWAY: fields.gateway,
    COPPICE_NAME_SERVERS: fields.nameServers.join(" "),
    COPPICE_MAC: fields.mac.toLowerCase(),
    COPPICE_USER: fields.user,
    ...(hostKey === undefined
      ? {}
      : {
          // Without its comment, and base64: one line for each value, and nothing in it that a reader has to unquote.
          COPPICE_HOST_PUBLIC_KEY: hostKey.publicKey.split(" ", 2).join(" "),
          COPPICE_HOST_KEY_BASE64: Buffer.from(`${hostKey.privateKey.trimEnd()}\n`).toString("base64"),
        }),
  };
  return Object.entries(values)
    .map(([name, value]) => `${name}=${shellValue(value)}\n`)
    .join("");
}

/** What is on the disk. @throws Problem E_SEED_FIELD (exit 2) */
export function seedFiles(fields: SeedFields): readonly SeedFile[] {
  checkSeed(fields);
  return [
    { name: "meta-data", text: `instance-id: ${quoted(fields.instanceId)}\nlocal-hostname: ${quoted(fields.hostname)}\n` },
    { name: "user-data", text: userData(fields) },
    { name: "network-config", text: networkConfig(fields) },
    { name: "coppice-instance.env", text: instanceEnvironment(fields) },
    { name: "coppice-authorized-key.pub", text: `${fields.authorizedKey}\n` },
  ];
}

/** 256 KiB, whatever the fields. @throws Problem E_SEED_FIELD (exit 2) */
export function seedDisk(fields: SeedFields): Uint8Array {
  const files = seedFiles(fields);
  const partition = { type: MBR_TYPE.fat12, firstByte: PARTITION_AT, sizeBytes: PARTITION_BYTES };
  const encoder = new TextEncoder();
  // 0 is a disk and a volume without a number.
  const number = Number.parseInt(sha256(fields.instanceId).slice(0, 8), 16) || 1;
  const fat = planFat({
    sizeBytes: partition.sizeBytes,
    label: SEED_LABEL,
    volumeId: number,
    timeSeconds: TIME_SECONDS,
    partitionOffsetBytes: PARTITION_AT,
    entries: files.map(({ name, text }) => ({
      path: name,
      type: "file",
      content: { kind: "bytes", bytes: encoder.encode(text) },
    })),
  });
  const disk = new Uint8Array(DISK_BYTES);
  disk.set(mbrSector({ diskId: number, partitions: [partition] }));
  for (const piece of fat.pieces) {
    if (piece.kind === "bytes") disk.set(piece.bytes, PARTITION_AT + piece.at);
  }
  return disk;
}
