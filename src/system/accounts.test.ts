import { afterAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { golden, thrownProblem } from "../base/testing.ts";
import { renderGroup, renderMasterPasswd, renderPasswd, renderShadow, resolveAccounts } from "./accounts.ts";
import { BASE_GROUP, BASE_MASTER_PASSWD, SAMPLE } from "./freebsd-sample.ts";
import type { GroupSpec, SystemSpec, UserSpec } from "./types.ts";

const scratch = fs.mkdtempSync(join(tmpdir(), "garth-accounts-"));
afterAll(() => fs.rmSync(scratch, { recursive: true, force: true }));

const user = (name: string, more: Partial<UserSpec> = {}): UserSpec => ({
  name,
  uid: undefined,
  group: undefined,
  groups: [],
  home: `/home/${name}`,
  shell: "/bin/sh",
  comment: "",
  authorizedKeys: [],
  passwordSecret: undefined,
  ...more,
});
const group = (name: string, gid?: number, members: readonly string[] = []): GroupSpec => ({ name, gid, members });
const linux = (users: readonly UserSpec[], groups: readonly GroupSpec[] = []): SystemSpec => ({
  ...SAMPLE,
  family: "linux",
  users,
  groups,
});

const PASSWD =
  "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\nold:x:1001:1001::/home/old:/bin/sh\n";
const GROUP = "root:x:0:\nadm:x:4:www-data,root\nwww-data:x:33:\nstaff:x:50:\nold:x:1001:\n";
const SHADOW =
  "root:*:19700:0:99999:7:::\nwww-data::19700:0:99999:7:::\nold:$y$hash:19700:0:90:7:30:20000:\ngone:*:19700:0:99999:7:::\n";
const onLinux = (users: readonly UserSpec[], groups: readonly GroupSpec[] = []) =>
  resolveAccounts(linux(users, groups), PASSWD, GROUP);

const said = ({ stdout, stderr }: { readonly stdout: string; readonly stderr: string }): readonly string[] =>
  `${stdout}${stderr}`.split("\n").filter((line) => line !== "");

describe("numbers", () => {
  test("in the order of declaration from 1000, beside what the base and the declaration have", () => {
    const { users, groups } = onLinux(
      [user("alice"), user("bob", { uid: 1002 }), user("carol", { group: "shared" }), user("dave"), user("www-data")],
      [group("shared"), group("fixed", 1000), group("adm", 4, ["alice"])],
    );
    // 1000 is a group's, and a user has the number of the group that is made for it; one that needs no group takes it.
    expect(users.map(({ name, uid, gid }) => [name, uid, gid])).toEqual([
      ["root", 0, 0],
      ["www-data", 33, 33],
      ["old", 1001, 1001],
      ["alice", 1003, 1003],
      ["bob", 1002, 1002],
      ["carol", 1000, 1005],
      ["dave", 1004, 1004],
    ]);
    expect(groups.map(({ name, gid }) => [name, gid])).toEqual([
      ["root", 0],
      ["adm", 4],
      ["www-data", 33],
      ["staff", 50],
      ["old", 1001],
      ["alice", 1003],
      ["bob", 1002],
      ["dave", 1004],
      ["shared", 1005],
      ["fixed", 1000],
    ]);
    expect(groups.find(({ name }) => name === "adm")?.members).toEqual(["www-data", "root", "alice"]);
  });

  test("of the base stay; home, shell and comment are the declaration's", () => {
    const { users } = onLinux([user("www-data", { uid: 33, home: "/srv", shell: "/bin/false", comment: "Web" })]);
    expect(users[1]).toEqual({
      name: "www-data",
      uid: 33,
      gid: 33,
      home: "/srv",
      shell: "/bin/false",
      comment: "Web",
      isDeclared: true,
    });
  });

  test("are nobody's twice, whatever is declared", () => {
    const name = fc.constantFrom(..."abcdefgh");
    const id = fc.option(fc.integer({ min: 998, max: 1006 }), { nil: undefined });
    const users = fc.uniqueArray(fc.record({ name, uid: id }), { selector: (one) => one.name, maxLength: 6 });
    const groups = fc.uniqueArray(fc.record({ name: fc.constantFrom(..."abwxyz"), gid: id }), {
      selector: (one) => one.name,
      maxLength: 5,
    });
    fc.assert(
      fc.property(users, groups, (declared, more) => {
        const resolve = () =>
          onLinux(
            declared.map(({ name, uid }) => user(name, { uid })),
            more.map(({ name, gid }) => group(name, gid)),
          );
        let found: ReturnType<typeof resolve>;
        try {
          found = resolve();
        } catch (error) {
          expect(error).toMatchObject({ code: "E_SYSTEM_INVALID" });
          return;
        }
        expect(new Set(found.users.map(({ uid }) => uid)).size).toBe(found.users.length);
        expect(new Set(found.groups.map(({ gid }) => gid)).size).toBe(found.groups.length);
        for (const { uid } of declared) if (uid !== undefined) expect(found.users.map((one) => one.uid)).toContain(uid);
        expect(resolve()).toEqual(found);
      }),
    );
  });
});

describe("refused, with the field", () => {
  for (const [field, users, groups] of [
    ["users[1].groups[0]", [user("a"), user("b", { groups: ["video"] })], []],
    ["users[0].group", [user("a", { group: "video" })], []],
    ["groups[0].members[1]", [user("a")], [group("g", undefined, ["a", "nobody"])]],
    ["users[1].uid", [user("a", { uid: 1500 }), user("b", { uid: 1500 })], []],
    ["users[0].uid", [user("a", { uid: 33 })], []],
    ["users[0].uid", [user("www-data", { uid: 34 })], []],
    ["groups[1].gid", [], [group("g", 1500), group("h", 1500)]],
    ["groups[0].gid", [], [group("g", 50)]],
    ["groups[0].gid", [], [group("staff", 51)]],
    ["users[0].group", [user("a", { uid: 1500 })], [group("g", 1500)]],
  ] as const) {
    test(`${field} of ${JSON.stringify([users.map(({ name, uid }) => [name, uid]), groups.map(({ name, gid }) => [name, gid])])}`, () => {
      const problem = thrownProblem(() => onLinux(users, groups));
      expect([problem.code, problem.exit]).toEqual(["E_SYSTEM_INVALID", 2]);
      expect(problem.message).toStartWith(`system sample: ${field}: `);
    });
  }

  test("a line of the base that is none", () => {
    const problem = thrownProblem(() => resolveAccounts(linux([]), "root:x:0:0:root:/root:/bin/sh\nbroken\n", ""));
    expect([problem.code, problem.where]).toEqual(["E_SYSTEM_INVALID", "etc/passwd:2"]);
  });
});

describe("Linux", () => {
  const accounts = onLinux(
    [user("alice", { groups: ["staff", "adm"], comment: "Alice" }), user("old"), user("deploy", { group: "staff" })],
    [group("team", 2000, ["old"])],
  );

  test("what pwck and grpck take for good", () => {
    const etc = join(scratch, "etc");
    fs.mkdirSync(etc);
    fs.writeFileSync(join(etc, "passwd"), renderPasswd(accounts));
    fs.writeFileSync(join(etc, "shadow"), renderShadow(accounts, SHADOW));
    fs.writeFileSync(join(etc, "group"), renderGroup(accounts));
    fs.writeFileSync(
      join(etc, "gshadow"),
      accounts.groups.map(({ name, members }) => `${name}:!::${members.join(",")}\n`).join(""),
    );
    const users = spawnSync("pwck", ["-r", "-R", scratch], { encoding: "utf8" });
    // Homes and shells of this machine are not looked at.
    expect(said(users).filter((line) => !/^user '\S+': (?:directory|program) /.test(line))).toEqual(["pwck: no changes"]);
    const groups = spawnSync("grpck", ["-r", "-R", scratch], { encoding: "utf8" });
    expect([groups.status, said(groups)]).toEqual([0, []]);
  });

  test("shadow: the base's lines stay, declared users and empty passwords are locked, who is gone is gone", () => {
    expect(renderShadow(accounts, SHADOW)).toBe(
      [
        "root:*:19700:0:99999:7:::",
        "www-data:*:19700:0:99999:7:::",
        "old:!:1:0:99999:7:::",
        "alice:!:1:0:99999:7:::",
        "deploy:!:1:0:99999:7:::",
        "",
      ].join("\n"),
    );
  });

  test("without a base there are the declared ones", () => {
    const alone = resolveAccounts(linux([user("root", { uid: 0 })], [group("root", 0)]), "", "");
    expect(renderPasswd(alone) + renderGroup(alone) + renderShadow(alone, "")).toBe(
      "root:x:0:0::/home/root:/bin/sh\nroot:x:0:\nroot:!:1:0:99999:7:::\n",
    );
  });
});

describe("FreeBSD", () => {
  const accounts = resolveAccounts(SAMPLE, BASE_MASTER_PASSWD, BASE_GROUP);
  const directory = join(import.meta.dir, "golden/freebsd");

  test("master.passwd: ten fields, the base's in order, nobody with an empty password", () => {
    const text = renderMasterPasswd(accounts, BASE_MASTER_PASSWD);
    expect(text).toBe(golden(join(directory, "master.passwd"), text));
    const lines = text
      .trimEnd()
      .split("\n")
      .map((line) => line.split(":"));
    for (const fields of lines) expect([fields.length, fields[1]]).toEqual([10, "*"]);
    expect(lines.map(([name]) => name)).toEqual("root toor daemon sshd _dhcp www nobody alice web".split(" "));
  });

  test("an undeclared user keeps its password", () => {
    const base = BASE_MASTER_PASSWD.replace("www:*:", "www:$6$salt$hash:");
    expect(renderMasterPasswd(accounts, base)).toContain(
      "www:$6$salt$hash:80:80:daemon:0:0:World Wide Web Owner:/nonexistent:/usr/sbin/nologin\n",
    );
  });

  test("group", () => {
    const text = renderGroup(accounts);
    expect(text).toBe(golden(join(directory, "group"), text));
    expect(text).toContain("wheel:*:0:root,alice\n");
  });
});
