/** For the tests of what makes systems and their images: a store of its own, small worlds as directories, and a system of them. */
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import type { StorePath } from "../base/index.ts";
import { localHost } from "../host/index.ts";
import type { Store } from "../store/index.ts";
import { openTestStore, type TestStore } from "../store/testing.ts";
import { system, type SystemOptions } from "../system/index.ts";
import { slice, type SliceDeclaration, world, type WorldDeclaration } from "../world/index.ts";
import { type ComposeContext, composeSystem, type ComposedSystem, Listings, realiseParts, realiseSlices } from "./index.ts";

export interface Workplace extends Disposable {
  readonly opened: TestStore;
  readonly store: Store;
  readonly context: ComposeContext;
  readonly listings: Listings;
  /** A new directory beside the store. */
  readonly directory: () => string;
}

/** In memory where there is such a place: these stores are not for power failures, and a sync of the disk is a tenth of a second. */
const PLACE = fs.existsSync("/dev/shm") ? "/dev/shm" : tmpdir();

export function workplace(now: () => number = () => Date.UTC(2026, 0, 2)): Workplace {
  const root = fs.mkdtempSync(`${PLACE}/garth-compose-`);
  const opened = openTestStore({ root });
  const { store } = opened;
  const host = localHost();
  const nobody = (what: string) => (): never => {
    throw new Error(`a test of composing asked for ${what}`);
  };
  const context: ComposeContext = {
    host,
    store,
    system: "x86_64-linux",
    makeWorld: nobody("a world of Debian packages"),
    fetch: nobody("a source"),
    outputOf: nobody("an output of a recipe"),
    now,
  };
  return {
    opened,
    store,
    context,
    listings: new Listings(host, store),
    directory: () => opened.directory(),
    [Symbol.dispose]: () => {
      opened[Symbol.dispose]();
      host.files.removeTree(root);
    },
  };
}

export interface TreeFile {
  readonly text?: string;
  readonly target?: string;
  readonly mode?: number;
  readonly owner?: readonly [uid: number, gid: number];
  /** Another name of the file at this path, which comes before. */
  readonly sameAs?: string;
}
export type TreeFiles = Readonly<Record<string, string | TreeFile>>;

/** Writes files; a path that ends with a slash is a directory. Owners need root. */
export function fill(directory: string, files: TreeFiles): string {
  for (const [name, what] of Object.entries(files)) {
    const { text = "", target, mode, owner, sameAs }: TreeFile = typeof what === "string" ? { text: what } : what;
    const path = `${directory}/${name}`.replace(/\/$/, "");
    fs.mkdirSync(name.endsWith("/") ? path : path.replace(/\/[^/]*$/, ""), { recursive: true });
    if (target !== undefined) fs.symlinkSync(target, path);
    else if (sameAs !== undefined) fs.linkSync(`${directory}/${sameAs}`, path);
    else if (!name.endsWith("/")) fs.writeFileSync(path, text);
    if (owner !== undefined) fs.lchownSync(path, ...owner);
    if (mode !== undefined) fs.chmodSync(path, mode);
  }
  return directory;
}

export const RELEASE = "6.1.0-1-amd64";
const PROGRAM = { text: "#!/bin/sh\n", mode: 0o755 };

/** As much of a Debian system as a plan asks for, with something special of every kind. */
export const GUEST: TreeFiles = {
  bin: { target: "usr/bin" },
  sbin: { target: "usr/sbin" },
  lib: { target: "usr/lib" },
  "usr/bin/sh": PROGRAM,
  "usr/bin/su": { text: "su\n", mode: 0o4755 },
  "usr/bin/wall": { text: "wall\n", mode: 0o2755, owner: [0, 5] },
  "usr/bin/sh-again": { sameAs: "usr/bin/sh" },
  "usr/bin/editor": { target: "/etc/alternatives/editor" },
  "usr/bin/busybox": PROGRAM,
  "usr/sbin/nologin": PROGRAM,
  "usr/lib/libc.so.6": "libc\n",
  "usr/lib/libc.so": { target: "libc.so.6" },
  "usr/lib/größe mit leer": "ü\n",
  "usr/lib/systemd/boot/efi/systemd-bootx64.efi": "loader\n",
  "usr/include/stdio.h": "int puts(const char *);\n",
  "usr/share/doc/readme": "read me\n",
  [`usr/lib/modules/${RELEASE}/modules.dep`]: "kernel/virtio_blk.ko: kernel/virtio.ko\nkernel/virtio.ko:\n",
  [`usr/lib/modules/${RELEASE}/modules.builtin`]: "kernel/fs/ext4/ext4.ko\n",
  [`usr/lib/modules/${RELEASE}/kernel/virtio_blk.ko`]: "blk\n",
  [`usr/lib/modules/${RELEASE}/kernel/virtio.ko`]: "virtio\n",
  [`boot/vmlinuz-${RELEASE}`]: "kernel\n",
  "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n",
  "etc/group": "root:x:0:\ntty:x:5:\nwww-data:x:33:\nshadow:x:42:\n",
  "etc/shadow": { text: "root:*:19700:0:99999:7:::\n", mode: 0o640, owner: [0, 42] },
  "etc/alternatives/editor": { target: "/usr/bin/vi" },
  "var/mail/": { mode: 0o2775, owner: [0, 8] },
  "var/log/": {},
  "tmp/": { mode: 0o1777 },
  "root/": { mode: 0o700 },
};

export interface Guest {
  readonly world: WorldDeclaration;
  readonly kernel: SliceDeclaration;
  readonly bootloader: SliceDeclaration;
  readonly runtime: SliceDeclaration;
  readonly development: SliceDeclaration;
}

export function guest(directory: string): Guest {
  const of = world({ name: "guest", directory });
  return {
    world: of,
    kernel: slice(of, { role: "kernel", keep: ["boot/vmlinuz-*", "usr/lib/modules"] }),
    bootloader: slice(of, { role: "boot", keep: ["usr/bin/busybox", "usr/lib/systemd/boot"] }),
    runtime: slice(of, {
      role: "runtime",
      prune: ["boot", "usr/include", "usr/share/doc", "usr/lib/modules", "usr/lib/systemd", "usr/bin/busybox"],
    }),
    development: slice(of, { role: "development", keep: ["usr/include", "usr/lib/libc.so"] }),
  };
}

export function guestOptions({ kernel, bootloader, runtime }: Guest, more: Partial<SystemOptions> = {}): SystemOptions {
  return {
    name: "small",
    kernel,
    bootloader,
    base: [runtime],
    init: "busybox",
    services: [{ name: "web", command: ["/usr/bin/sh", "-c", "true"], user: "www-data" }],
    users: [{ name: "alice", authorizedKeys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1hZGUtdXAg alice"] }],
    rootModules: ["virtio_blk", "ext4"],
    etc: { "web/web.conf": { text: "port 80\n", mode: 0o400, user: "www-data", group: "www-data" } },
    ...more,
  };
}

/** The whole way from a declaration: worlds imported, slices cut, the system composed. `packages` are outputs, by hand. */
export async function composed(
  { context, listings }: Workplace,
  options: SystemOptions,
  packages: readonly StorePath[] = [],
): Promise<ComposedSystem> {
  const declaration = system(options);
  const wanted = [declaration.kernel, declaration.bootloader, ...declaration.base, ...declaration.development];
  const { slices } = await realiseSlices(context, listings, wanted);
  const resolvers = {
    repositoryOf: (): never => {
      throw new Error("no repository is published here");
    },
  };
  const { paths } = await realiseParts(context, declaration, slices, resolvers);
  return composeSystem(context, listings, declaration.spec, { ...paths, packages });
}
