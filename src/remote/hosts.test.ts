/** Hosts made known, looked at, forgotten; which key is accepted; and what is said when there is no way in. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { problemOf, thrownProblem } from "../base/testing.ts";
import { localHost } from "../host/index.ts";
import { type Ledger, openLedger } from "../ledger/index.ts";
import { processFunctions } from "../sandbox/index.ts";
import { openStore, type Store, STORE_MIGRATION } from "../store/index.ts";
import { type HostsOptions, openHosts } from "./hosts.ts";
import { ROOT_DIRECTORIES } from "./place-script.ts";
import { HOST_MIGRATION } from "./records.ts";
import { openTestHost, type TestHost } from "./testing.ts";
import type { HostWish } from "./types.ts";

const host = localHost();
const directory = fs.mkdtempSync(`${tmpdir()}/garth-hosts-`);
const config = join(directory, "config");
/** Where the configuration says the caller's known_hosts are. */
const callers = join(directory, "callers");

let there: TestHost;
let ledger: Ledger;
let store: Store;

beforeAll(async () => {
  there = await openTestHost({ kind: "linux" });
  ledger = openLedger(join(directory, "garth.db"), [STORE_MIGRATION, HOST_MIGRATION]);
  const [storeDirectory, stateDirectory] = [join(directory, "store"), join(directory, "state")];
  for (const each of [storeDirectory, stateDirectory]) fs.mkdirSync(each);
  store = openStore({ host, ledger, storeDirectory, stateDirectory, now: () => Date.now() });
});
afterAll(async () => {
  store.close();
  ledger.close();
  await there.close();
  expect(fs.readdirSync(join(directory, "run"))).toEqual([]);
  fs.rmSync(directory, { recursive: true });
});

function open(more: Partial<HostsOptions> = {}) {
  fs.writeFileSync(config, `Host *\n  UserKnownHostsFile ${callers}\n  GlobalKnownHostsFile /dev/null\n`);
  return openHosts({
    host,
    ledger,
    store,
    directory: join(directory, "hosts"),
    runtimeDirectory: join(directory, "run"),
    environment: {},
    now: () => Date.now(),
    configFile: config,
    ...more,
  });
}

function keys(): readonly string[] {
  const at = join(directory, "hosts");
  return fs.existsSync(at) ? fs.readdirSync(at).toSorted() : [];
}

function wish(more: Partial<HostWish> = {}): HostWish {
  return { ...there.wish, ...more };
}

/** Nothing is left of what did not come to be. */
async function refusedAdd(given: HostWish, more: Partial<HostsOptions> = {}) {
  const hosts = open(more);
  const problem = await problemOf(hosts.add(given));
  expect([hosts.list(), keys()]).toEqual([[], []]);
  await hosts.close();
  return problem;
}

describe("a host", () => {
  test("is added, looked at, and forgotten", async () => {
    const hosts = open();
    const { record, report } = await hosts.add(wish());
    expect(record).toMatchObject({
      name: "test-linux",
      url: there.wish.url,
      root: there.root,
      jobs: 2,
      identityFile: there.identityFile,
    });
    expect(record.facts).toEqual(report.facts);
    expect(report.findings.filter(({ state }) => state === "missing")).toEqual([]);
    expect(report.findings.find(({ key }) => key === "clock")?.state).toBe("ok");
    expect(fs.readdirSync(there.root).toSorted()).toEqual([...ROOT_DIRECTORIES].toSorted());
    expect(fs.readFileSync(join(directory, "hosts/test-linux.known_hosts"), "utf8")).toBe(
      `test-linux ${there.knownHostsLine.split(" ").slice(1, 3).join(" ")}\n`,
    );
    await hosts.close();

    const again = open();
    expect(again.list()).toEqual([record]);
    expect(await problemOf(again.add(wish()))).toMatchObject({ code: "E_HOST_EXISTS", exit: 2 });
    const before = there.look(`ls -lnR --time-style=full-iso "${there.root}"`);
    expect((await again.check("test-linux")).findings.map(({ key }) => key)).toEqual(report.findings.map(({ key }) => key));
    expect(there.look(`ls -lnR --time-style=full-iso "${there.root}"`)).toBe(before);
    expect(again.get("test-linux").checkedAtMs).toBeGreaterThanOrEqual(record.checkedAtMs);
    await again.remove("test-linux");
    expect([again.list(), keys(), fs.existsSync(there.root)]).toEqual([[], [], true]);
    expect(thrownProblem(() => again.get("test-linux"))).toMatchObject({ code: "E_UNKNOWN_HOST", exit: 2 });
    await again.close();
  });

  test("is purged of what is ours, unless something is at work there", async () => {
    const hosts = open();
    const { record } = await hosts.add(wish());
    const scratch = `${there.root}/tmp/1-x`;
    const works = Promise.withResolvers<void>();
    const body = `${processFunctions(record.facts.system)}own_identity; mkdir "${scratch}"; echo "$owner" >"${scratch}/owner"`;
    const working = hosts
      .connection("test-linux")
      .start({ doing: "working", body: `${body}; echo 'garth: works' >&2; cat` }, { onEvent: () => works.resolve() });
    await works.promise;
    const busy = await problemOf(hosts.remove("test-linux", { purge: true }));
    expect(busy).toMatchObject({ code: "E_HOST_BUSY" });
    expect(busy.details).toEqual([expect.stringMatching(/^process [0-9]+ is at work$/)]);
    expect(hosts.list()).toHaveLength(1);
    working.letGo();
    await working.ended;
    expect(fs.existsSync(scratch)).toBe(true);
    await hosts.remove("test-linux", { purge: true });
    expect([hosts.list(), keys(), fs.existsSync(there.root)]).toEqual([[], [], false]);
    await hosts.close();
  });

  test("of FreeBSD has a jail tried on it, which is gone again", async () => {
    await using bsd = await openTestHost({ kind: "freebsd", name: "bsd" });
    const hosts = open();
    const { report, record } = await hosts.add(bsd.wish);
    expect(record.facts).toMatchObject({
      system: host.system.replace("linux", "freebsd"),
      release: "15.1-RELEASE",
      osVersion: 1_501_000,
    });
    expect(Object.fromEntries(report.findings.map(({ key, state }) => [key, state]))).toMatchObject({
      root: "ok",
      tools: "ok",
      jail: "ok",
      nullfs: "ok",
      rctl: "lacking",
      clock: "ok",
    });
    const jails = bsd.recorded().filter((call) => call.startsWith("jail "));
    expect(jails.map((call) => call.replace(/[0-9]+/g, "N"))).toEqual([
      "jail -qc name=garth-check-N path=/ persist",
      "jail -R garth-check-N",
    ]);
    expect(bsd.look("jls name")).toBe("");
    await hosts.remove("bsd", { purge: true });
    expect(bsd.look(`ls "$(dirname "${bsd.root}")"`)).toBe("");
    await hosts.close();
  });

  test("that lacks something is known, and says what", async () => {
    const hosts = open();
    const link = `${there.directory}/link`;
    fs.symlinkSync(there.directory, link);
    const { report } = await hosts.add(wish({ root: `${link}/garth` }));
    expect(report.findings.find(({ key }) => key === "root")).toMatchObject({ state: "missing" });
    expect(fs.existsSync(`${link}/garth`)).toBe(false);
    expect(hosts.list()).toHaveLength(1);
    const problem = await problemOf(hosts.store("test-linux").send([]));
    expect(problem).toMatchObject({ code: "E_SCRIPT_FAILED", details: [`${link} is a symlink`] });
    await hosts.remove("test-linux");
    fs.unlinkSync(link);
    await hosts.close();
  });

  test("is added once, when two want it", async () => {
    const hosts = open();
    const both = await Promise.allSettled([hosts.add(wish()), hosts.add(wish())]);
    expect(both.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    expect([hosts.list().length, keys()]).toEqual([1, ["test-linux.known_hosts"]]);
    await hosts.remove("test-linux", { purge: true });
    await hosts.close();
  });

  test.each(["/bin/sh", "/bin/bash", "/bin/tcsh"])("whose login shell is %s is as good as any", async (shell) => {
    if (!fs.existsSync(shell)) throw new Error(`there is no ${shell}: garth doctor --install --tests brings it`);
    await using odd = await openTestHost({ kind: "linux", name: "odd", shell });
    const noisy = "echo 'Welcome!'; echo 'You have mail.' >&2\n";
    for (const file of [".tcshrc", ".bashrc"]) fs.writeFileSync(`${odd.directory}/home-root/${file}`, noisy.replace(" >&2", ""));
    const hosts = open();
    const { report } = await hosts.add(odd.wish);
    expect(report.findings.filter(({ state }) => state === "missing")).toEqual([]);
    const { events } = await hosts.connection("odd").run({ doing: "asking", body: `printf 'garth: said %s\\n' "it's \\$x" >&2` });
    expect(events.map(({ rest }) => rest)).toEqual(["it's $x"]);
    await hosts.remove("odd");
    await hosts.close();
  });

  test("where one logs in as an ordinary user lacks root's rights", async () => {
    await using poor = await openTestHost({ kind: "linux", name: "poor", user: "user" });
    const hosts = open();
    const { report } = await hosts.add(poor.wish);
    expect(report.findings.find(({ key }) => key === "root")).toMatchObject({ state: "missing" });
    await hosts.remove("poor");
    await hosts.close();
  });

  test("may be an alias of ssh's configuration", async () => {
    const hosts = open();
    fs.appendFileSync(
      config,
      `Host *\n  RemoteCommand false\n  RequestTTY force\n  ForwardAgent yes\n  ControlPath ${directory}/theirs\n`,
    );
    const lines = [
      "Host farm",
      `  HostName ${there.address}`,
      `  Port ${there.port}`,
      `  IdentityFile ${there.identityFile}`,
      "",
    ];
    fs.writeFileSync(config, `${lines.join("\n")}${fs.readFileSync(config, "utf8")}`);
    const { name, root, hostKey } = wish();
    const { record } = await hosts.add({ name, url: "ssh://farm", root: root ?? "", hostKey: hostKey ?? "" });
    expect(record.jobs).toBe(record.facts.processors);
    expect(hosts.connection(name).shellWords.slice(-3)).toEqual(["-l", "root", "farm"]);
    await hosts.remove(name, { purge: true });
    await hosts.close();
  });
});

const OTHER_KEY = `SHA256:${"A".repeat(43)}`;

describe("a host's key", () => {
  const withoutKey = (): HostWish => {
    const { hostKey: _, ...rest } = there.wish;
    return rest;
  };
  const known = (lines: string): void => fs.writeFileSync(callers, lines);

  test("that nobody knows is shown, with the line that accepts it", async () => {
    known("");
    const problem = await refusedAdd(withoutKey());
    expect(problem).toMatchObject({ code: "E_HOST_KEY_UNKNOWN", exit: 3, details: [`offered ${there.hostKey}`] });
    expect(problem.hint).toContain(`garth host add test-linux ${there.wish.url} --host-key ${there.hostKey}`);
  });

  test("that the caller's known_hosts know is accepted, and recorded here", async () => {
    known(`${there.knownHostsLine}\n`);
    const hosts = open();
    await hosts.add(withoutKey());
    known("");
    await hosts.check("test-linux");
    await hosts.remove("test-linux", { purge: true });
    await hosts.close();
  });

  test("that the caller's known_hosts know otherwise is refused", async () => {
    const key = join(directory, "other");
    await host.run({ argv: ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key] });
    const other = fs.readFileSync(`${key}.pub`, "utf8").split(" ").slice(0, 2).join(" ");
    known(`# mine\n[127.0.0.1]:${there.port} ${other}\n`);
    const problem = await refusedAdd(withoutKey());
    const print = (await host.run({ argv: ["ssh-keygen", "-lf", `${key}.pub`] })).text().split(" ")[1];
    expect(problem).toMatchObject({ code: "E_HOST_KEY", exit: 3, details: [`expected ${print}`, `offered  ${there.hostKey}`] });
    expect(problem.hint).toContain(`${callers}:2`);
  });

  test("that is new is taken as it is, when that is wanted", async () => {
    const hosts = open();
    await hosts.add(wish({ hostKey: "new" }));
    await hosts.remove("test-linux", { purge: true });
    await hosts.close();
  });

  test("of another fingerprint is refused", async () => {
    const problem = await refusedAdd(wish({ hostKey: OTHER_KEY }));
    expect(problem).toMatchObject({ code: "E_HOST_KEY", details: [`expected ${OTHER_KEY}`, `offered  ${there.hostKey}`] });
  });

  test("of another type than the first is found by its fingerprint", async () => {
    const key = join(directory, "ecdsa");
    await host.run({ argv: ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", key] });
    await using two = await openTestHost({ kind: "linux", name: "two", config: [`HostKey ${key}`] });
    const print = (await host.run({ argv: ["ssh-keygen", "-lf", `${key}.pub`] })).text().split(" ")[1] ?? "";
    const hosts = open();
    await hosts.add({ ...two.wish, hostKey: print });
    await hosts.check("two");
    expect(fs.readFileSync(join(directory, "hosts/two.known_hosts"), "utf8")).toStartWith("two ecdsa-sha2-nistp256 ");
    await hosts.remove("two");
    await hosts.close();
  });

  test("that changes afterwards is refused, with both", async () => {
    const hosts = open();
    await hosts.add(wish());
    const file = join(directory, "hosts/test-linux.known_hosts");
    const own = fs.readFileSync(file, "utf8");
    const other = fs.readFileSync(join(directory, "other.pub"), "utf8").split(" ").slice(0, 2).join(" ");
    fs.writeFileSync(file, `test-linux ${other}\n`);
    const print = (await host.run({ argv: ["ssh-keygen", "-lf", join(directory, "other.pub")] })).text().split(" ")[1];
    const problem = await problemOf(hosts.check("test-linux"));
    expect(problem).toMatchObject({ code: "E_HOST_KEY", exit: 3, details: [`expected ${print}`, `offered  ${there.hostKey}`] });
    fs.writeFileSync(file, own);
    await hosts.remove("test-linux", { purge: true });
    await hosts.close();
  });
});

describe("no way in", () => {
  test("nobody listens there", async () => {
    const port = host.freePort();
    const problem = await refusedAdd(wish({ url: `ssh://root@127.0.0.1:${port}` }));
    expect(problem).toMatchObject({ code: "E_HOST_UNREACHABLE", exit: 3 });
    expect(problem.message).toContain("Connection refused");
  });

  test("there is no such host", async () => {
    const problem = await refusedAdd(wish({ url: "ssh://root@no-such-host.invalid" }));
    expect(problem).toMatchObject({ code: "E_HOST_UNREACHABLE", exit: 3 });
    expect(problem.message).toContain("Could not resolve hostname");
  });

  test("something else listens there", async () => {
    using server = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: { open: (socket) => void socket.end("220 mail\r\n"), data: () => undefined },
    });
    const problem = await refusedAdd(wish({ url: `ssh://root@127.0.0.1:${server.port}` }));
    expect(problem).toMatchObject({ code: "E_HOST_UNREACHABLE", exit: 3 });
  });

  test("it does not let us in", async () => {
    const key = join(directory, "stranger");
    await host.run({ argv: ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key] });
    const problem = await refusedAdd(wish({ identityFile: key }));
    expect(problem).toMatchObject({ code: "E_HOST_DENIED", exit: 3 });
    expect(problem.message).toContain("Permission denied");
  });

  test("whoever logs in has no shell", async () => {
    await using closed = await openTestHost({ kind: "linux", name: "closed", shell: "/usr/sbin/nologin" });
    const problem = await refusedAdd(closed.wish);
    expect(problem).toMatchObject({ code: "E_HOST_DENIED", exit: 3, details: ["This account is currently not available."] });
  });

  test.each([
    ["ssh://root:secret@h", "password"],
    ["ssh://-oProxyCommand=x@h", "no user"],
    ["ssh://-oProxyCommand=x", "no host name"],
    ["ssh://h/path", "path"],
    ["ssh://a b", "no host name"],
    ["ssh://h;reboot", "no host name"],
    ["ssh://$(id)", "no host name"],
    ["ssh://h\nx", "no host name"],
    ["ssh://h:0", "no port"],
    ["ssh://h:70000", "no port"],
    ["ssh://h:22x", "no port"],
    ["ssh://::1", "names no host"],
    ["ssh://[h]", "no IPv6 address"],
    ["ssh://", "names no host"],
    ["ssh://root@", "names no host"],
    ["h", "ssh://"],
    ["-oProxyCommand=x", "ssh://"],
    ["http://h", "ssh://"],
  ])("%j is no address", async (url, why) => {
    const problem = await refusedAdd(wish({ url }));
    expect(problem).toMatchObject({ code: "E_BAD_HOST", exit: 2 });
    expect(problem.message).toContain(why);
  });

  test.each<[Partial<HostWish>]>([
    [{ name: "" }],
    [{ name: "-x" }],
    [{ name: "a/b" }],
    [{ name: "a b" }],
    [{ name: "here" }],
    [{ name: ".." }],
    [{ name: "a..b" }],
    [{ name: "x".repeat(65) }],
    [{ root: "relative" }],
    [{ root: "/" }],
    [{ root: "/a/../b" }],
    [{ root: "/a/./b" }],
    [{ root: "/a\nb" }],
    [{ root: "/bücher" }],
    [{ root: "/a/" }],
    [{ root: `/${"x".repeat(200)}` }],
    [{ jobs: 0 }],
    [{ jobs: 33 }],
    [{ jobs: 1.5 }],
    [{ identityFile: "/no/such/key" }],
    [{ hostKey: "MD5:00" }],
    [{ hostKey: "SHA256:short" }],
  ])("%j is not of a host", async (bad) => {
    expect(await refusedAdd(wish(bad))).toMatchObject({ code: "E_BAD_HOST", exit: 2 });
  });
});

describe("a host that goes away", () => {
  test("while a script runs", async () => {
    await using away = await openTestHost({ kind: "linux", name: "away" });
    const hosts = open();
    await hosts.add(away.wish);
    const connection = hosts.connection("away");
    const here = Promise.withResolvers<void>();
    const running = connection.start(
      { doing: "waiting there", body: "echo 'garth: here' >&2; cat >/dev/null" },
      { onEvent: () => here.resolve() },
    );
    await here.promise;
    await away.kill();
    expect(await problemOf(running.ended)).toMatchObject({ code: "E_HOST_LOST" });
    expect(await problemOf(connection.run({ doing: "trying", body: "true" }))).toMatchObject({ code: "E_HOST_UNREACHABLE" });
    await away.reboot();
    expect((await connection.run({ doing: "trying", body: "true" })).status).toBe(0);
    await hosts.remove("away");
    await hosts.close();
  });
});
