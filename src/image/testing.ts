/** For the tests of this room: a small system and its image, cut into its partitions. */
import { execFileSync } from "node:child_process";
import type { ComposedSystem } from "../compose/index.ts";
import {
  composed,
  fill,
  GUEST,
  type Guest,
  guest,
  guestOptions,
  type TreeFiles,
  type Workplace,
  workplace,
} from "../compose/testing.ts";
import type { Host } from "../host/index.ts";
import type { SystemOptions } from "../system/index.ts";
import { slice, world } from "../world/index.ts";
import { type ImagePlan, type ImageWish, imageWishOf, inspectImage, makeImage, planImage } from "./index.ts";

export const DISK = { esp: "34M", root: "24M" } as const;

export interface SmallImage extends Disposable {
  readonly place: Workplace;
  readonly host: Host;
  readonly declared: Guest;
  readonly system: ComposedSystem;
  /** The disk, a store item, and its digest as it was told. */
  readonly file: string;
  readonly sha256: string;
  readonly scratch: string;
  /** File of a partition's own. */
  readonly part: (number: 1 | 2) => string;
  readonly composedWith: (more: Partial<SystemOptions>) => Promise<ComposedSystem>;
}

export const wishOf = (system: ComposedSystem): ImageWish => imageWishOf(system, "x86_64-linux");

export const tool = (...[program, ...words]: readonly [string, ...string[]]): string =>
  execFileSync(program, words, { encoding: "utf8" });
export const sha256Of = (file: string): string => tool("sha256sum", file).slice(0, 64);

export async function smallImage(): Promise<SmallImage> {
  const place = workplace();
  const { host } = place.context;
  const declared = guest(fill(place.directory(), { ...GUEST, "var/large": "x".repeat(300_000) }));
  const scratch = place.directory();
  const composedWith = (more: Partial<SystemOptions>): Promise<ComposedSystem> => composed(place, guestOptions(declared, more));
  const system = await composedWith({ disk: DISK });
  const made = await makeImage(host, place.store, "small", wishOf(system));
  const file = place.store.physical(made.path);
  const part = (number: number): string => `${scratch}/part-${number}`;
  for (const { number, firstByte, sizeBytes } of inspectImage(host, file).partitions) {
    const range = [`skip=${firstByte}`, `count=${sizeBytes}`, "bs=1M", "iflag=skip_bytes,count_bytes"];
    tool("dd", `if=${file}`, `of=${part(number)}`, ...range, "conv=sparse", "status=none");
  }
  const { sha256 } = made;
  return {
    place,
    host,
    declared,
    system,
    file,
    sha256,
    scratch,
    part,
    composedWith,
    [Symbol.dispose]: () => place[Symbol.dispose](),
  };
}

const PROGRAM = { text: "\u007fELF\n", mode: 0o555 };
/** What an installer medium wants of a base. */
export const INSTALLER_PROGRAMS: TreeFiles = Object.fromEntries(
  `bin/cat bin/dd bin/kenv bin/sh bin/sleep bin/sync sbin/geom sbin/halt sbin/init sbin/kldload sbin/mount sbin/reboot sbin/sha256
sbin/sysctl usr/bin/head usr/bin/mkfifo usr/bin/sed usr/bin/sort usr/bin/su usr/bin/tr usr/bin/wc usr/sbin/diskinfo usr/sbin/nologin
libexec/ld-elf.so.1`
    .split(/\s+/)
    .map((path) => [path, PROGRAM]),
);
/** A base system of FreeBSD that is as small as one can be: nothing of it runs. */
export const FREEBSD: TreeFiles = {
  "bin/sh": PROGRAM,
  "sbin/init": PROGRAM,
  "boot/kernel/kernel": { text: "kernel\n", mode: 0o555 },
  "boot/kernel/nullfs.ko": "module\n",
  "boot/loader.efi": "the loader\n",
  "boot/lua/loader.lua": "lua\n",
  "boot/defaults/loader.conf": "defaults\n",
  "boot/device.hints": "hints\n",
  "lib/libc.so.7": "libc\n",
  "libexec/ld-elf.so.1": PROGRAM,
  "usr/bin/su": { text: "su\n", mode: 0o4555 },
  "usr/bin/nice": PROGRAM,
  "usr/sbin/sshd": PROGRAM,
  "usr/sbin/nologin": PROGRAM,
  "usr/lib/libz.so.6": "libz\n",
  "usr/include/stdio.h": "int puts(const char *);\n",
  "usr/share/größe mit leer": "ü\n",
  "etc/rc": { text: "#!/bin/sh\n", mode: 0o555 },
  "etc/rc.subr": "#\n",
  "etc/rc.d/sshd": { text: "#!/bin/sh\n", mode: 0o555 },
  "etc/defaults/rc.conf": "#\n",
  "etc/master.passwd": {
    text: "root:*:0:0::0:0:Charlie &:/root:/bin/sh\nwww:*:80:80::0:0:www:/nonexistent:/usr/sbin/nologin\n",
    mode: 0o600,
  },
  "etc/group": "wheel:*:0:root\nwww:*:80:\n",
  "etc/login.conf": "default:\n",
  "var/log/": {},
  "var/large": "x".repeat(700_000),
  "tmp/": { mode: 0o1777 },
  "root/": { mode: 0o700 },
};

/** A FreeBSD system of a world that is as small as one can be, and what else is to be in it. */
export function beastie(place: Workplace, more: TreeFiles = {}): SystemOptions {
  const of = world({ name: "freebsd", directory: fill(place.directory(), { ...FREEBSD, ...more }) });
  return {
    name: "beastie",
    family: "freebsd",
    kernel: slice(of, { role: "kernel", keep: ["boot/kernel"] }),
    bootloader: slice(of, { role: "boot", keep: ["boot/loader.efi", "boot/lua", "boot/defaults", "boot/device.hints"] }),
    base: [slice(of, { role: "runtime", prune: ["boot", "usr/include"] })],
    init: "rc",
    services: [{ name: "sshd", listens: 22 }],
    users: [{ name: "alice", authorizedKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1hZGUtdXAg alice"] }],
    disk: { esp: "34M", root: "32M" },
  };
}

/** A disk that needs no store: some files, and one of the machine. */
export function plainPlan(sizeBytes = 48 << 20): ImagePlan {
  const about = { mode: 0o644, uid: 0, gid: 0, timeSeconds: 1 } as const;
  const contents = { kind: "bytes", bytes: new TextEncoder().encode("what is to be read") } as const;
  const machine = { kind: "file", file: process.execPath, sizeBytes: 3 << 20 } as const;
  return planImage({
    system: `/frx/store/${"1".repeat(64)}-system-plain`,
    family: "linux",
    architecture: "x86_64",
    timeSeconds: 1,
    disk: {
      sizeBytes,
      espBytes: 8 << 20,
      rootBytes: undefined,
      rootFreeBytes: undefined,
      rootLabel: "garth-root",
      espLabel: "efiboot",
    },
    root: {
      entries: [
        { ...about, path: "etc", type: "directory", mode: 0o755 },
        { ...about, path: "etc/read-me", type: "file", content: contents },
        { ...about, path: "machine", type: "file", content: machine },
      ],
      esp: [{ path: "EFI/BOOT/BOOTX64.EFI", content: contents }],
      items: [],
    },
  });
}
