/** Services under busybox, run: what process 1 would start, in the order of its inittab, until the system says that it is ready. */
import { describe, expect, test } from "bun:test";
import fs from "node:fs";
import { planLinux } from "./linux.ts";
import { BOOT, composition, SAMPLE_SYSTEM } from "./linux.testing.ts";
import { machine } from "./machine.testing.ts";

const SYSTEM = SAMPLE_SYSTEM.slice(1);
const BUSYBOX = `${BOOT.path}/usr/bin/busybox`;

/** Starts everything that is to run once and at once, and ends with the word that all is there. */
const PROCESS_1 = `#!/bin/sh
mkdir -p /run/garth
sed -n 's/^::once://p' /etc/inittab | grep -v /ready >/run/lines
while read -r line; do $line & done </run/lines
exec /etc/garth/ready
`;

/** note NAME: says that it runs, and who it is. */
const NOTE = `#!/bin/sh
echo "$1 $(id -un) $(id -Gn) $MOTTO" >>/run/notes
`;

const FAILS = `#!/bin/sh
# fails NAME TIMES STATUS [COMMAND ...]
count=$(cat /run/count-"$1" 2>/dev/null || echo 0)
echo $((count + 1)) >/run/count-"$1"
[ "$count" -ge "$2" ] || { echo "the reason of $1"; exit "$3"; }
shift 3
exec "$@"
`;

test("services start after those they come after, are started again as declared, and the system says when it is ready", () => {
  using on = machine();
  const plan = planLinux(
    composition({
      init: "busybox",
      users: [{ name: "alice", groups: ["mail"] }],
      services: [
        // Declared the wrong way round.
        { name: "last", command: ["/srv/note", "last"], oneShot: true, after: ["late"] },
        {
          name: "late",
          command: ["/srv/note", "late"],
          oneShot: true,
          after: ["listener"],
          user: "alice",
          environment: { MOTTO: "it's $HOME" },
        },
        {
          name: "listener",
          prepare: [
            ["/bin/sleep", "0.5"],
            ["/srv/note", "prepared"],
          ],
          command: [BUSYBOX, "nc", "-l", "-p", "8080"],
          listens: 8080,
        },
        {
          name: "second-try",
          command: ["/srv/fails", "second-try", "1", "7", "/bin/true"],
          oneShot: true,
          restart: "on-failure",
        },
        { name: "hopeless", command: ["/srv/fails", "hopeless", "9", "1"], oneShot: true },
        { name: "regardless", command: ["/srv/wait"], after: ["hopeless"] },
        { name: "shaky", command: ["/srv/fails", "shaky", "1", "3", "/srv/wait"] },
        { name: "gives-up", command: ["/srv/fails", "gives-up", "0", "0", "/bin/true"], restart: "on-failure" },
      ],
      readiness: ["listener", "last", "second-try", "regardless", "shaky"],
    }),
  );
  on.bring(SYSTEM, plan);
  expect(on.run(`/${SYSTEM}/activate`, `/${SYSTEM}`).status).toBe(0);
  on.write("srv/note", NOTE, 0o755);
  on.write("srv/fails", FAILS, 0o755);
  on.write("srv/wait", "#!/bin/sh\nexec sleep 1000\n", 0o755);
  on.write("srv/process-1", PROCESS_1, 0o755);
  on.write("run/notes", "", 0o666);
  fs.symlinkSync(`/${SYSTEM}`, `${on.root}/run/current-system`);
  const { status, stderr, console: lines } = on.run("/srv/process-1");
  const console = lines.filter((line) => line !== "");
  expect([status, stderr]).toEqual([0, ""]);
  expect(on.read("run/notes").split("\n")).toEqual([
    "prepared root root ",
    "late alice alice mail it's $HOME",
    "last root root ",
    "",
  ]);
  const isFact = (line: string): boolean => /^garth: (?:ready |[a-z0-9_]+=)/.test(line);
  expect(console.filter((line) => !isFact(line)).toSorted()).toEqual([
    "garth: hopeless: the reason of hopeless",
    "garth: second-try: the reason of second-try",
    "garth: service gives-up ended with status 0, start 1",
    "garth: service hopeless ended with status 1, start 1",
    "garth: service second-try ended with status 7, start 1",
    "garth: service shaky ended with status 3, start 1",
    "garth: shaky: the reason of shaky",
  ]);
  expect(console.filter((line) => isFact(line) && !line.startsWith("garth: guest_ip="))).toEqual([
    `garth: run_current_system_target=/${SYSTEM}`,
    "garth: pid1_command=ready",
    "garth: listener_status=running",
    "garth: last_status=running",
    "garth: second_try_status=running",
    "garth: regardless_status=running",
    "garth: shaky_status=running",
    `garth: ready /${SYSTEM}`,
  ]);
  expect(on.read("var/lib/garth/ready")).toBe("ready\n");
  expect(on.read("run/count-hopeless")).toBe("1\n");
}, 30_000);

describe("a system that has something to settle", () => {
  /** What the machine says when it would be ready, with a program of generations that ends so. */
  function readyWith(status: number): ReturnType<ReturnType<typeof machine>["run"]> {
    using on = machine();
    on.bring(SYSTEM, planLinux(composition({ init: "busybox" })));
    expect(on.run(`/${SYSTEM}/activate`, `/${SYSTEM}`).status).toBe(0);
    const program = `#!/bin/sh\necho "garth: $1 of $(readlink /run/current-system)" >&2\nexit ${status}\n`;
    fs.chmodSync(`${on.root}/${SYSTEM}/generations`, 0o755);
    on.write(`${SYSTEM}/generations`, program, 0o755);
    fs.symlinkSync(`/${SYSTEM}`, `${on.root}/run/current-system`);
    fs.mkdirSync(`${on.root}/var/lib/garth/system`, { recursive: true });
    fs.symlinkSync("generations/2", `${on.root}/var/lib/garth/system/next`);
    return on.run("/etc/garth/ready");
  }

  test("says so and is ready", () => {
    const { status, console: lines } = readyWith(0);
    expect([status, lines[0], lines.at(-1)]).toEqual([0, `garth: confirm of /${SYSTEM}`, `garth: ready /${SYSTEM}`]);
  });

  test("is not ready where that cannot be", () => {
    expect(readyWith(1)).toMatchObject({ status: 1, console: [`garth: confirm of /${SYSTEM}`] });
  });
});
