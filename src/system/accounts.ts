/**
 * Users and groups of a system: those of the base in their order, the declared ones merged into them. Pure.
 *
 * A number that is not given is the base's for the name, or the first free one from 1000, users first and in the order of their
 * declaration, so that a declaration means the same numbers wherever it is read. Formats: passwd(5), group(5), shadow(5) of Linux;
 * passwd(5), group(5) of FreeBSD, whose master.passwd has ten fields.
 */
import { Problem } from "../base/index.ts";
import { nobody } from "./against-base.ts";
import type { Family, SystemSpec } from "./types.ts";

export interface Account {
  readonly name: string;
  readonly uid: number;
  /** Of the primary group. */
  readonly gid: number;
  readonly home: string;
  readonly shell: string;
  readonly comment: string;
  /** By the system, and not by the base alone. */
  readonly isDeclared: boolean;
}

export interface GroupAccount {
  readonly name: string;
  readonly gid: number;
  /** Whose supplementary group it is. */
  readonly members: readonly string[];
}

export interface Accounts {
  readonly family: Family;
  readonly users: readonly Account[];
  readonly groups: readonly GroupAccount[];
}

const FIRST_ID = 1000;
/** 1970-01-02: a day that no clock has to be read for; 0 would ask for a new password at once. */
const CHANGED_DAY = 1;

/**
 * `basePasswd` may be a passwd or a master.passwd.
 *
 * @throws Problem E_SYSTEM_INVALID, with the field: a group or member that does not exist, a number that is somebody else's
 */
export function resolveAccounts(spec: SystemSpec, basePasswd: string, baseGroup: string): Accounts {
  const users = new Map(baseUsers(spec, basePasswd).map((user) => [user.name, user]));
  const groups = new Map(baseGroups(spec, baseGroup).map((group) => [group.name, group]));
  const uids = new Map([...users.values()].map(({ uid, name }) => [uid, name]));
  const gids = new Map([...groups.values()].map(({ gid, name }) => [gid, name]));

  // What is given goes first: nothing that is chosen may take it.
  spec.groups.forEach(({ name, gid }, index) => claim(spec, gids, `groups[${index}].gid`, name, gid, groups.get(name)?.gid));
  spec.users.forEach(({ name, uid }, index) => claim(spec, uids, `users[${index}].uid`, name, uid, users.get(name)?.uid));

  const declaredGroups = new Map(spec.groups.map(({ name, gid }) => [name, gid]));
  const primary = new Map<string, string | undefined>();
  spec.users.forEach(({ name, uid, group, home, shell, comment }, index) => {
    const known = users.get(name);
    const hasGroup = known !== undefined || group !== undefined || groups.has(name) || declaredGroups.has(name);
    const number = known?.uid ?? uid ?? firstFree(hasGroup ? [uids] : [uids, gids]);
    uids.set(number, name);
    if (!hasGroup) {
      claim(spec, gids, `users[${index}].group`, name, number, undefined);
      groups.set(name, { name, gid: number, members: [] });
    }
    users.set(name, { name, uid: number, gid: known?.gid ?? number, home, shell, comment, isDeclared: true });
    primary.set(name, group ?? (known === undefined ? name : undefined));
  });
  for (const { name, gid } of spec.groups) {
    if (groups.has(name)) continue;
    const number = gid ?? firstFree([gids]);
    gids.set(number, name);
    groups.set(name, { name, gid: number, members: [] });
  }

  spec.users.forEach(({ name }, index) => {
    const group = primary.get(name);
    const user = users.get(name);
    if (group === undefined || user === undefined) return;
    const found = groups.get(group);
    if (found === undefined) throw nobody(spec, `users[${index}].group`, group, "group");
    users.set(name, { ...user, gid: found.gid });
  });
  const join = (group: GroupAccount, member: string): void => {
    const members = groups.get(group.name)?.members ?? [];
    if (!members.includes(member)) groups.set(group.name, { ...group, members: [...members, member] });
  };
  spec.groups.forEach(({ name, members }, index) => {
    members.forEach((member, at) => {
      if (!users.has(member)) throw nobody(spec, `groups[${index}].members[${at}]`, member, "user");
      const group = groups.get(name);
      if (group !== undefined) join(group, member);
    });
  });
  spec.users.forEach(({ name, groups: wanted }, index) => {
    wanted.forEach((wish, at) => {
      const group = groups.get(wish);
      if (group === undefined) throw nobody(spec, `users[${index}].groups[${at}]`, wish, "group");
      join(group, name);
    });
  });
  return { family: spec.family, users: [...users.values()], groups: [...groups.values()] };
}

/** @throws Problem E_SYSTEM_INVALID when the number is another's, or the base has the name with another number */
function claim(
  spec: SystemSpec,
  numbers: Map<number, string>,
  field: string,
  name: string,
  wanted: number | undefined,
  known: number | undefined,
): void {
  if (wanted === undefined || wanted === known) return;
  if (known !== undefined) throw invalid(spec, field, `${name} has the number ${known} in the base, not ${wanted}`);
  const other = numbers.get(wanted);
  if (other !== undefined) throw invalid(spec, field, `the number ${wanted} is ${other}'s and cannot be ${name}'s`);
  numbers.set(wanted, name);
}

function firstFree(taken: readonly ReadonlyMap<number, string>[]): number {
  let number = FIRST_ID;
  while (taken.some((numbers) => numbers.has(number))) number += 1;
  return number;
}

function invalid(spec: SystemSpec, field: string, why: string): Problem {
  return new Problem({
    code: "E_SYSTEM_INVALID",
    message: `system ${spec.name}: ${field}: ${why}`,
    hint: "leave the number out: one that is free is taken",
    exit: 2,
  });
}

function baseUsers(spec: SystemSpec, text: string): readonly Account[] {
  return linesOf(text).map(({ line, fields }) => {
    const long = fields.length === 10;
    const [name = "", , uid = "", gid = ""] = fields;
    const [comment = "", home = "", shell = ""] = fields.slice(long ? 7 : 4);
    if ((fields.length !== 7 && !long) || name === "" || !/^\d+$/.test(uid) || !/^\d+$/.test(gid))
      throw badLine(spec, "passwd", line);
    return { name, uid: Number(uid), gid: Number(gid), home, shell, comment, isDeclared: false };
  });
}

function baseGroups(spec: SystemSpec, text: string): readonly GroupAccount[] {
  return linesOf(text).map(({ line, fields }) => {
    const [name = "", , gid = "", members = ""] = fields;
    if (fields.length !== 4 || name === "" || !/^\d+$/.test(gid)) throw badLine(spec, "group", line);
    return { name, gid: Number(gid), members: members.split(",").filter((member) => member !== "") };
  });
}

/** Comments and the lines of NIS (`+`, `-`) are not taken. */
function linesOf(text: string): readonly { readonly line: number; readonly fields: readonly string[] }[] {
  return text
    .split("\n")
    .map((raw, index) => ({ raw, line: index + 1 }))
    .filter(({ raw }) => raw.trim() !== "" && !/^[#+-]/.test(raw))
    .map(({ raw, line }) => ({ line, fields: raw.split(":") }));
}

function badLine(spec: SystemSpec, file: string, line: number): Problem {
  return new Problem({
    code: "E_SYSTEM_INVALID",
    message: `system ${spec.name}: line ${line} of the base's ${file} is not one of ${file}(5)`,
    where: `etc/${file}:${line}`,
    exit: 2,
  });
}

/** passwd(5), seven fields. The password is elsewhere. */
export function renderPasswd({ family, users }: Accounts): string {
  const elsewhere = family === "linux" ? "x" : "*";
  return users
    .map(({ name, uid, gid, comment, home, shell }) => `${name}:${elsewhere}:${uid}:${gid}:${comment}:${home}:${shell}\n`)
    .join("");
}

export function renderGroup({ family, groups }: Accounts): string {
  const none = family === "linux" ? "x" : "*";
  return groups.map(({ name, gid, members }) => `${name}:${none}:${gid}:${members.join(",")}\n`).join("");
}

/**
 * shadow(5), nine fields: the base's lines as they are, declared users locked. An empty password, which lets everybody in, is locked
 * as well.
 */
export function renderShadow({ users }: Accounts, baseShadow: string): string {
  const known = new Map(linesOf(baseShadow).map(({ fields }) => [fields[0], fields]));
  return users
    .map(({ name, isDeclared }) => {
      const fields = known.get(name);
      if (isDeclared || fields?.length !== 9) return `${name}:${isDeclared ? "!" : "*"}:${CHANGED_DAY}:0:99999:7:::\n`;
      return `${[name, fields[1] || "*", ...fields.slice(2)].join(":")}\n`;
    })
    .join("");
}

/**
 * master.passwd(5) of FreeBSD, ten fields; mode 0600. Class, change and expiry are the base's; declared users and those whose password
 * is empty (root, as FreeBSD is distributed) are locked.
 */
export function renderMasterPasswd({ users }: Accounts, baseMasterPasswd: string): string {
  const known = new Map(linesOf(baseMasterPasswd).map(({ fields }) => [fields[0], fields]));
  return users
    .map(({ name, uid, gid, comment, home, shell, isDeclared }) => {
      const fields = known.get(name);
      const [password = "", , , loginClass = "", change = "0", expire = "0"] = fields?.length === 10 ? fields.slice(1) : [];
      const locked = isDeclared || password === "" ? "*" : password;
      return `${[name, locked, uid, gid, loginClass, change || "0", expire || "0", comment, home, shell].join(":")}\n`;
    })
    .join("");
}
