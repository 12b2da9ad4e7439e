import { describe, expect, test } from "bun:test";
import type { StorePath } from "../base/index.ts";
import type { FileSystemEntry } from "../formats/index.ts";
import type { ListedEntry } from "../world/index.ts";
import { linuxAccounts, planLinux, planProfile, planRoot, type RootFacts, type RootItem, type SystemOptions } from "./index.ts";
import { isOutsideProfile } from "./index.ts";
import {
  BASE_TEXTS,
  BOOT,
  composition,
  FULL,
  KERNEL,
  KEY,
  PACKAGE,
  partOf,
  RELEASE,
  RUNTIME,
  SAMPLE_SYSTEM,
} from "./linux.testing.ts";
import type { Part, PlannedTree, RootPlan } from "./types.ts";

const PROFILE: StorePath = `/frx/store/${"9".repeat(64)}-profile-sample`;
const HEADERS: StorePath = `/frx/store/${"8".repeat(64)}-development-sample`;

const listingOf = (tree: PlannedTree): readonly ListedEntry[] =>
  [...tree].map(([path, entry]) => ({
    path,
    type: entry.type,
    executable: entry.type !== "file" || entry.executable,
    sizeBytes: entry.type === "file" && entry.content.kind === "text" ? entry.content.text.length : 1,
    ...(entry.type === "symlink" && { target: entry.target }),
  }));
const item = (path: StorePath, listing: readonly ListedEntry[]): RootItem => ({
  path,
  file: undefined,
  listing,
  attributes: new Map(),
});
const asItem = ({ path, listing, attributes }: Part): RootItem => ({ path, file: undefined, listing, attributes });

function factsOf(
  options: Partial<SystemOptions> = FULL,
  more: Partial<RootFacts> = {},
  base: readonly Part[] = [RUNTIME],
): RootFacts {
  const whole = composition(options, { base });
  const plan = planLinux(whole);
  const profile = item(PROFILE, listingOf(planProfile([...base, KERNEL, PACKAGE], isOutsideProfile)));
  const system = item(SAMPLE_SYSTEM, listingOf(plan.tree));
  const items = [...[...base, KERNEL, BOOT, PACKAGE].map(asItem), profile, system];
  return {
    spec: whole.spec,
    accounts: linuxAccounts({ spec: whole.spec, baseTexts: BASE_TEXTS }),
    items,
    closure: items.map(({ path }) => path),
    system,
    profile,
    development: undefined,
    base,
    etcOwners: plan.etcOwners,
    commandLine: plan.commandLine,
    kernel: KERNEL,
    bootloader: BOOT,
    timeSeconds: 1,
    ...more,
  };
}

function shown(entry: FileSystemEntry): string {
  const about = `${entry.mode.toString(8).padStart(4, "0")} ${entry.uid}:${entry.gid}`;
  if (entry.type === "symlink") return `-> ${entry.target}`;
  if (entry.type !== "file") return `${entry.type} ${about}`;
  const { content } = entry;
  return `file ${about} ${content.kind === "file" ? content.file : JSON.stringify(new TextDecoder().decode(content.bytes))}`;
}
const byPath = ({ entries }: RootPlan): ReadonlyMap<string, string> =>
  new Map(entries.map((entry) => [entry.path, shown(entry)]));

describe("the root", () => {
  const plan = planRoot(factsOf());
  const all = byPath(plan);

  test("has each path once, below a directory that comes before it", () => {
    const seen = new Map<string, string>();
    for (const { path, type } of plan.entries) {
      expect(seen.has(path)).toBe(false);
      if (path !== "") expect([path, seen.get(path.slice(0, Math.max(path.lastIndexOf("/"), 0)))]).toEqual([path, "directory"]);
      seen.set(path, type);
    }
  });

  test("has one time, the one it was given", () =>
    expect(new Set(plan.entries.map(({ timeSeconds }) => timeSeconds))).toEqual(new Set([1])));

  const store = RUNTIME.path.slice(1);
  const expected: Readonly<Record<string, string | undefined>> = {
    "": "directory 0755 0:0",
    // What every root has, as the base says where it says something.
    dev: "directory 0755 0:0",
    proc: "directory 0555 0:0",
    tmp: "directory 1777 0:0",
    root: "directory 0700 0:0",
    boot: "directory 0755 0:0",
    // Reached through the running system, or a link as the base has it.
    bin: "-> usr/bin",
    usr: "-> /run/current-system/profile/usr",
    "run/current-system": `-> ${SAMPLE_SYSTEM}`,
    "run/current-development": undefined,
    // Items, read-only but for what is special in them.
    [store]: "directory 0555 0:0",
    [`${store}/usr/bin/sh`]: `file 0555 0:0 ${RUNTIME.path}/usr/bin/sh`,
    [`${store}/usr/bin/vi`]: `file 4755 0:0 ${RUNTIME.path}/usr/bin/vi`,
    [`${store}/etc/passwd`]: `file 0444 0:0 ${RUNTIME.path}/etc/passwd`,
    [`${store}/var/run`]: "-> /run",
    // Copied from the base, with what it says of them.
    "var/mail": "directory 2775 0:8",
    "var/lib/dpkg/status": `file 0644 0:0 ${RUNTIME.path}/var/lib/dpkg/status`,
    "var/run": "-> /run",
    "opt/tool/run": `file 0755 0:0 ${RUNTIME.path}/opt/tool/run`,
    "var/lib/garth": "directory 0755 0:0",
    "root/.profile": `file 0644 0:0 ${RUNTIME.path}/root/.profile`,
    // /etc of the system item, each a file of its own.
    "etc/motd": `file 0644 0:0 ${SAMPLE_SYSTEM}/etc/motd`,
    "etc/shadow": `file 0640 0:42 ${SAMPLE_SYSTEM}/etc/shadow`,
    "etc/sudoers": `file 0440 0:0 ${SAMPLE_SYSTEM}/etc/sudoers`,
    "etc/opt": "directory 2750 0:33",
    "etc/web/web.conf": `file 0400 8080:33 ${SAMPLE_SYSTEM}/etc/web/web.conf`,
    "etc/garth/start": `file 0755 0:0 ${SAMPLE_SYSTEM}/etc/garth/start`,
    "etc/alternatives/editor": "-> /usr/bin/vi",
    "etc/ssh/ssh_host_rsa_key": undefined,
    "etc/.garth-system": `file 0644 0:0 ${JSON.stringify(`${SAMPLE_SYSTEM}\n`)}`,
    // Homes and keys, and none for who has none.
    "root/.ssh/authorized_keys": `file 0600 0:0 ${JSON.stringify(`${KEY}\n`)}`,
    "home/alice": "directory 0755 1000:1000",
    "home/alice/.ssh": "directory 0700 1000:1000",
    "home/alice/.ssh/authorized_keys": `file 0600 1000:1000 ${JSON.stringify(`${KEY}\n`)}`,
    "srv/web dir": "directory 0755 8080:33",
    nonexistent: undefined,
    // Mount points.
    "data dir": "directory 0755 0:0",
    "boot/efi": "directory 0755 0:0",
  };
  for (const [path, what] of Object.entries(expected)) {
    test(`/${path}: ${what ?? "nothing"}`, () => expect(all.get(path)).toBe(what));
  }

  test("holds items in their order, those of the base first and the system last", () => {
    expect(plan.items).toEqual([RUNTIME.path, KERNEL.path, BOOT.path, PACKAGE.path, PROFILE, SAMPLE_SYSTEM]);
    const order = plan.entries.flatMap(({ path }) => /^frx\/store\/([^/]+)$/.exec(path)?.[1] ?? []);
    expect(order.map((name) => `/frx/store/${name}`)).toEqual([...plan.items]);
  });

  test("a home that the base has stays the base's; one that a link leads to is not made", () => {
    const users = [
      { name: "www-data", home: "/var/mail" },
      { name: "daemon", home: "/usr/sbin" },
      { name: "deep", home: "/srv/a/b/c" },
      { name: "link", home: "/var/run/link" },
    ];
    const found = byPath(planRoot(factsOf({ init: "busybox", users })));
    expect(
      ["var/mail", "usr", "usr/sbin", "var/run", "var/run/link", "srv/a/b", "srv/a/b/c"].map((path) => found.get(path)),
    ).toEqual([
      "directory 2775 0:8",
      "-> /run/current-system/profile/usr",
      undefined,
      "-> /run",
      undefined,
      "directory 0755 0:0",
      "directory 0755 1000:1000",
    ]);
  });

  test("a base whose /home is a link into what is read-only has a directory there", () => {
    const odd = partOf("odd", "f", "usr/lib/systemd/systemd* home->usr/home");
    const users = [{ name: "alice", home: "/home/alice" }];
    const found = byPath(planRoot(factsOf({ init: "busybox", users }, {}, [odd])));
    expect([found.get("home"), found.get("home/alice")]).toEqual(["directory 0755 0:0", "directory 0755 1000:1000"]);
  });

  test("what the base says of /var/lib holds; a file that is called like something of JavaScript's is no directory", () => {
    const odd = partOf("odd", "f", "usr/lib/systemd/systemd* var/lib/ constructor", {
      attributes: new Map([["var/lib", { mode: 0o711, uid: 0, gid: 3 }]]),
    });
    const found = byPath(planRoot(factsOf({ init: "busybox" }, {}, [odd])));
    expect([found.get("var/lib"), found.get("constructor")]).toEqual([
      "directory 0711 0:3",
      "-> /run/current-system/profile/constructor",
    ]);
  });
});

describe("development beside the running system", () => {
  test("adds its items and a link, and changes nothing else", () => {
    const facts = factsOf();
    const headers = item(HEADERS, [{ path: "usr", type: "symlink", executable: true, sizeBytes: 1, target: "/frx/store/x/usr" }]);
    const [without, beside] = [planRoot(facts), planRoot({ ...facts, development: HEADERS, items: [headers, ...facts.items] })];
    const [before, after] = [byPath(without), byPath(beside)];
    const added = [...after].filter(([path, what]) => before.get(path) !== what).map(([path]) => path);
    expect(added).toEqual([HEADERS.slice(1), `${HEADERS.slice(1)}/usr`, "run/current-development"]);
    expect([...before.keys()].filter((path) => !after.has(path))).toEqual([]);
    expect(beside.esp).toEqual(without.esp);
  });
});

describe("the EFI system partition", () => {
  const files = (facts: RootFacts): Readonly<Record<string, string>> =>
    Object.fromEntries(
      planRoot(facts).esp.map(({ path, content }) => [
        path,
        content.kind === "file" ? content.file : new TextDecoder().decode(content.bytes),
      ]),
    );
  const name = "5".repeat(16);
  const entry = (sortKey: string): string =>
    [
      "title sample (generation 1)",
      `sort-key ${sortKey}`,
      "version 1",
      `linux /garth/${name}/kernel`,
      `initrd /garth/${name}/initrd`,
      `options garth.system=${SAMPLE_SYSTEM} garth.generation=1 garth.root=garth-root console=ttyS0,115200 panic=1 quiet`,
      "",
    ].join("\n");

  test("has the loader, and kernel, initial RAM disk and entry of this system", () => {
    expect(files(factsOf())).toEqual({
      "EFI/BOOT/BOOTX64.EFI": `${BOOT.path}/usr/lib/systemd/boot/efi/systemd-bootx64.efi`,
      [`garth/${name}/kernel`]: `${KERNEL.path}/boot/vmlinuz-${RELEASE}`,
      [`garth/${name}/initrd`]: `${SAMPLE_SYSTEM}/boot/initrd`,
      "loader/entries/garth-1.conf": entry("garth-2"),
      "loader/entries/garth-current.conf": entry("garth-1"),
      "loader/loader.conf": "timeout 0\neditor no\n",
    });
  });

  test("of another machine has its name; without a loader it has none, for a kernel that is started directly", () => {
    const arm = partOf("arm", "b", "usr/bin/busybox* usr/lib/systemd/boot/efi/systemd-bootaa64.efi");
    expect(Object.keys(files({ ...factsOf(), bootloader: arm }))).toContain("EFI/BOOT/BOOTAA64.EFI");
    expect(
      Object.keys(files({ ...factsOf(), bootloader: partOf("bare", "b", "usr/bin/busybox*") })).some((path) =>
        path.startsWith("EFI"),
      ),
    ).toBe(false);
  });
});
