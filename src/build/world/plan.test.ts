import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { sha256 } from "../../base/index.ts";
import { golden } from "../../base/testing.ts";
import { localHost } from "../../host/index.ts";
import type { WorldLock } from "../../world/index.ts";
import { cleanTree } from "./clean.ts";
import { debFileName, debianTreeCommand, repositoryFiles } from "./plan.ts";
import { parsePrintUris } from "./resolve.ts";

const LOCK: WorldLock = {
  suite: "bookworm",
  architecture: "amd64",
  requested: ["dash"],
  packages: [
    { name: "dash", version: "0.5.12-2", architecture: "amd64", sha256: "a".repeat(64), sizeBytes: 91848 },
    { name: "zlib1g", version: "1:1.2.13.dfsg-1", architecture: "amd64", sha256: "b".repeat(64), sizeBytes: 86684 },
  ],
};

const matches = (name: string, text: string) => expect(text).toBe(golden(`${import.meta.dir}/golden/${name}`, text));

describe("the command that makes the tree", () => {
  test("as root", () => {
    const command = debianTreeCommand(
      { repository: "/tmp/w/repository", target: "/tmp/w/tree", isRoot: true, purpose: "build" },
      LOCK,
    );
    matches("mmdebstrap-root.txt", `${command.join("\n")}\n`);
  });

  test("without root", () => {
    const command = debianTreeCommand(
      { repository: "/tmp/w/repository", target: "/tmp/w/tree.tar", isRoot: false, purpose: "build" },
      LOCK,
    );
    matches("mmdebstrap-rootless.txt", `${command.join("\n")}\n`);
  });
});

test("the repository says of each package what it says itself, and which bytes it is", async () => {
  const controls = [
    "Package: dash\nVersion: 0.5.12-2\nEssential: yes\nDescription: shell\n long\n",
    "Package: zlib1g\nVersion: 1:1.2.13.dfsg-1\n",
  ];
  const files = repositoryFiles(LOCK, controls);
  matches("Packages", files["Packages"] ?? "");
  const release = files["Release"] ?? "";
  expect(release).toContain(` ${sha256(files["Packages"] ?? "")} ${files["Packages"]?.length} Packages\n`);
  expect(release).toContain("Codename: bookworm\n");
  expect(LOCK.packages.map(debFileName).join(" ")).toMatch(/^[a-f0-9. deb]+$/);
});

test("apt's list of what it would fetch is read, epochs and all", () => {
  const text = [
    "Reading package lists...",
    "The following NEW packages will be installed:",
    "  dash zlib1g",
    `'http://mirror.example/debian/pool/main/z/zlib/zlib1g_1.2.13.dfsg-1_amd64.deb' zlib1g_1%3a1.2.13.dfsg-1_amd64.deb 86684 SHA256:${"b".repeat(64)}`,
    `'http://mirror.example/debian/pool/main/n/netbase/netbase_6.4_all.deb' netbase_6.4_all.deb 12784 SHA256:${"c".repeat(64)}`,
    `'http://mirror.example/x.deb' x_1_amd64.deb 1 MD5Sum:0123`,
    "",
  ].join("\n");
  expect(parsePrintUris(text)).toEqual([
    { name: "zlib1g", version: "1:1.2.13.dfsg-1", architecture: "amd64", sha256: "b".repeat(64), sizeBytes: 86684 },
    { name: "netbase", version: "6.4", architecture: "all", sha256: "c".repeat(64), sizeBytes: 12784 },
  ]);
});

describe("a tree that was cleaned", () => {
  let tree: string;

  beforeAll(async () => {
    tree = mkdtempSync(`${tmpdir()}/garth-clean-`);
    const put = (path: string, text = "x", mode = 0o644) => {
      mkdirSync(`${tree}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
      writeFileSync(`${tree}/${path}`, text);
      localHost().files.chmod(`${tree}/${path}`, mode);
    };
    put("usr/bin/su", "x", 0o4755);
    put("usr/bin/wall", "x", 0o2755);
    put("usr/bin/sh", "x", 0o755);
    put("usr/share/doc/dash/copyright");
    put("usr/share/man/man1/dash.1.gz");
    put("usr/share/locale/de/LC_MESSAGES/dash.mo");
    put("usr/share/locale/locale.alias");
    put("etc/hostname", "builder-17\n");
    put("etc/machine-id", "abc\n");
    put("etc/apt/sources.list", "deb copy:/tmp/w ./\n");
    put("var/lib/dpkg/status", "Package: dash\n");
    put("var/lib/dpkg/status-old");
    put("var/lib/dpkg/diversions-old");
    put("var/log/apt/history.log");
    put("var/cache/ldconfig/aux-cache");
    put("tmp/left-over");
    put("home/user-old");
    symlinkSync("/etc/shadow", `${tree}/etc/resolv.conf`);
    mkdirSync(`${tree}/dev`);
    await localHost().run({ argv: ["mkfifo", `${tree}/run-initctl`, `${tree}/dev/initctl`] });
    localHost().files.chmod(`${tree}/tmp`, 0o1777);
    cleanTree(localHost(), tree);
  });

  afterAll(() => rmSync(tree, { recursive: true, force: true }));

  test("has no bit, device or pipe that a store item cannot have", () => {
    for (const [path, mode] of [
      ["usr/bin/su", 0o755],
      ["usr/bin/wall", 0o755],
      ["usr/bin/sh", 0o755],
      ["tmp", 0o777],
    ] as const) {
      expect([path, lstatSync(`${tree}/${path}`).mode & 0o7777]).toEqual([path, mode]);
    }
    for (const path of ["run-initctl", "dev/initctl"]) expect([path, existsSync(`${tree}/${path}`)]).toEqual([path, false]);
  });

  test("says nothing of the machine that made it", () => {
    expect(readFileSync(`${tree}/etc/hostname`, "utf8")).toBe("localhost\n");
    expect(lstatSync(`${tree}/etc/resolv.conf`).isFile()).toBe(true);
    expect(readFileSync(`${tree}/etc/resolv.conf`, "utf8")).toBe("");
    for (const path of ["etc/machine-id", "etc/apt", "var/lib/dpkg/status-old", "var/lib/dpkg/diversions-old"]) {
      expect([path, existsSync(`${tree}/${path}`)]).toEqual([path, false]);
    }
    for (const path of ["var/log", "var/cache", "tmp", "home", "dev"])
      expect([path, readdirSync(`${tree}/${path}`)]).toEqual([path, []]);
  });

  test("keeps what builds need", () => {
    expect(readFileSync(`${tree}/var/lib/dpkg/status`, "utf8")).toBe("Package: dash\n");
    expect(readdirSync(`${tree}/usr/share/locale`).toSorted()).toEqual(["de", "locale.alias"]);
    expect(readdirSync(`${tree}/usr/share/locale/de`)).toEqual([]);
    expect(existsSync(`${tree}/usr/share/doc`)).toBe(false);
    for (const path of ["build", "frx/store", "proc", "sys", "dev"])
      expect([path, lstatSync(`${tree}/${path}`).isDirectory()]).toEqual([path, true]);
  });
});
