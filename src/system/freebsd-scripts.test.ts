/** The scripts of a FreeBSD system, run: by /bin/sh, with stand-ins for the tools that only FreeBSD has. */
import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
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

describe("shellcheck", () => {
  const tree = plan();
  const scripts = [...tree].flatMap(([path, entry]) =>
    entry.type === "file" && entry.content.kind === "text" && entry.executable ? [path] : [],
  );
  test("there are scripts", () => expect(scripts.length).toBe(10));
  for (const path of scripts) {
    test(path, () => {
      // rc.subr(8) is FreeBSD's and reads the variables; words of a declaration are taken as they are.
      const left = path.includes("rc.d/") ? ["-e", "SC1091,SC2034,SC2016"] : [];
      const checked = spawnSync("shellcheck", ["-s", "sh", ...left, "-"], { input: textOf(tree, path), encoding: "utf8" });
      expect(checked.stdout).toBe("");
      expect(checked.status).toBe(0);
    });
  }
});

/** The text with every path of FreeBSD's that it names below the root, and the stand-ins before other programs. */
const rooted = (text: string): string =>
  text
    .replaceAll(
      /(?<=^|[\s"=>])\/(?:etc|var|run|data|dev\/console|usr\/sbin|usr\/local\/bin)(?=[/\s"'])|(?<=[\s>])\/dev\/console/gm,
      (path) => `${root}${path}`,
    )
    .replaceAll(`${root}/usr/sbin`, bin)
    .replaceAll("'/data", `'${root}/data`)
    .replaceAll("PATH=/sbin", `PATH=${bin}:/sbin`);

describe("scripts of rc.d", () => {
  const service = (
    path: string,
    argument: string,
    tree = plan(),
  ): { readonly status: number | null; readonly stdout: string } => {
    write(join(root, "script"), rooted(textOf(tree, path)));
    return spawnSync("/bin/sh", [join(root, "script"), argument], { encoding: "utf8", cwd: "/" });
  };
  beforeEach(() => {
    fs.mkdirSync(join(root, "dev"));
    // What of rc.subr(8) is used: rcvar, precmd, cmd, and directives that a script does not know.
    write(
      join(root, "etc/rc.subr"),
      `load_rc_config() { for variable in sshd migrate web_server queue; do eval "\${variable}_enable=YES"; done; }
run_rc_command() {
	directive=\${1#one}
	case " start stop $extra_commands \${pidfile:+status} " in *" $directive "*) ;; *) echo "$0: unknown directive '$directive'."; return 1 ;; esac
	eval "precmd=\\\${\${directive}_precmd:-:} cmd=\\\${\${directive}_cmd:-}"
	[ "$1" != "$directive" ] || [ -z "\${rcvar:-}" ] || { eval "enabled=\\$$rcvar"; [ "$enabled" = YES ] || return 0; }
	eval "$precmd" && eval "$cmd"
}
`,
    );
    // daemon(8): its options and what it runs are written down; the program runs at once.
    standIn(
      "daemon",
      `options=
while getopts cfo:rR:P:t:ST:u: option; do options="$options \${option}\${OPTARG:+=$OPTARG}"; done
shift $((OPTIND - 1))
echo "$options" >${root}/daemon
exec "$@"
`,
    );
    // chroot(8) of FreeBSD, by the numbers that it is given and no others.
    standIn(
      "chroot",
      `while getopts u:g:G: option; do
	case $option in u) user=$OPTARG ;; g) group=$OPTARG ;; G) groups=$OPTARG ;; esac
done
shift $OPTIND
exec setpriv --reuid="$user" --regid="$group" \${groups:+--groups="$groups"} "$@"
`,
    );
    for (const name of ["web", "queue", "migrate"])
      write(join(root, "usr/local/bin", name), `#!/bin/sh\nprintf '%s|' "$@"\necho "$PORT|$MOTTO|$(id -u):$(id -g):$(id -G)"\n`);
  });

  test("a service: prepared, then under daemon(8), so that it outlives rc(8); words as declared", () => {
    const done = service("usr/local/etc/rc.d/web-server", "start");
    expect(done.stdout).toStartWith(`Starting web_server.\n--greeting|it's $HOME|8080|say "hi"|`);
    expect(read("daemon")).toBe(` c r R=1 P=${root}/var/run/web_server.pid t=web_server S T=web_server u=web\n`);
    expect(here("data/web dir")).toBe(true);
  });

  test("a service that is not enabled is not started", () => {
    const tree = plan();
    write(
      join(root, "script"),
      rooted(textOf(tree, "usr/local/etc/rc.d/web-server")).replace("load_rc_config", "web_server_enable=NO #"),
    );
    expect(spawnSync("/bin/sh", [join(root, "script"), "start"], { encoding: "utf8" }).stdout).toBe("");
  });

  test("preparing that fails starts nothing", () => {
    write(join(root, "data/web dir"), "in the way");
    expect(service("usr/local/etc/rc.d/web-server", "start").status).not.toBe(0);
    expect(here("daemon")).toBe(false);
  });

  test("a one-shot: as its user with its groups alone, without daemon(8), and marked when it ended well", () => {
    expect(service("usr/local/etc/rc.d/migrate", "onestatus").status).toBe(1);
    const done = service("usr/local/etc/rc.d/migrate", "start");
    expect(done.stdout).toBe("Starting migrate.\n--to|last one|||8080:80:80 1001\n");
    expect(here("daemon")).toBe(false);
    expect(service("usr/local/etc/rc.d/migrate", "onestatus").status).toBe(0);
  });

  test("a one-shot that fails says so on the console and loses its mark", () => {
    service("usr/local/etc/rc.d/migrate", "start");
    write(join(root, "usr/local/bin/migrate"), "#!/bin/sh\nexit 7\n");
    expect(service("usr/local/etc/rc.d/migrate", "start").status).toBe(1);
    expect(read("dev/console")).toBe("garth: service migrate failed with status 7\n");
    expect(service("usr/local/etc/rc.d/migrate", "onestatus").status).toBe(1);
  });

  test("the order: rcorder(8) reads it from comments", () => {
    const tree = plan();
    const order = (path: string): readonly string[] =>
      textOf(tree, path).match(/^# (?:PROVIDE|REQUIRE|BEFORE|KEYWORD): .*$/gm) ?? [];
    expect(order("usr/local/etc/rc.d/web-server")).toEqual([
      "# PROVIDE: web_server",
      "# REQUIRE: sshd migrate",
      "# KEYWORD: shutdown",
    ]);
    expect(order("usr/local/etc/rc.d/migrate")).toEqual(["# PROVIDE: migrate", "# REQUIRE: LOGIN"]);
    expect(order("usr/local/etc/rc.d/garth_before_nginx")).toEqual([
      "# PROVIDE: garth_before_nginx",
      "# REQUIRE: web_server",
      "# BEFORE: nginx",
    ]);
    expect(order("usr/local/etc/rc.d/garth_ready")).toEqual([
      "# PROVIDE: garth_ready",
      "# REQUIRE: LOGIN sshd web_server migrate",
    ]);
    expect(order("etc/rc.d/garth_activate")).toEqual([
      "# PROVIDE: garth_activate",
      "# REQUIRE: mountcritlocal",
      "# BEFORE: FILESYSTEMS",
    ]);
  });

  test("the activation at the start: of the system that the loader says, or of the one there was", () => {
    for (const name of ["loaded", "before"]) write(join(root, name, "activate"), `#!/bin/sh\necho "activated $1"\n`);
    write(join(root, "var/lib/garth/ready"), "ready\n");
    fs.mkdirSync(join(root, "run"));
    fs.symlinkSync(join(root, "before"), join(root, "run/current-system"));
    const start = (): string =>
      spawnSync("/bin/sh", [join(root, "script"), "start"], { encoding: "utf8", env: { PATH: `${bin}:/usr/bin:/bin` } }).stdout;
    write(join(root, "script"), rooted(textOf(plan(), "etc/rc.d/garth_activate")));
    standIn("kenv", `[ "$2" = garth.system ] && echo ${root}/loaded\n`);
    expect(start()).toBe(`activated ${root}/loaded\n`);
    expect(here("daemon")).toBe(false);
    expect(here("var/lib/garth/ready")).toBe(false);
    standIn("kenv", "exit 1\n");
    expect(start()).toBe(`activated ${root}/before\n`);
  });

  test("the activation of another system than the one before: its file systems are mounted, and rc(8) reads its settings", () => {
    write(join(root, "loaded/activate"), "#!/bin/sh\necho activated\n");
    write(join(root, "etc/rc.d/mountcritlocal"), '#!/bin/sh\necho "mountcritlocal $*"\n');
    fs.mkdirSync(join(root, "etc"), { recursive: true });
    standIn("kenv", `[ "$2" = garth.system ] && echo ${root}/loaded\n`);
    write(join(root, "script"), rooted(textOf(plan(), "etc/rc.d/garth_activate")));
    // As rc(8): scripts in its own shell's children, and a word from them by SIGALRM.
    const rc = `RC_PID=$$; export RC_PID; autoboot=yes; trap 'echo "rc.conf is read again"' ALRM; ( set -- start; . ${root}/script ); echo next`;
    const env = { PATH: `${bin}:/usr/bin:/bin` };
    const boot = (): string => spawnSync("/bin/sh", ["-c", rc], { encoding: "utf8", env }).stdout;
    write(join(root, "etc/.garth-system"), `${root}/before\n`);
    expect(boot()).toBe("activated\nmountcritlocal start\nrc.conf is read again\nnext\n");
    write(join(root, "etc/.garth-system"), `${root}/loaded\n`);
    expect(boot()).toBe("activated\nnext\n");
    write(join(root, "etc/.garth-system"), `${root}/before\n`);
    // By hand there is nobody to tell.
    expect(spawnSync("/bin/sh", [join(root, "script"), "start"], { encoding: "utf8", env }).stdout).toBe(
      "activated\nmountcritlocal start\n",
    );
  });

  test("the activation of a system on trial: its watch is there before, and outlives rc(8)", () => {
    write(join(root, "loaded/activate"), `#!/bin/sh\ncat ${root}/daemon ${root}/watched\n`);
    write(join(root, "loaded/generations"), `#!/bin/sh\necho "$*" >${root}/watched\n`);
    standIn("kenv", `case $2 in garth.system) echo ${root}/loaded ;; garth.trial) echo 600 ;; *) exit 1 ;; esac\n`);
    write(join(root, "script"), rooted(textOf(plan(), "etc/rc.d/garth_activate")));
    const env = { PATH: `${bin}:/usr/bin:/bin` };
    expect(spawnSync("/bin/sh", [join(root, "script"), "start"], { encoding: "utf8", env }).stdout).toBe(
      ` f o=${root}/dev/console t=garth_watch\nwatch 600\n`,
    );
  });

  test("ready: started beside rc(8), said when every service was reached", () => {
    const tree = plan();
    const system = join(root, "frx/store/1-system-sample");
    fs.mkdirSync(join(root, "run"), { recursive: true });
    fs.symlinkSync(system, join(root, "run/current-system"));
    write(join(root, "etc/garth/ready"), rooted(textOf(tree, "etc/garth/ready")));
    write(join(system, "generations"), `#!/bin/sh\necho "$*" >>${root}/confirmed\n`);
    standIn("kenv", "exit 1\n");
    // Reached at the second look; of no status; without a listener at first.
    standIn(
      "service",
      `echo "$1 $2" >>${root}/asked
case $1 in
sshd) [ "$(grep -c sshd ${root}/asked)" -gt 1 ] ;;
migrate) echo "migrate: unknown directive 'status'."; exit 1 ;;
esac
`,
    );
    standIn("sockstat", `echo "$7" >>${root}/ports\n[ "$(wc -l <${root}/ports)" -lt 2 ] || echo "root sshd 1 tcp4 *:$7"\n`);
    expect(service("usr/local/etc/rc.d/garth_ready", "start", tree).status).toBe(0);
    expect(read("daemon")).toBe(" f t=garth_ready\n");
    expect(read("asked")).toBe("sshd onestatus\nsshd onestatus\nweb-server onestatus\nmigrate onestatus\n");
    expect(read("ports")).toBe("22\n22\n8080\n");
    expect([read("var/lib/garth/ready"), read("confirmed")]).toEqual(["ready\n", "confirm\n"]);
    expect(read("dev/console").trimEnd().split("\n")).toEqual([
      `garth: run_current_system_target=${system}`,
      `garth: pid1_command=${fs.readFileSync("/proc/1/comm", "utf8").trimEnd()}`,
      "garth: sshd_status=running",
      "garth: web_server_status=running",
      "garth: migrate_status=running",
      `garth: ready ${system}`,
    ]);
  });

  describe("ready, of a system on trial", () => {
    const ready = (kenv: string, generations: string): { readonly status: number | null; readonly console: string } => {
      const system = join(root, "frx/store/1-system-sample");
      fs.mkdirSync(join(root, "run"), { recursive: true });
      fs.symlinkSync(system, join(root, "run/current-system"));
      write(join(system, "generations"), `#!/bin/sh\n${generations}`);
      standIn("kenv", `case $2 in garth.trial) echo 600 ;; garth.system) echo ${kenv} ;; esac\n`);
      standIn("sleep", `echo "$1" >>${root}/slept\n`);
      write(join(root, "script"), rooted(textOf(plan({ services: [], readiness: [] }), "etc/garth/ready")));
      const { status } = spawnSync("/bin/sh", [join(root, "script")], { encoding: "utf8" });
      return { status, console: read("dev/console").replaceAll(root, "") };
    };

    test("is said when the generation is confirmed, however often that is asked", () => {
      const again = `echo . >>${root}/asked\n[ "$(wc -l <${root}/asked)" = 3 ] || { echo "garth: busy" >&2; exit 1; }\n`;
      const done = ready(join(root, "frx/store/1-system-sample"), again);
      expect(done.status).toBe(0);
      expect(read("slept")).toBe("5\n5\n");
      expect(done.console).toEndWith("garth: ready /frx/store/1-system-sample\n");
    });

    test("is not said where it cannot be confirmed", () => {
      expect(ready(join(root, "frx/store/1-system-sample"), "exit 1\n")).toEqual({
        status: 1,
        console: "garth: the generation is not confirmed\n",
      });
      expect([here("var/lib/garth/ready"), read("slept").split("\n").length - 1]).toEqual([false, 11]);
    });

    test("is not said of another system than the one that was started", () => {
      expect(ready("/frx/store/2-system-sample", `echo never >${root}/asked\n`)).toEqual({
        status: 1,
        console: "garth: /frx/store/2-system-sample was started, and not activated\n",
      });
      expect(here("asked")).toBe(false);
    });
  });
});
