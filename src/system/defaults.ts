/** What a declaration leaves out. Everything after this knows only the whole spec. */
import { parseSize } from "../base/index.ts";
import type { ServiceOptions, SystemOptions, UserOptions } from "./declare.ts";
import type { FileSystemSpec, ServiceSpec, SystemSpec, UserSpec } from "./types.ts";

const MIB = 1 << 20;

/** What a virtual machine's disk may hang on; the initial RAM disk loads the ones the kernel has not built in. */
const ROOT_MODULES = ["virtio_pci", "virtio_blk", "ext4"];

export function fillIn(options: SystemOptions): SystemSpec {
  const family = options.family ?? "linux";
  const isLinux = family === "linux";
  const services = (options.services ?? []).map((each) => serviceOf(typeof each === "string" ? { name: each } : each));
  const rootLabel = options.disk?.rootLabel ?? "garth-root";
  const sizeOf = (text: string | undefined): number | undefined => (text === undefined ? undefined : parseSize(text));
  return {
    name: options.name,
    family,
    hostName: options.hostName ?? options.name,
    timeZone: options.timeZone ?? "UTC",
    init: options.init ?? (isLinux ? "systemd" : "rc"),
    users: (options.users ?? []).map(userOf),
    groups: (options.groups ?? []).map(({ name, gid, members }) => ({ name, gid, members: members ?? [] })),
    fileSystems: fileSystems(options, family, rootLabel),
    services,
    readiness: options.readiness ?? services.map(({ name }) => name),
    network: (options.network ?? [{ address: "dhcp" }]).map(({ interface: device, address }) => ({
      interface: device ?? "*",
      address: address === "dhcp" ? address : { cidr: address.cidr, gateway: address.gateway },
    })),
    nameServers: options.nameServers ?? [],
    seed: options.seed ?? false,
    secrets: (options.secrets ?? []).map(({ name, path, user, group, mode }) => ({
      name,
      path: path ?? `/run/secrets/${name}`,
      user: user ?? "root",
      group: group ?? (isLinux ? "root" : "wheel"),
      mode: mode ?? 0o400,
    })),
    etc: Object.fromEntries(
      Object.entries(options.etc ?? {}).map(([path, file]) => {
        const {
          text,
          mode = 0o644,
          user = "root",
          group = isLinux ? "root" : "wheel",
        } = typeof file === "string" ? { text: file } : file;
        return [path, { text, mode, user, group }];
      }),
    ),
    console: options.console ?? (isLinux ? "ttyS0,115200" : "comconsole"),
    kernelParameters: options.kernelParameters ?? [],
    rootModules: options.rootModules ?? (isLinux ? ROOT_MODULES : []),
    coldplug: options.coldplug ?? isLinux,
    loaderSettings: options.loaderSettings ?? {},
    rcSettings: options.rcSettings ?? {},
    disk: {
      sizeBytes: sizeOf(options.disk?.size),
      espBytes: sizeOf(options.disk?.esp) ?? 64 * MIB,
      rootBytes: sizeOf(options.disk?.root),
      rootFreeBytes: sizeOf(options.disk?.rootFree),
      rootLabel,
      espLabel: options.disk?.espLabel ?? "efiboot",
      ...(options.disk?.rootType === "zfs" ? { pool: options.disk.pool ?? "zroot" } : {}),
    },
  };
}

function userOf(options: UserOptions): UserSpec {
  const { name, uid, group, groups = [], home, shell = "/bin/sh", comment = "", authorizedKeys = [], passwordSecret } = options;
  return {
    name,
    uid,
    group,
    groups,
    home: home ?? (name === "root" ? "/root" : `/home/${name}`),
    shell,
    comment,
    authorizedKeys,
    passwordSecret,
  };
}

function serviceOf(options: ServiceOptions): ServiceSpec {
  const { name, command, prepare = [], user = "root", environment = {}, after = [], oneShot = false, listens } = options;
  return {
    name,
    command,
    prepare,
    user,
    environment,
    after,
    oneShot,
    listens,
    restart: options.restart ?? (oneShot ? "never" : "always"),
  };
}

function fileSystems(options: SystemOptions, family: "linux" | "freebsd", rootLabel: string): readonly FileSystemSpec[] {
  const given = (options.fileSystems ?? []).map(({ mountPoint, type, label, device, options: flags = [] }): FileSystemSpec => ({
    mountPoint,
    type,
    source: label === undefined ? { device: device ?? type } : { label },
    options: flags,
  }));
  const usual: readonly FileSystemSpec[] =
    family === "linux"
      ? [{ mountPoint: "/", type: "ext4", source: { label: rootLabel }, options: ["rw", "relatime"] }]
      : [
          // A dataset is mounted by its own properties, and the root by the loader's word.
          ...(options.disk?.rootType === "zfs"
            ? []
            : [{ mountPoint: "/", type: "ufs", source: { label: rootLabel }, options: ["rw"] }]),
          { mountPoint: "/dev", type: "devfs", source: { device: "devfs" }, options: ["rw"] },
        ];
  return [...usual.filter(({ mountPoint }) => !given.some((each) => each.mountPoint === mountPoint)), ...given];
}
