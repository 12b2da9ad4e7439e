/**
 * Where a host is: `ssh://[user@]host[:port]`. The host may be an alias of ssh's own configuration. Pure.
 *
 * What passes here becomes words of ssh(1): nothing that it could take for an option or a shell for more than a word.
 */
import { badHost } from "./errors.ts";

export interface HostAddress {
  readonly user: string | undefined;
  /** Without brackets. */
  readonly host: string;
  readonly port: number | undefined;
}

const FORM = /^ssh:\/\/(?:([^@/]*)@)?(\[[^\]/]*\]|[^:/@[\]]*)(?::([^/@]*))?\/?$/;
const USER = /^[A-Za-z_][A-Za-z0-9_.-]*\$?$/;
const HOST = /^[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?$/;
const IPV6 = /^[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9_.-]+)?$/;
const HINT = "it is written ssh://[user@]host[:port], with an IPv6 address in brackets: ssh://root@[2001:db8::1]:2222";

/** @throws Problem E_BAD_HOST (exit 2) */
export function parseAddress(url: string): HostAddress {
  const bad = (what: string, hint = HINT) => badHost(`the address ${JSON.stringify(url)}: ${what}`, hint);
  const parts = FORM.exec(url);
  if (parts === null) {
    if (!url.startsWith("ssh://")) throw bad("it does not begin with ssh://");
    if (/^ssh:\/\/[^/]+\/./.test(url)) throw bad("it has a path", "where a host keeps its things is said by --directory");
    throw bad("it is not of that form");
  }
  const [, user, name = "", port] = parts;
  if (user?.includes(":"))
    throw bad(
      "it has a password",
      "ssh logs in with a key, from the agent or by --identity; put yours into authorized_keys there",
    );
  if (user !== undefined && !USER.test(user)) throw bad(`${JSON.stringify(user)} is no user`);
  const bracketed = name.startsWith("[");
  const host = bracketed ? name.slice(1, -1) : name;
  if (host === "") throw bad("it names no host");
  if (!(bracketed ? IPV6 : HOST).test(host))
    throw bad(`${JSON.stringify(host)} is no ${bracketed ? "IPv6 address" : "host name"}`);
  if (port !== undefined && !(/^[1-9][0-9]{0,4}$/.test(port) && Number(port) <= 65_535))
    throw bad(`${JSON.stringify(port)} is no port`);
  return { user, host, port: port === undefined ? undefined : Number(port) };
}

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?$/;

/** What this machine is called where a host may be named. */
const THIS_MACHINE = "here";

/** @throws Problem E_BAD_HOST (exit 2) */
export function checkName(name: string): string {
  if (name === THIS_MACHINE) throw badHost(`${name} is this machine, and no name for a host`, "take another");
  if (NAME.test(name) && !name.includes("..")) return name;
  throw badHost(
    `${JSON.stringify(name)} is no name for a host`,
    "a name has letters, digits, dots and dashes, at most 64, and begins and ends with a letter or a digit",
  );
}
