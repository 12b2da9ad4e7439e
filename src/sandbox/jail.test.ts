/** The jail's files: as text, by their own rules, and by running the script with stand-ins for FreeBSD's tools. */
import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { golden } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { abandonedScratch, jailSandbox, readJailReport, renderJail } from "./jail.ts";
import { fstabField, jailConfString, jailName } from "./jail-files.ts";
import { defaultLimits, planSandbox } from "./plan.ts";
import type { RootEntry } from "./root.ts";
import { CAN_SANDBOX, makePlace, outputPath, type Place, sampleRequest } from "./testing.ts";
import { isProblem } from "./expect.testing.ts";
import type { SandboxPlan } from "./types.ts";

const inputs = [
  { path: outputPath("a", "zlib-1.3"), physical: `/frx/store/${"a".repeat(64)}-zlib-1.3`, type: "directory" as const },
  { path: outputPath("b", "hello.tar.gz"), physical: `/frx/store/${"b".repeat(64)}-hello.tar.gz`, type: "file" as const },
];
const limits = {
  ...defaultLimits,
  wallClockMs: 90_500,
  memoryBytes: 2 ** 30,
  processes: 200,
  openFiles: 1024,
  outputBytes: 2 ** 30,
};

const hostView = planSandbox(
  sampleRequest({
    system: "x86_64-freebsd",
    root: { kind: "host", paths: ["/bin", "/lib", "/usr"] },
    inputs,
    limits,
    env: { CC: "cc -O2" },
  }),
);
const hostRoot: readonly RootEntry[] = ["/bin", "/lib", "/usr"].map((path) => ({
  kind: "mount",
  type: "directory",
  source: path,
  target: path,
}));

const world = planSandbox(
  sampleRequest({
    system: "aarch64-freebsd",
    root: { kind: "world", path: outputPath("c", "world"), physical: "/tank/my store/c" },
    scratch: "/tank/my store/tmp/1",
    outputs: { out: { path: outputPath("0", "hello-1.0"), physical: "/tank/my store/out#1" } },
    limits,
    network: true,
  }),
);
const worldRoot: readonly RootEntry[] = [
  { kind: "mount", type: "file", source: "/tank/my store/c/COPYRIGHT", target: "/COPYRIGHT" },
  { kind: "mount", type: "directory", source: "/tank/my store/c/bin", target: "/bin" },
  { kind: "symlink", target: "/sys", to: "usr/src/sys" },
  { kind: "mount", type: "directory", source: "/tank/my store/c/usr", target: "/usr" },
];

const CASES = [
  ["host", hostView, hostRoot],
  ["world", world, worldRoot],
] as const;

/** fstab(5) as FreeBSD reads it: fields between white space, vis(3) octal in them, `#` begins a comment. */
function readFstab(text: string): string[][] {
  return text
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) =>
      line
        .split(/[ \t]+/)
        .map((field) => field.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))),
    );
}

describe("the files of a jail", () => {
  for (const [name, plan, root] of CASES) {
    const { files } = renderJail(plan, root);

    for (const [file, text] of Object.entries(files)) {
      test(`${name}: ${file}, whole`, () => expect(text).toBe(golden(join(import.meta.dir, `golden/jail-${name}`, file), text)));
    }

    test(`${name}: run.sh is sound by shellcheck's lights`, () => {
      const checked = Bun.spawnSync(["shellcheck", "-s", "sh", "-"], { stdin: Buffer.from(files["run.sh"] ?? "") });
      expect(checked.stdout.toString()).toBe("");
    });

    test(`${name}: fstab mounts each declared directory once, inside the jail, writable only where declared`, () => {
      const lines = readFstab(files["fstab"] ?? "");
      const jailRoot = `${plan.scratch}/jail-root`;
      for (const fields of lines) {
        expect(fields.length).toBe(6);
        expect(fields[2]).toBe("nullfs");
        expect(fields[1] === jailRoot || fields[1]?.startsWith(`${jailRoot}/`)).toBe(true);
      }
      const mounted = lines.map(([source, target, , options]) => `${options} ${source} ${target?.slice(jailRoot.length)}`);
      expect(new Set(mounted.map((line) => line.split(" ").at(-1))).size).toBe(mounted.length);
      expect(mounted[0]).toBe(`ro ${plan.scratch}/jail-skeleton `);
      const declared = [
        ...root.flatMap((entry) =>
          entry.kind === "mount" && entry.type === "directory" ? [`ro ${entry.source} ${entry.target}`] : [],
        ),
        ...plan.mounts.flatMap((mount) =>
          mount.kind === "writable"
            ? [`rw ${mount.source} ${mount.target}`]
            : mount.type === "directory"
              ? [`ro ${mount.source} ${mount.target}`]
              : [],
        ),
      ];
      expect(mounted.slice(1)).toEqual(declared);
    });

    test(`${name}: jail.conf is one block of well-formed settings`, () => {
      const lines = (files["jail.conf"] ?? "").trimEnd().split("\n");
      expect(lines[0]).toBe(`"${jailName(plan)}" {`);
      expect(lines.at(-1)).toBe("}");
      for (const line of lines.slice(1, -1)) expect(line).toMatch(/^ {2}[a-z0-9_.]+( = ([a-z0-9]+|"([^"\\$]|\\["\\$])*"))?;$/);
      for (const needed of ["persist", "enforce_statfs = 2", "mount.devfs", "devfs_ruleset = 4"])
        expect(lines).toContain(`  ${needed};`);
      const addresses = plan.network === "none" ? "disable" : "inherit";
      expect(lines).toContain(`  ip4 = ${addresses};`);
      expect(lines).toContain(`  ip6 = ${addresses};`);
    });
  }

  test("a field of fstab is read back as it was", () => {
    fc.assert(
      fc.property(
        fc.string().filter((text) => text !== "" && !/\p{Cc}/u.test(text)),
        (text) => expect(readFstab(`x${fstabField(text)} y\n`)).toEqual([[`x${text}`, "y"]]),
      ),
    );
  });

  test("a string of jail.conf ends where it should and names no variable", () => {
    expect(jailConfString('a"b\\c$d')).toBe('"a\\"b\\\\c\\$d"');
  });

  test("two scratch directories have two jails", () => {
    expect(jailName({ id: "1a2b3c4d", scratch: "/a" })).not.toBe(jailName({ id: "1a2b3c4d", scratch: "/b" }));
  });
});

/**
 * FreeBSD's tools as functions of the shell, before the script itself. They write down what they were asked; jails and mounts
 * are files in a directory, so that what the script believes is what it did.
 */
const TOOLS = `
state=$GARTH_TEST_STATE
log() { printf '%s\\n' "$*" >>"$state/log"; }
jls() { [ -e "$state/jail" ]; }
jail() {
  case " $* " in
  *" -c "*)
    log "jail -c"
    [ ! -e "$state/refuse" ] || { echo 'jail: no such module' >&2; return 1; }
    cut -d' ' -f2 "$scratch/fstab" | sed 's/^/none	/' >"$state/mounts"
    : >"$state/jail" ;;
  *" -r "*)
    log "jail -r"
    rm -f "$state/jail"
    [ -e "$state/busy" ] || : >"$state/mounts" ;;
  *) log "jail $*" ;;
  esac
}
mount() { cat "$state/mounts" 2>/dev/null || :; }
umount() { log "umount \${2#"$root"}"; grep -v "	$2\\$" "$state/mounts" >"$state/mounts.new" || :; mv "$state/mounts.new" "$state/mounts"; }
sysctl() { [ -e "$state/racct" ] && echo 1; }
rctl() { log "rctl $*"; }
rm() { case $1 in -rfx) shift; command rm -rf "$@" ;; *) command rm "$@" ;; esac }
timeout() { log "timeout $1 $2 $3"; shift 3; "$@"; }
limits() {
  while [ "$1" != env ]; do shift; done
  shift; shift
  while case $1 in *=*) true ;; *) false ;; esac; do shift; done
  printf '%s\\0' "$@" >"$state/jexec"
  # Past jexec JAIL chroot -u U -g G -G G /
  shift 10
  cd "$state" || exit 9
  "$@"
}
`;

describe.if(CAN_SANDBOX)("the script, with stand-ins for the tools", () => {
  let place: Place | undefined;
  afterEach(() => place?.remove());

  interface Ran {
    readonly status: number | null;
    readonly stdout: string;
    readonly report: ReturnType<typeof readJailReport>;
    readonly log: readonly string[];
    readonly state: string;
    readonly plan: SandboxPlan;
  }

  function run(
    verb: string,
    prepare: (state: string, plan: SandboxPlan) => void,
    argv: readonly [string, ...string[]] = ["/bin/sh", "-c", "echo hello"],
  ): Ran {
    place?.remove();
    place = makePlace();
    const state = join(place.directory, "state");
    mkdirSync(state);
    const source = join(place.directory, "input.tar");
    writeFileSync(source, "input");
    // The stand-in for the jail is a directory on this machine: /tmp is there in both.
    const plan = {
      ...place.plan("", { inputs: [{ path: outputPath("b", "input.tar"), physical: source, type: "file" }] }),
      argv,
      cwd: "/tmp",
      system: "x86_64-freebsd" as const,
    };
    mkdirSync(plan.scratch);
    for (const [name, text] of Object.entries(renderJail(plan, hostRoot).files)) writeFileSync(join(plan.scratch, name), text);
    prepare(state, plan);
    const child = Bun.spawnSync(
      ["sh", "-c", `${TOOLS}\nscratch=${plan.scratch}\nroot=$scratch/jail-root\n. ${plan.scratch}/run.sh`, "run.sh", verb],
      {
        env: { GARTH_TEST_STATE: state, PATH: "/usr/bin:/bin" },
      },
    );
    const log = existsSync(join(state, "log")) ? readFileSync(join(state, "log"), "utf8").trimEnd().split("\n") : [];
    return {
      status: child.exitCode,
      stdout: child.stdout.toString(),
      report: readJailReport(child.stderr.toString()),
      log,
      state,
      plan,
    };
  }

  test("a run: made, started, its status said, undone", () => {
    const { status, stdout, report, log, plan } = run("run", () => undefined, [
      "/bin/sh",
      "-c",
      "echo out; echo err >&2; exit 7",
    ]);
    expect({ status, stdout, report }).toEqual({
      status: 0,
      stdout: "out\nerr\n",
      report: { created: true, status: 7, timedOut: false, stuck: false, messages: [] },
    });
    expect(log).toEqual(["jail -c", `timeout -k 5 ${plan.limits.wallClockMs / 1000}`, "jail -r"]);
    expect(readdirSync(plan.scratch).toSorted()).toEqual(["build", "fstab", "jail.conf", "run.sh", "tmp"]);
    expect(statSync(join(plan.scratch, "build")).uid).toBe(35_001);
  });

  test("ids are dropped by chroot in the jail, and any words arrive as they are", () => {
    const words = ["a b", "'", '"', "$HOME", "`id`", "\\", "a\nb", "", "*", "-n"];
    const { state, stdout } = run("run", () => undefined, [
      "/bin/sh",
      "-c",
      'for w; do printf "<%s>" "$w"; done',
      "sh",
      ...words,
    ]);
    expect(stdout).toBe(words.map((word) => `<${word}>`).join(""));
    const jexec = readFileSync(join(state, "jexec"), "utf8").split("\0");
    expect(jexec[0]).toBe("/usr/sbin/jexec");
    expect(jexec[1]).toStartWith("garth-");
    expect(jexec.slice(2, 10)).toEqual(["/usr/sbin/chroot", "-u", "35001", "-g", "35001", "-G", "35001", "/"]);
  });

  test("a signal that ends the builder is over 128", () => {
    expect(run("run", () => undefined, ["/bin/sh", "-c", "kill -KILL $$"]).report.status).toBe(137);
  });

  test("a jail that cannot be made: what was made is undone, and the tool's words are kept", () => {
    const { status, report, log, plan } = run("run", (state) => writeFileSync(join(state, "refuse"), ""));
    expect(status).toBe(3);
    expect(report).toMatchObject({ created: false, status: undefined, messages: ["jail: no such module"] });
    expect(log).toEqual(["jail -c"]);
    expect(existsSync(join(plan.scratch, "jail-root")) || existsSync(join(plan.scratch, "jail-skeleton"))).toBe(false);
  });

  test("mounts that the jail left are unmounted, deepest first", () => {
    const { log, plan } = run("run", (state) => writeFileSync(join(state, "busy"), ""));
    const unmounted = log.filter((line) => line.startsWith("umount")).map((line) => line.slice("umount ".length));
    expect(unmounted).toEqual(["/dev", "/tmp", "/build", outputPath("0", "hello-1.0"), "/usr", "/lib", "/bin", ""]);
    expect(existsSync(join(plan.scratch, "jail-root"))).toBe(false);
  });

  test("what a dead run left is undone first", () => {
    const { status, log } = run("run", (state, plan) => {
      writeFileSync(join(state, "jail"), "");
      writeFileSync(join(state, "mounts"), `none\t${plan.scratch}/jail-root\n`);
      mkdirSync(join(plan.scratch, "jail-root"));
      mkdirSync(join(plan.scratch, "jail-skeleton/old"), { recursive: true });
    });
    expect(status).toBe(0);
    expect(log.slice(0, 2)).toEqual(["jail -r", "jail -c"]);
  });

  test("teardown undoes, and again does nothing", () => {
    const { status, log, plan } = run("teardown", (state, { scratch }) => {
      writeFileSync(join(state, "jail"), "");
      mkdirSync(join(scratch, "jail-root"));
    });
    expect([status, log]).toEqual([0, ["jail -r"]]);
    expect(existsSync(join(plan.scratch, "jail-root"))).toBe(false);
    expect(run("teardown", () => undefined)).toMatchObject({ status: 0, log: [] });
  });

  test("limits of the whole jail where racct is on", () => {
    const { log } = run("run", (state) => writeFileSync(join(state, "racct"), ""));
    expect(log.find((line) => line.startsWith("rctl"))).toMatch(
      /^rctl -a jail:garth-[0-9a-f-]+:memoryuse:sigkill=[0-9]+ jail:garth-[0-9a-f-]+:maxproc:deny=[0-9]+$/,
    );
  });
});

describe("reading what the script said", () => {
  test("events and the words of tools apart", () => {
    expect(
      readJailReport("garth-sandbox: created\njail: warning\ngarth-sandbox: limit wallClockMs\ngarth-sandbox: exited 124\n"),
    ).toEqual({
      created: true,
      status: 124,
      timedOut: true,
      stuck: false,
      messages: ["jail: warning"],
    });
  });

  test("scratch directories of jails, from mount -p and jls", () => {
    expect(
      abandonedScratch("/bin\t/a/1/jail-root/bin\tnullfs\n/x\t/b/jail-rooted\tnullfs\n/c/2/jail-root\n/a/1/jail-root\n"),
    ).toEqual(["/a/1", "/c/2"]);
  });

  test("a plan for FreeBSD is refused where it cannot be carried out", () => {
    const sandbox = jailSandbox(localHost());
    expect(sandbox.run(hostView, { onOutput: () => undefined })).rejects.toThrow(isProblem("E_SANDBOX_PLAN", []));
  });
});
