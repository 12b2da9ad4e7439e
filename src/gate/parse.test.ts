import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parse } from "smol-toml";
import { sha256 } from "../base/index.ts";
import { problemOf, thrownProblem } from "../base/testing.ts";
import { builtinNames, gate, type GateFields, gateDigest, gateText, parseGate, resolveGate } from "./index.ts";

const WHOLE = `
timeout_s = 120
screenshot = true

[[require]]
pattern = "^login: $"
within_s = 60.5
ordered = true

[[require]]
name = "sshd"
pattern = 'Starting sshd\\.'

[[forbid]]
pattern = "panic:"

[[restart_loop]]
pattern = 'Starting (\\S+)\\.'
max = 3
window_s = 30

[[probe]]
command = "service sshd status"
expect = "sshd is running as pid 1."
via = "ssh"

[[probe]]
command = "uname -s"
expect_pattern = "^FreeBSD$"
timeout_s = 5
`;

test("a gate file is read whole", async () => {
  const fields = { require: [] as const, name: "boot" };
  const read = await parseGate(WHOLE, "/etc/garth/boot.toml");
  expect(read).toEqual({
    ...gate({ ...fields, timeoutS: 120, screenshot: true }),
    require: [
      { name: "^login: $", pattern: "^login: $", withinS: 60.5, ordered: true },
      { name: "sshd", pattern: "Starting sshd\\.", withinS: undefined, ordered: false },
    ],
    forbid: [{ name: "panic:", pattern: "panic:" }],
    restartLoops: [{ name: "Starting (\\S+)\\.", pattern: "Starting (\\S+)\\.", max: 3, windowS: 30 }],
    probes: [
      {
        name: "service sshd status",
        command: "service sshd status",
        expect: "sshd is running as pid 1.",
        expectPattern: undefined,
        expectStatus: undefined,
        via: "ssh",
        user: "root",
        timeoutS: 30,
      },
      {
        name: "uname -s",
        command: "uname -s",
        expect: undefined,
        expectPattern: "^FreeBSD$",
        expectStatus: undefined,
        via: undefined,
        user: "root",
        timeoutS: 5,
      },
    ],
  });
  expect(await parseGate("", "x/boot.toml")).toEqual(gate({ name: "boot" }));
});

describe("a fault names file, line and field", () => {
  test.each([
    ["timeout = 3", 1, "timeout: there is no such key", "did you mean timeout_s?"],
    ["timeout_s = 0", 1, "timeout_s: 0 is not a number of seconds from 0.001 to 86400", ""],
    ["timeout_s = nan", 1, "timeout_s: null is not a number", ""],
    ["timeout_s = 2026-01-01", 1, "timeout_s: ", ""],
    ['extends = "plan9"', 1, 'extends: "plan9" is not one of linux, freebsd, none', ""],
    ['\n[[require]]\npattern = "("', 3, 'require[0].pattern: the pattern "(" cannot be compiled', "flag u"],
    ["[[require]]\npattern = 'a\\-b'", 2, 'require[0].pattern: the pattern "a\\\\-b" cannot be compiled', "flag u"],
    ['[[require]]\npattern = ""', 2, 'require[0].pattern: "" is not a pattern: one line of 1 to 1000 characters', ""],
    ['[[require]]\npattern = ".*"', 2, "matches the empty line", "it would match nearly any line"],
    ['[[forbid]]\npattern = "x?"', 2, 'forbid[0].pattern: the pattern "x?" matches the empty line', ""],
    ['[[require]]\npattern = "a"\n[[require]]\nname = "b"', 3, "require[1]: a pattern is missing", ""],
    [
      '[[require]]\npattern = "a"\nwithin_s = 301',
      3,
      "require[0].within_s: 301 s is more than the gate's own limit of 300 s",
      "",
    ],
    ['[[require]]\npattern = "a"\nordered = 1', 3, "require[0].ordered: 1 is not true or false", ""],
    ['[[forbid]]\npatern = "a"', 2, "forbid[0].patern: there is no such key", "did you mean pattern?"],
    ['[[forbid]]\npattern = "a"\nwithin_s = 3', 3, "forbid[0].within_s: there is no such key", "the keys are name, pattern"],
    ['[[restart_loop]]\npattern = "a"\nmax = 1.5\nwindow_s = 3', 3, "restart_loop[0].max: 1.5 is not a whole number", ""],
    ['[[restart_loop]]\npattern = "a"\nmax = -1\nwindow_s = 3', 3, "restart_loop[0].max: -1 is not a whole number", ""],
    ['[[restart_loop]]\npattern = "a"\nmax = 1', 1, "restart_loop[0].window_s: the window in seconds is missing", ""],
    ['[[probe]]\nexpect = "a"', 1, "probe[0].command: the command is missing", ""],
    ['[[probe]]\ncommand = "a\\nb"', 2, 'probe[0].command: "a\\nb" is not a command: one line', ""],
    ['[[probe]]\ncommand = "a"\nexpect = "b"\nexpect_pattern = "c"', 4, "a text or a pattern, not both", ""],
    ['[[probe]]\ncommand = "a"\nvia = "telnet"', 3, 'probe[0].via: "telnet" is not one of ssh, console', ""],
    ['[[probe]]\ncommand = "a"\nuser = "-oProxyCommand=x"', 3, "probe[0].user: ", ""],
    ['[[probe]]\ncommand = "a"\nexpect_status = 256', 3, "probe[0].expect_status: 256 is not a whole number from 0 to 255", ""],
    ["require = 3", 1, "require: 3 is not a list of at most 200", ""],
    ["require = [3]", 1, "require[0]: 3 is not a table", ""],
    ["except = [3]", 1, "except[0]: 3 is not the name of a rule", ""],
  ])("%j", async (text, line, message, hint) => {
    const problem = await problemOf(parseGate(text, "boot.toml"));
    expect([problem.code, problem.exit, problem.where]).toEqual(["E_BAD_GATE", 2, `boot.toml:${line}`]);
    expect(problem.message).toContain(message);
    expect(problem.hint ?? "").toContain(hint);
  });
  test("what is no TOML", async () => {
    const problem = await problemOf(parseGate("a = \n", "boot.toml"));
    expect([problem.code, problem.where]).toEqual(["E_BAD_GATE", "boot.toml:1:5"]);
  });
  test("in a project file, in its own spelling", () => {
    const bad: unknown = { timeout_s: 3 };
    // What a project file passes when nothing checked its types.
    expect(thrownProblem(() => gate(bad as GateFields))).toMatchObject({
      code: "E_BAD_GATE",
      message: "gate: timeout_s: there is no such key",
      hint: "did you mean timeoutS?",
    });
    expect(thrownProblem(() => gate({ require: [{ pattern: "a", withinS: 301 }] })).message).toBe(
      "gate: require[0].withinS: 301 s is more than the gate's own limit of 300 s",
    );
  });
});

describe("the built-in rules", () => {
  test("are those of the image's system unless the gate says otherwise", () => {
    const names = (fields: GateFields, system: "linux" | "freebsd") =>
      resolveGate(gate(fields), system).forbid.map(({ name }) => name);
    expect(names({}, "linux")).toContain("kernel-panic");
    expect(names({}, "freebsd")).toContain("mountroot");
    expect(names({ extends: "freebsd" }, "linux")).toContain("mountroot");
    expect(names({ extends: "none", require: ["x"] }, "linux")).toEqual([]);
    expect(names({ forbid: ["own"], except: ["kernel-panic"] }, "linux")[0]).toBe("own");
    expect(names({ except: ["kernel-panic"] }, "linux")).not.toContain("kernel-panic");
  });
  test("bring a marker only where the gate has none", () => {
    const required = (fields: GateFields) => resolveGate(gate(fields), "linux").require.map(({ pattern }) => pattern);
    expect(required({})).toEqual(["^garth: ready "]);
    expect(required({ require: ["login:"] })).toEqual(["login:"]);
    expect(required({ except: ["ready"], probes: [{ command: "true" }] })).toEqual([]);
  });
  test("have names of their own", () => {
    for (const set of ["linux", "freebsd"] as const) expect(new Set(builtinNames(set)).size).toBe(builtinNames(set).length);
  });
  test("cannot be left out by a wrong name, or until nothing is asked", () => {
    expect(thrownProblem(() => resolveGate(gate({ except: ["panik"] }), "linux"))).toMatchObject({ code: "E_BAD_GATE", exit: 2 });
    expect(thrownProblem(() => resolveGate(gate({ except: ["ready"] }), "linux")).message).toContain("requires nothing");
    expect(thrownProblem(() => resolveGate(gate({ extends: "none" }), "linux")).message).toContain("requires nothing");
  });
});

describe("the canonical text", () => {
  const text = fc
    .string({ minLength: 1, maxLength: 20, unit: "grapheme" })
    .filter((one) => /^[^\p{Cc}\u2028\u2029]+$/u.test(one));
  const pattern = fc.oneof(
    fc.constantFrom("^a$", "a\\.b", "login: $", '(\\S+) "quoted"', "\\u{1f600}", "'", "\\\\", "a{2}"),
    text.map((one) => one.replaceAll(/[\\^$.*+?()[\]{}|/]/g, "\\$&")),
  );
  const seconds = fc.double({ min: 0.001, max: 300, noNaN: true });
  const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
  const named = { name: text, pattern };
  const fields = fc.record({
    name: text,
    extends: fc.constantFrom("linux", "freebsd", "none"),
    timeoutS: fc.constantFrom(300, 300.5, 86_400),
    screenshot: fc.boolean(),
    require: fc.array(fc.record({ ...named, withinS: maybe(seconds), ordered: fc.boolean() }), { minLength: 1, maxLength: 3 }),
    forbid: fc.array(fc.record(named), { maxLength: 3 }),
    restartLoops: fc.array(fc.record({ ...named, max: fc.nat(10_000), windowS: seconds }), { maxLength: 3 }),
    probes: fc.array(
      fc.record({
        name: text,
        command: text,
        expect: maybe(fc.string({ maxLength: 20 }).filter((one) => one.isWellFormed())),
        expectStatus: maybe(fc.nat(255)),
        via: maybe(fc.constantFrom("ssh", "console")),
        timeoutS: seconds,
      }),
      { maxLength: 3 },
    ),
  });

  test("is read back as the same gate, also by a reader of TOML that knows nothing of gates", async () => {
    await fc.assert(
      fc.asyncProperty(fields, async (given) => {
        // An absent member and one that is undefined are the same to the reader, not to the type.
        const whole = resolveGate(gate(given as GateFields), "linux");
        const written = gateText(whole);
        const { kind: _, extends: set, except, ...again } = await parseGate(written, "gate.toml");
        expect([again, set, except]).toEqual([whole, "none", []]);
        expect(parse(written)).toMatchObject({ name: whole.name, timeout_s: whole.timeoutS });
        expect(gateDigest(whole)).toBe(sha256(written));
      }),
      { numRuns: 100 },
    );
  });
  test("is a literal, so that digests stay", () => {
    const small = resolveGate(gate({ extends: "none", require: [{ name: "up", pattern: '^up "x"', withinS: 5 }] }), "linux");
    expect(gateText(small)).toBe(`# every rule that applied; written by garth
name = "gate"
extends = "none"
timeout_s = 300
screenshot = false

[[require]]
name = "up"
pattern = "^up \\"x\\""
within_s = 5
ordered = false
`);
    expect(gateDigest(small)).not.toBe(gateDigest({ ...small, timeoutS: 301 }));
  });
});
