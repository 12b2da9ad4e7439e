/** What hosts say, judged; and the scripts that ask them, on two shells. */
import { afterAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { golden, thrownProblem } from "../base/testing.ts";
import { EVENT_PREFIX, parseEvent, type ScriptEvent, SCRIPT_HEAD } from "../host/index.ts";
import { judge } from "./check.ts";
import { checkScript } from "./check-script.ts";
import { makePlaceScript, purgeScript, ROOT_DIRECTORIES } from "./place-script.ts";

const directory = fs.mkdtempSync(`${tmpdir()}/garth-check-`);
afterAll(() => fs.rmSync(directory, { recursive: true, force: true }));

const whom = { name: "build", url: "ssh://root@build.example" };
/** In it everything that a path can have. */
const HOSTILE = `${directory}/a b/it's "$HOME" \`id\`\\n;*~`;

function eventsOf(text: string): readonly ScriptEvent[] {
  return text.split("\n").flatMap((line) => parseEvent(line) ?? []);
}

describe("a host's own words, judged", () => {
  const cases = fs.readdirSync(join(import.meta.dir, "golden/check")).filter((file) => file.endsWith(".events"));
  test("there are hosts of every kind", () => expect(cases.length).toBeGreaterThanOrEqual(7));
  test.each(cases)("%s", (file) => {
    const path = join(import.meta.dir, "golden/check", file);
    const lines = fs.readFileSync(path, "utf8").trimEnd().split("\n");
    const events = eventsOf(lines.map((line) => `${EVENT_PREFIX}${line}`).join("\n"));
    const said = Number(events.find(({ name }) => name === "clock")?.rest);
    // Asked at 1700000000, answered a second later.
    const ahead = Number.isNaN(said) ? undefined : { minSeconds: said - 1_700_000_001, maxSeconds: said + 1 - 1_700_000_000 };
    const root = file.startsWith("linux-bare") ? "/srv/it's ours/garth" : "/frx/var/garth/remote";
    const found = `${JSON.stringify(judge({ whom, root, events, ahead }), undefined, 2)}\n`;
    expect(found).toBe(golden(path.replace(/events$/, "json"), found));
  });

  test("every finding that is not well says what to do", () => {
    for (const file of cases) {
      const report = JSON.parse(fs.readFileSync(join(import.meta.dir, "golden/check", file.replace(/events$/, "json")), "utf8"));
      for (const { state, advice } of report.findings) expect((advice ?? "") === "").toBe(state === "ok");
    }
  });

  test("what cannot be is not believed", () => {
    const judged = (text: string) => thrownProblem(() => judge({ whom, root: "/r", events: eventsOf(text), ahead: undefined }));
    expect(judged("Welcome!").code).toBe("E_HOST_ANSWER");
    expect(judged("garth: system Darwin arm64")).toMatchObject({ code: "E_UNKNOWN_SYSTEM", exit: 3 });
    expect(judged("garth: system Linux riscv64").code).toBe("E_UNKNOWN_SYSTEM");
    expect(judged("garth: system Linux x86_64\ngarth: processors many\ngarth: memory 1").code).toBe("E_HOST_ANSWER");
  });
});

const FUNCTIONS = 'alive() {\n  [ "$1" = living ]\n}\n';
const SHELLS = [{ shell: ["dash"] }, { shell: ["busybox", "sh"] }] as const;

function run(shell: readonly string[], script: string, stdin = "") {
  const { exitCode, stderr, stdout } = Bun.spawnSync([...shell, "-c", script], { stdin: Buffer.from(stdin) });
  const said = stderr.toString();
  return {
    status: exitCode,
    events: eventsOf(said),
    words: said.split("\n").filter((line) => line !== "" && parseEvent(line) === undefined),
    stdout: stdout.toString(),
  };
}

describe("scripts", () => {
  const rendered = [
    ["check", checkScript("/frx/var/garth/remote"), checkScript(HOSTILE)],
    ["make-place", makePlaceScript("/frx/var/garth/remote"), makePlaceScript(HOSTILE)],
    ["purge", purgeScript("/frx/var/garth/remote", FUNCTIONS), purgeScript(HOSTILE, FUNCTIONS)],
  ] as const;

  test.each(rendered)("%s is as it was, and shellcheck finds nothing", (name, plain, hostile) => {
    expect(plain).toBe(golden(join(import.meta.dir, `golden/${name}.sh`), plain));
    for (const [text, more] of [
      [plain, []],
      [hostile, ["-e", "SC2016"]],
    ] as const) {
      const file = join(directory, `${name}.sh`);
      fs.writeFileSync(file, text);
      for (const words of [
        ["sh", "-n", file],
        ["busybox", "sh", "-n", file],
        ["shellcheck", "-s", "sh", ...more, file],
      ])
        expect(Bun.spawnSync(words).stdout.toString()).toBe("");
    }
  });

  test.each(SHELLS)("$shell: looks at this machine, and leaves it as it was", ({ shell }) => {
    const before = fs.readdirSync(directory).toSorted();
    const { status, events, words, stdout } = run(shell, checkScript(HOSTILE), "now\n");
    expect([status, words, stdout]).toEqual([0, [], ""]);
    const report = judge({ whom, root: HOSTILE, events, ahead: { minSeconds: 0, maxSeconds: 0 } });
    expect(report.facts.processors).toBe(Number(Bun.spawnSync(["nproc"]).stdout.toString()));
    expect(report.facts.memoryBytes).toBeGreaterThan(1024 ** 3);
    expect(report.facts.release).toBe(Bun.spawnSync(["uname", "-r"]).stdout.toString().trim());
    expect(report.findings.filter(({ state }) => state === "missing")).toEqual([]);
    expect(events.find(({ name }) => name === "place")?.rest).toBe(`ok ${directory}`);
    expect(Math.abs(Number(events.find(({ name }) => name === "clock")?.rest) - Date.now() / 1000)).toBeLessThan(60);
    expect(fs.readdirSync(directory).toSorted()).toEqual(before);
  });

  test.each(SHELLS)("$shell: without its leash it ends", ({ shell }) => {
    const { status, events } = run(shell, checkScript(HOSTILE));
    expect([status, events.at(-1)?.name]).toEqual([0, "ask"]);
  });

  test.each(SHELLS)("$shell: makes the place, again without harm, and takes it away", ({ shell }) => {
    const beside = `${directory}/a b/beside`;
    for (const time of ["first", "again"]) expect([time, run(shell, makePlaceScript(HOSTILE)).status]).toEqual([time, 0]);
    expect(fs.readdirSync(HOSTILE).toSorted()).toEqual([...ROOT_DIRECTORIES].toSorted());
    for (const name of ROOT_DIRECTORIES) expect(fs.statSync(`${HOSTILE}/${name}`).mode & 0o7777).toBe(0o755);
    fs.mkdirSync(`${HOSTILE}/store/item`, { mode: 0o555 });
    fs.mkdirSync(`${HOSTILE}/tmp/1-dead`);
    fs.writeFileSync(`${HOSTILE}/tmp/1-dead/owner`, "dead\n");
    fs.writeFileSync(`${HOSTILE}/lock`, "");
    fs.writeFileSync(beside, "");
    expect(run(shell, purgeScript(HOSTILE, FUNCTIONS))).toMatchObject({ status: 0, events: [], words: [] });
    expect(fs.readdirSync(`${directory}/a b`)).toEqual(["beside"]);
    expect(run(shell, purgeScript(HOSTILE, FUNCTIONS)).status).toBe(0);
    fs.rmSync(beside);
  });

  test.each(SHELLS)("$shell: takes nothing away that is not its own, lives, or is mounted", ({ shell }) => {
    run(shell, makePlaceScript(HOSTILE));
    fs.writeFileSync(`${HOSTILE}/mine`, "");
    fs.mkdirSync(`${HOSTILE}/tmp/2-alive`);
    fs.writeFileSync(`${HOSTILE}/tmp/2-alive/owner`, "living\n");
    const busy = run(shell, purgeScript(HOSTILE, FUNCTIONS));
    expect([busy.status, busy.events.map(({ name, rest }) => `${name} ${rest}`)]).toEqual([1, ["busy living"]]);
    fs.rmSync(`${HOSTILE}/tmp/2-alive`, { recursive: true });
    fs.mkdirSync(`${HOSTILE}/tmp/3 dead`);
    const mounting = `mount -t tmpfs garth "$1" && shift && exec "$@"`;
    const mounted = run(
      ["unshare", "--mount", "sh", "-c", mounting, "sh", `${HOSTILE}/tmp/3 dead`, ...shell],
      purgeScript(HOSTILE, FUNCTIONS),
    );
    expect([mounted.status, mounted.events.map(({ name }) => name)]).toEqual([1, ["mounted"]]);
    expect(fs.readdirSync(HOSTILE).toSorted()).toEqual(["mine", ...ROOT_DIRECTORIES].toSorted());
    expect(run(shell, purgeScript(HOSTILE, FUNCTIONS)).status).toBe(0);
    expect(fs.readdirSync(HOSTILE)).toEqual(["mine"]);
    fs.rmSync(`${directory}/a b`, { recursive: true });
  });

  test.each(SHELLS)("$shell: a way that somebody else can change is refused before anything is made", ({ shell }) => {
    const at = (name: string): string => `${directory}/ways/${name}`;
    fs.mkdirSync(at("real"), { recursive: true });
    fs.symlinkSync("real", at("link"));
    fs.mkdirSync(at("foreign"));
    fs.chownSync(at("foreign"), 1000, 1000);
    fs.mkdirSync(at("open"));
    fs.chmodSync(at("open"), 0o775);
    fs.mkdirSync(at("sticky"));
    fs.chmodSync(at("sticky"), 0o1777);
    fs.writeFileSync(at("file"), "");
    const tried = ["link", "foreign", "open", "file", "sticky"].map((name) => {
      const looked = run(shell, checkScript(`${at(name)}/garth`)).events.find((event) => event.name === "place");
      const { status, words } = run(shell, makePlaceScript(`${at(name)}/garth`));
      return [name, looked?.rest.replace(directory, ""), status, words.join().replace(directory, "")];
    });
    expect(tried).toEqual([
      ["link", "symlink /ways/link", 1, "/ways/link is a symlink"],
      ["foreign", "foreign /ways/foreign", 1, "/ways/foreign is somebody else's"],
      ["open", "open /ways/open", 1, "/ways/open can be written to by others"],
      ["file", "other /ways/file", 1, "/ways/file is no directory"],
      ["sticky", "ok /ways/sticky", 0, ""],
    ]);
    expect(fs.readdirSync(at("real"))).toEqual([]);
    fs.rmSync(`${directory}/ways`, { recursive: true });
  });

  test("the head is the one that all scripts have", () => {
    for (const [, plain] of rendered) expect(plain.startsWith(SCRIPT_HEAD)).toBe(true);
  });
});
