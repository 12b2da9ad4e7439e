/**
 * The activation of a FreeBSD system, run by /bin/sh on a root of its own, with stand-ins for the tools that only FreeBSD has; and what
 * runs a service again when it failed.
 */
import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { planFreebsd } from "./freebsd.ts";
import { SAMPLE, SAMPLE_COMPOSITION } from "./freebsd-sample.ts";
import type { PlannedTree, SystemSpec } from "./types.ts";

const scratch = fs.mkdtempSync(join(tmpdir(), "garth-rc-"));
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));
fs.chmodSync(scratch, 0o755);

const plan = (more: Partial<SystemSpec> = {}): PlannedTree =>
  planFreebsd({ ...SAMPLE_COMPOSITION, spec: { ...SAMPLE, ...more } }).tree;

const textOf = (tree: PlannedTree, path: string): string => {
  const entry = tree.get(path);
  if (entry?.type !== "file" || entry.content.kind !== "text") throw new Error(`${path} is no text`);
  return entry.content.text;
};

const write = (path: string, text: string, mode = 0o755): void => {
  fs.mkdirSync(dirname(path), { recursive: true });
  fs.writeFileSync(path, text);
  fs.chmodSync(path, mode);
};

let root = "";
let bin = "";
beforeEach(() => {
  root = fs.mkdtempSync(join(scratch, "root-"));
  fs.chmodSync(root, 0o755);
  bin = join(root, "stand-ins");
  fs.mkdirSync(bin);
});
const read = (path: string): string => fs.readFileSync(join(root, path), "utf8");
const here = (path: string): boolean => fs.existsSync(join(root, path));
const standIn = (name: string, text: string): void => write(join(bin, name), `#!/bin/sh\n${text}`);

/** A system item below the root, with a line in every file that is a part's. */
function materialize(name: string, tree: PlannedTree): string {
  const system = `/frx/store/${name}-system-sample`;
  for (const [path, entry] of tree) {
    const at = join(root, system, path);
    if (entry.type === "directory") fs.mkdirSync(at, { recursive: true });
    else if (entry.type === "symlink") {
      fs.mkdirSync(dirname(at), { recursive: true });
      fs.symlinkSync(entry.target, at);
    } else
      write(at, entry.content.kind === "text" ? entry.content.text : `${path} of the base\n`, entry.executable ? 0o555 : 0o444);
  }
  return system;
}

describe("activation", () => {
  const log = (): readonly string[] => (here("log") ? read("log").trimEnd().split("\n") : []);
  const activate = (system: string): { readonly status: number | null; readonly stderr: string } =>
    spawnSync("/bin/sh", [join(root, system, "activate"), system], {
      encoding: "utf8",
      env: { PATH: `${bin}:/usr/bin:/bin`, GARTH_ROOT: root },
    });
  const stateOf = (path: string): string => {
    const { mode, uid, gid } = fs.lstatSync(join(root, path));
    return `${(mode & 0o7777).toString(8)} ${uid}:${gid}`;
  };
  /** Everything below etc, run and home with when it was changed. */
  const snapshot = (): readonly string[] =>
    ["etc", "run", "home", "root"].flatMap((top) =>
      fs
        .readdirSync(join(root, top), { recursive: true, encoding: "utf8" })
        .map((path) => `${top}/${path} ${fs.lstatSync(join(root, top, path), { bigint: true }).ctimeNs}`),
    );

  beforeEach(() => {
    standIn(
      "pwd_mkdb",
      `echo "pwd_mkdb $*" >>${root}/log\n[ -e ${root}/refuse ] && exit 1\nd=$3\nfor t in "$d/pwd.db.tmp" "$d/spwd.db.tmp" "$4.orig"; do [ ! -e "$t" ] || exit 1; done\n: >"$d/pwd.db"\n: >"$d/spwd.db"\n`,
    );
    standIn("cap_mkdb", `echo "cap_mkdb $*" >>${root}/log\n[ -e ${root}/refuse ] && exit 1\n: >"$1.db"\n`);
    // kenv(1): -q says nothing of what is not there, -u takes away.
    standIn("kenv", `case $1 in -q) cat "${root}/kenv/$2" 2>/dev/null ;; -u) rm "${root}/kenv/$2" ;; esac\n`);
  });

  test("of an empty root: /etc with its owners and modes, databases, the link, homes and keys", () => {
    const system = materialize("1", plan());
    expect(activate(system)).toMatchObject({
      status: 0,
      stderr:
        "garth: the secret alice-password was not given to this machine\ngarth: the secret web.token was not given to this machine\n",
    });
    expect(
      Object.fromEntries(
        ["rc.conf", "rc", "master.passwd", "newsyslog.conf.d/web.conf", "ntp", "ssh/ssh_config"].map((name) => [
          name,
          stateOf(`etc/${name}`),
        ]),
      ),
    ).toEqual({
      "rc.conf": "644 0:0",
      rc: "755 0:0",
      "master.passwd": "600 0:0",
      "newsyslog.conf.d/web.conf": "600 8080:80",
      ntp: "700 0:0",
      "ssh/ssh_config": "644 0:0",
    });
    expect(fs.readlinkSync(join(root, "etc/aliases"))).toBe("mail/aliases");
    expect(read("etc/ssh/ssh_config")).toBe("etc/ssh/ssh_config of the base\n");
    expect(read("etc/.garth-system")).toBe(`${system}\n`);
    expect(fs.readlinkSync(join(root, "run/current-system"))).toBe(system);
    expect(log()).toEqual([`pwd_mkdb -p -d ${root}/etc ${root}/etc/master.passwd`, `cap_mkdb ${root}/etc/login.conf`]);
    expect([stateOf("root"), stateOf("home/alice"), here("nonexistent")]).toEqual(["700 0:0", "755 1000:1000", false]);
    expect([stateOf("root/.ssh"), stateOf("root/.ssh/authorized_keys")]).toEqual(["700 0:0", "600 0:0"]);
    expect(read("root/.ssh/authorized_keys")).toEndWith("root's key\n");
    expect(spawnSync("find", [root, "-name", "*.garth"], { encoding: "utf8" }).stdout).toBe("");
  });

  test("once more changes nothing in /etc and makes no database; one that is missing is made", () => {
    const system = materialize("1", plan());
    activate(system);
    const before = snapshot();
    activate(system);
    expect(snapshot()).toEqual(before);
    expect(log().length).toBe(2);
    fs.rmSync(join(root, "etc/spwd.db"));
    activate(system);
    expect(log().length).toBe(4);
  });

  test("of another system: what only the first had goes, what the machine made stays", () => {
    const first = materialize(
      "1",
      plan({ etc: { ...SAMPLE.etc, "old.d/x/y": { text: "", mode: 0o644, user: "root", group: "wheel" } } }),
    );
    activate(first);
    write(join(root, "etc/ssh/ssh_host_ed25519_key"), "made here\n", 0o600);
    const untouched = fs.statSync(join(root, "etc/rc"), { bigint: true }).ctimeNs;
    const second = materialize(
      "2",
      plan({ hostName: "other", etc: { "old.d": { text: "a file now\n", mode: 0o640, user: "root", group: "operator" } } }),
    );
    expect(activate(second).status).toBe(0);
    expect(read("etc/rc.conf")).toContain('hostname="other"');
    expect([read("etc/old.d"), stateOf("etc/old.d")]).toEqual(["a file now\n", "640 0:5"]);
    expect([here("etc/newsyslog.conf.d"), read("etc/ssh/ssh_host_ed25519_key")]).toEqual([false, "made here\n"]);
    expect(fs.statSync(join(root, "etc/rc"), { bigint: true }).ctimeNs).toBe(untouched);
    expect(fs.readlinkSync(join(root, "run/current-system"))).toBe(second);
    // And back, where old.d is a directory again.
    expect(activate(first).status).toBe(0);
    expect([here("etc/old.d/x/y"), stateOf("etc/newsyslog.conf.d/web.conf")]).toEqual([true, "600 8080:80"]);
  });

  test("a file that is the same and has another owner now", () => {
    const declared = (user: string, group: string) => ({ x: { text: "x\n", mode: 0o640, user, group } });
    activate(materialize("1", plan({ etc: declared("web", "www") })));
    expect(stateOf("etc/x")).toBe("640 8080:80");
    activate(materialize("2", plan({ etc: { x: { text: "x\n", mode: 0o644, user: "root", group: "wheel" } } })));
    expect(stateOf("etc/x")).toBe("644 0:0");
  });

  test("databases that cannot be made stop nothing, and are tried again", () => {
    const system = materialize("1", plan());
    write(join(root, "refuse"), "");
    const done = activate(system);
    expect(done.status).toBe(0);
    expect(done.stderr).toContain(
      "garth: pwd_mkdb failed; accounts are those of the last time\ngarth: cap_mkdb failed; login.conf is read as text\n",
    );
    expect(fs.readlinkSync(join(root, "run/current-system"))).toBe(system);
    fs.rmSync(join(root, "refuse"));
    activate(system);
    expect([here("etc/pwd.db"), read("etc/.garth-system")]).toEqual([true, `${system}\n`]);
  });

  test("databases whose making was cut off are made: what is left of that does not stay in the way", () => {
    const system = materialize("1", plan());
    for (const name of ["pwd.db.tmp", "spwd.db.tmp", "master.passwd.orig"]) write(join(root, "etc", name), "half\n");
    expect(activate(system).stderr).not.toContain("pwd_mkdb");
    expect([here("etc/pwd.db"), here("etc/pwd.db.tmp"), here("etc/master.passwd.orig")]).toEqual([true, false, false]);
  });

  test("what could not be written leaves no stamp, and the next run goes on", () => {
    const system = materialize("1", plan());
    standIn("chown", "exit 1\n");
    expect(activate(system).status).not.toBe(0);
    expect([here("etc/.garth-system"), here("run/current-system")]).toEqual([false, false]);
    fs.rmSync(join(bin, "chown"));
    expect(activate(system).status).toBe(0);
    expect(stateOf("etc/master.passwd")).toBe("600 0:0");
  });

  test("secrets: from the kernel's environment to their places, gone from it, kept without a new one", () => {
    const hash = "$6$rounds=5000$salt$Zm9v/bar.";
    write(join(root, "kenv/garth.secret.alice-password"), hash);
    write(join(root, "kenv/garth.secret.web.token"), `it's "$HOME" \\ %s`);
    const first = materialize("1", plan());
    expect(activate(first)).toMatchObject({ status: 0, stderr: "" });
    expect([stateOf("data/web token"), read("data/web token")]).toEqual(["440 8080:80", `it's "$HOME" \\ %s`]);
    expect([stateOf("run/secrets/alice-password"), fs.readdirSync(join(root, "kenv"))]).toEqual(["400 0:0", []]);
    expect(read("etc/master.passwd")).toContain(`alice:${hash}:1000:1000::0:0:Alice:/home/alice:/bin/tcsh\n`);
    expect(stateOf("etc/master.passwd")).toBe("600 0:0");
    // No value is in the store.
    expect(spawnSync("grep", ["-r", "rounds=5000", join(root, "frx")], { encoding: "utf8" }).stdout).toBe("");
    activate(materialize("2", plan({ hostName: "other" })));
    expect(read("etc/master.passwd")).toContain(`alice:${hash}:`);
  });

  test("a secret that is no hash does not become a line of master.passwd", () => {
    write(join(root, "kenv/garth.secret.alice-password"), "*:0:0::0:0::/:/bin/sh\nmallory:");
    const done = activate(materialize("1", plan()));
    expect(done.stderr).toContain("garth: the secret for the password of alice is no hash of crypt(3)\n");
    expect(read("etc/master.passwd")).toContain("alice:*:1000:");
  });

  test("keys do not go where a user's link leads", () => {
    const users = SAMPLE.users.map((user) => ({ ...user, authorizedKeys: ["ssh-ed25519 AAAA"] }));
    const system = materialize("1", plan({ users }));
    write(join(root, "elsewhere/authorized_keys"), "mine\n");
    fs.mkdirSync(join(root, "home/alice"), { recursive: true });
    fs.symlinkSync(join(root, "elsewhere"), join(root, "home/alice/.ssh"));
    expect(activate(system)).toMatchObject({ status: 0, stderr: expect.stringContaining("no keys are put there") });
    expect(read("elsewhere/authorized_keys")).toBe("mine\n");
  });
});

describe("on-failure", () => {
  test("runs a program again until it ends well", () => {
    write(join(root, "on-failure"), textOf(plan(), "etc/garth/on-failure"));
    write(join(root, "program"), `#!/bin/sh\necho "$1" >>${root}/runs\n[ "$(wc -l <${root}/runs)" -gt 1 ]\n`);
    expect(spawnSync(join(root, "on-failure"), [join(root, "program"), "a b"]).status).toBe(0);
    expect(read("runs")).toBe("a b\na b\n");
  });

  test("hands on the signal, waits for the end, and does not run it again", async () => {
    write(join(root, "on-failure"), textOf(plan(), "etc/garth/on-failure"));
    write(join(root, "program"), `#!/bin/sh\ntrap 'echo told; exit 3' TERM\necho up\nwhile :; do sleep 0.05; done\n`);
    const running = spawn(join(root, "on-failure"), [join(root, "program")], { stdio: ["ignore", "pipe", "inherit"] });
    const ended = new Promise<number | null>((resolve) => running.on("exit", resolve));
    let said = "";
    for await (const chunk of running.stdout) {
      said += String(chunk);
      if (said === "up\n") running.kill("SIGTERM");
    }
    expect([said, await ended]).toEqual(["up\ntold\n", 3]);
  });
});
