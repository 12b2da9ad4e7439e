/** What starts the daemon, what keeps its log small, its settings, and the port: files for systems that are not this one. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parse } from "smol-toml";
import { golden } from "../src/base/testing.ts";
import { effectiveSettings, SETTINGS } from "../src/config/settings.ts";
import { scratch } from "./packaging.testing.ts";

const here = import.meta.dir;
const freebsd = join(here, "freebsd");
const port = join(freebsd, "sysutils/garth");
const read = (...path: readonly string[]): string => readFileSync(join(here, ...path), "utf8");
const { version } = JSON.parse(read("../package.json"));
let directory = "";

function write(path: string, text: string, mode = 0o644): string {
  const file = join(directory, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  chmodSync(file, mode);
  return file;
}

beforeAll(() => {
  directory = scratch("services");
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** What the script needs of rc.subr(8): it reads a configuration, and carries out one verb, saying what it would start. */
const RC_SUBR = `
load_rc_config() {
  . "$RC_CONF"
}
run_rc_command() {
  eval "_enabled=\\$$rcvar"
  printf 'enabled=%s pidfile=%s extra=%s\\n' "$_enabled" "$pidfile" "$extra_commands"
  case $1 in
    start)
      eval "rc_flags=\\$\${name}_flags"
      "$start_precmd" || return 1
      printf 'GARTH_ROOT=%s\\n' "\${GARTH_ROOT-none}"
      eval "printf '<%s>\\n' $command $rc_flags $command_args"
      ;;
    reload) "$reload_cmd" ;;
  esac
}
`;

describe("the rc.d script", () => {
  const rendered = () => read("freebsd/garth.in").replaceAll("%%PREFIX%%", "/usr/local");

  test("is what it was, and sh and shellcheck have nothing against it", () => {
    expect(rendered()).toBe(golden(join(here, "golden/rc.d-garth"), rendered()));
    const file = write("garth", rendered());
    execFileSync("sh", ["-n", file]);
    expect(execFileSync("shellcheck", ["-s", "sh", file], { encoding: "utf8" })).toBe("");
    const order = execFileSync("sed", ["-n", "s/^# \\(PROVIDE\\|REQUIRE\\|KEYWORD\\): /\\1 /p", file], { encoding: "utf8" });
    expect(order).toBe("PROVIDE garth\nREQUIRE LOGIN FILESYSTEMS NETWORKING\nKEYWORD shutdown\n");
  });

  function run(shell: readonly string[], conf: string, verb: string) {
    const subr = write("rc.subr", RC_SUBR);
    const script = rendered().replace("/etc/rc.subr", subr).replaceAll("/var/run", directory);
    const [program = "", ...words] = [...shell, write("run", script), verb];
    const env = { PATH: "/usr/bin:/bin", RC_CONF: write("rc.conf", conf) };
    const { status, stdout, stderr } = spawnSync(program, words, { env, encoding: "utf8" });
    return { status, stdout: stdout.replaceAll(directory, "/var/run"), stderr };
  }

  for (const shell of [["dash"], ["busybox", "sh"]]) {
    test(`under ${shell.join(" ")}: daemon(8) supervises the program, which alone gets the flags`, () => {
      expect(run(shell, "", "start").stdout).toBe(
        `enabled=NO pidfile=/var/run/garth.pid extra=reload\nGARTH_ROOT=none\n${daemon()}`,
      );
      const conf = `garth_enable="YES"\ngarth_root="/pool/it's \\$here/garth"\ngarth_flags="--listen 0.0.0.0:3000 --log json"\n`;
      expect(run(shell, conf, "start").stdout).toBe(
        `enabled=YES pidfile=/var/run/garth.pid extra=reload\nGARTH_ROOT=/pool/it's $here/garth\n${daemon("--listen", "0.0.0.0:3000", "--log", "json")}`,
      );
    });

    test(`under ${shell.join(" ")}: reload reaches the program and not its supervisor, and says when there is none`, async () => {
      rmSync(join(directory, "garth.program.pid"), { force: true });
      expect(run(shell, "", "reload")).toMatchObject({ status: 1, stderr: "garth is not running\n" });
      const child = Bun.spawn(["sh", "-c", "trap 'echo again; exit 0' HUP; echo up; read -r line"], {
        stdin: "pipe",
        stdout: "pipe",
      });
      const reader = child.stdout.getReader();
      await reader.read();
      write("garth.program.pid", `${child.pid}\n`);
      expect(run(shell, "", "reload").status).toBe(0);
      expect(new TextDecoder().decode((await reader.read()).value)).toBe("again\n");
      expect(await child.exited).toBe(0);
    });
  }

  function daemon(...flags: readonly string[]): string {
    const supervisor = ["/usr/sbin/daemon", "-cfH", "-R", "5", "-P", "/var/run/garth.pid", "-p", "/var/run/garth.program.pid"];
    const program = ["-o", "/var/log/garth.log", "-t", "garth", "/usr/local/bin/garth", "daemon", ...flags];
    return [...supervisor, ...program].map((word) => `<${word}>\n`).join("");
  }

  test("newsyslog(8) has the supervisor open the log that it writes anew", () => {
    const lines = read("freebsd/newsyslog.conf").split("\n");
    const [log, owner, mode, count, sizeKb, when, flags, pidfile, signal] =
      lines.find((line) => line.startsWith("/"))?.split(/\s+/) ?? [];
    const fields = { owner, mode, count, sizeKb, when, flags, signal };
    expect(fields).toEqual({ owner: "root:wheel", mode: "600", count: "7", sizeKb: "1000", when: "*", flags: "JC", signal: "1" });
    expect(rendered()).toContain(`\ngarth_log=${log}\n`);
    expect(rendered()).toContain(`\npidfile=${pidfile}\n`);
  });
});

test("the systemd unit is one that systemd reads, with a program and a manual in their places", () => {
  const program = write("bin/garth", "#!/bin/sh\n", 0o755);
  const unit = read("systemd/garth.service");
  const file = write("garth.service", unit.replaceAll("/usr/local/bin/garth", program));
  const { status, stdout, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", file], { encoding: "utf8" });
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "", stderr: "" });
  expect(unit).toContain("\nExecStart=/usr/local/bin/garth daemon\n");
  // What would break sandboxes, machines or the runtime.
  expect(unit).not.toMatch(
    /^(User|DynamicUser|PrivateDevices|PrivateNetwork|PrivateUsers|RestrictNamespaces|RestrictSUIDSGID)=/m,
  );
  expect(unit).not.toMatch(
    /^(MemoryDenyWriteExecute|SystemCallFilter|ProtectControlGroups|ProtectKernelTunables|CapabilityBoundingSet)=/m,
  );
});

test("the sample of settings has every setting, as the file would say it, and its default", () => {
  const sample = read("garth.toml.sample");
  const own = { jobs: 4, keepGoing: false, repositoryKey: "/frx/var/garth/keys/repository.pem", gcOlderThanMs: 30 * 86_400_000 };
  const from = (text: string) => effectiveSettings({ defaults: own, file: parse(text), fileName: "sample", env: {} });
  expect(from(sample).settings).toEqual(from("").settings);
  const said = from(sample.replaceAll(/^#(?=[a-z_]+ = )/gm, ""));
  expect(Object.entries(said.origins)).toEqual(SETTINGS.map(({ name, key }) => [name, `sample ${key}`]));
  expect({ ...said.settings, gatewayKeysFile: "" }).toEqual(from("").settings);
});

describe("the port", () => {
  /** Of bsd.port.mk: what it cannot do without, and the little that do-install calls. */
  const PORT_MK = `
.for variable in PORTNAME DISTVERSION CATEGORIES MASTER_SITES DISTFILES MAINTAINER COMMENT LICENSE
.if !defined(\${variable}) || empty(\${variable})
.error \${variable} is not set
.endif
.endfor
.if empty(ONLY_FOR_ARCHS:M\${ARCH})
IGNORE=\tis only for \${ONLY_FOR_ARCHS}
.endif
.for script in \${USE_RC_SUBR}
.if !exists(\${.CURDIR}/files/\${script}.in)
.error files/\${script}.in is not there
.endif
.endfor
describe:
\t@printf '%s\\n' "\${PORTNAME}-\${DISTVERSION}" "\${DISTFILES}" "\${DIST_SUBDIR}" "\${MASTER_SITES}" "\${IGNORE}"
`;
  const OPTIONS_MK = `
OPSYS?=\tFreeBSD
OSVERSION?=\t1501000
PREFIX?=\t/usr/local
ETCDIR?=\t\${PREFIX}/etc/\${PORTNAME}
FILESDIR?=\t\${.CURDIR}/files
MKDIR?=\tmkdir -p
INSTALL_SCRIPT?=\tinstall -m 555
INSTALL_DATA?=\tinstall -m 644
INSTALL_MAN?=\tinstall -m 444
`;
  function make(...words: readonly string[]) {
    write("mk/bsd.port.mk", PORT_MK);
    write("mk/bsd.port.options.mk", OPTIONS_MK);
    write("mk/sys.mk", "");
    const argv = ["-r", "-m", join(directory, "mk"), "-C", port, `.OBJDIR=${directory}`, ...words];
    const { status, stdout, stderr } = spawnSync("bmake", argv, { encoding: "utf8" });
    return { status, stdout, stderr };
  }

  test("has what a port must have, in the order of the Porter's Handbook", () => {
    expect(make("ARCH=amd64", "describe")).toEqual({
      status: 0,
      stdout: `garth-${version}\ngarth-freebsd-x64 garth.1 garth.toml.sample\ngarth/${version}\nfile://${port}/dist/\n\n`,
      stderr: "",
    });
    expect(make("ARCH=aarch64", "describe").stdout).toContain("\ngarth-freebsd-arm64 garth.1 garth.toml.sample\n");
    expect(make("ARCH=riscv64", "describe").stdout).toEndWith("is only for aarch64 amd64\n");
    expect(make("ARCH=amd64", "OSVERSION=1403000", "describe").stdout).toEndWith("needs FreeBSD 14.4 or later\n");
    // Portlint's blocks: the name, who keeps it, the licence, for what, how.
    const named = [...read("freebsd/sysutils/garth/Makefile").matchAll(/^([A-Z_]+)\??=/gm)].map(([, name = ""]) => name);
    const order = ["PORTNAME", "DISTVERSION", "CATEGORIES", "MASTER_SITES", "DISTFILES", "DIST_SUBDIR", "EXTRACT_ONLY"];
    const rest = ["MAINTAINER", "COMMENT", "LICENSE", "LICENSE_COMB", "ONLY_FOR_ARCHS", "ONLY_FOR_ARCHS_REASON", "USE_RC_SUBR"];
    expect(named.slice(0, order.length + rest.length)).toEqual([...order, ...rest]);
    const comment = /^COMMENT=\t(.*)$/m.exec(read("freebsd/sysutils/garth/Makefile"))?.[1] ?? "";
    expect(comment).toMatch(/^(?!An? |The )[A-Z].{1,68}[^.]$/);
    expect(
      read("freebsd/sysutils/garth/pkg-descr")
        .split("\n")
        .every((line) => line.length <= 80),
    ).toBe(true);
  });

  test("installs what its list of files says, whole and not stripped", () => {
    for (const name of ["garth-freebsd-x64", "garth.1", "garth.toml.sample"]) write(`distfiles/garth/${version}/${name}`, name);
    const stage = join(directory, "stage");
    for (const parent of ["bin", "share/man/man1"]) mkdirSync(join(stage, "usr/local", parent), { recursive: true });
    const made = make("ARCH=amd64", `STAGEDIR=${stage}`, `DISTDIR=${join(directory, "distfiles")}`, "do-install");
    expect(made).toMatchObject({ status: 0, stderr: "" });
    const installed = readdirSync(join(stage, "usr/local"), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(stage.length + "/usr/local/".length));
    const listed = read("freebsd/sysutils/garth/pkg-plist")
      .trim()
      .split("\n")
      // Of manuals the framework makes archives, and it knows what %%ETCDIR%% is.
      .map((line) =>
        line
          .replace(/^@sample /, "")
          .replace("%%ETCDIR%%", "etc/garth")
          .replace(/\.1\.gz$/, ".1"),
      );
    expect(installed.toSorted()).toEqual(listed.toSorted());
    expect(readFileSync(join(stage, "usr/local/bin/garth"), "utf8")).toBe("garth-freebsd-x64");
    expect(statSync(join(stage, "usr/local/bin/garth")).mode & 0o777).toBe(0o555);
    expect(existsSync(join(stage, "usr/local/etc/rc.d"))).toBe(false);
  });

  test("carries the same rc.d script and newsyslog line as the package that Garth makes", () => {
    expect(read("freebsd/sysutils/garth/files/garth.in")).toBe(read("freebsd/garth.in"));
    expect(read("freebsd/sysutils/garth/files/newsyslog.conf")).toBe(read("freebsd/newsyslog.conf"));
  });
});

test("shellcheck has nothing against the script that compiles", () => {
  expect(execFileSync("shellcheck", ["-s", "sh", join(here, "compile.sh")], { encoding: "utf8" })).toBe("");
  expect(spawnSync("sh", [join(here, "compile.sh"), "bun"], { encoding: "utf8" }).status).toBe(2);
});
