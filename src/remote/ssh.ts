/**
 * ssh(1): its words, and what its words mean. Pure.
 *
 * The connection is the caller's: its configuration, agent and ProxyJump apply. What would change the meaning of a session (a command, a
 * terminal, forwardings, another multiplexing) is set here; the command line comes before any configuration. Which key the host may have
 * is recorded under its name here, and nothing else counts.
 */
import { createHash } from "node:crypto";
import type { HostAddress } from "./address.ts";

/** A host that is silent this long is gone: asked three times meanwhile. */
export const SILENCE_MS = 45_000;
const ASKED_TIMES = 3;
const CONNECT_TIMEOUT_S = 30;

export interface Reach {
  /** What its key is recorded under. */
  readonly name: string;
  readonly address: HostAddress;
  readonly identityFile: string | undefined;
  readonly knownHostsFile: string;
  /** In place of the caller's own and the system's. */
  readonly configFile: string | undefined;
}

/** An option's value where ssh expands `%` and splits at blanks. */
function fileValue(path: string): string {
  return `"${path.replaceAll("%", "%%").replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

function options(values: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(values).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
}

/** What a session of ours is, whatever the caller's configuration says. */
const PLAIN: Readonly<Record<string, string>> = {
  BatchMode: "yes",
  ClearAllForwardings: "yes",
  Compression: "no",
  EscapeChar: "none",
  ForkAfterAuthentication: "no",
  ForwardAgent: "no",
  ForwardX11: "no",
  LogLevel: "ERROR",
  PermitLocalCommand: "no",
  RemoteCommand: "none",
  RequestTTY: "no",
  SessionType: "default",
  StdinNull: "no",
  Tunnel: "no",
  UpdateHostKeys: "no",
  VisualHostKey: "no",
};

function keyValues({ name, knownHostsFile }: Reach): Readonly<Record<string, string>> {
  return {
    CheckHostIP: "no",
    GlobalKnownHostsFile: "/dev/null",
    HashKnownHosts: "no",
    HostKeyAlias: name,
    KnownHostsCommand: "none",
    UserKnownHostsFile: fileValue(knownHostsFile),
    VerifyHostKeyDNS: "no",
  };
}

function toWhom({ address, identityFile, configFile }: Reach, user: string | undefined): readonly string[] {
  return [
    ...(configFile === undefined ? [] : ["-F", configFile]),
    ...(identityFile === undefined ? [] : ["-i", identityFile]),
    ...(address.port === undefined ? [] : ["-p", String(address.port)]),
    ...(user === undefined ? [] : ["-l", user]),
    address.host,
  ];
}

/** The connection that sessions share. `user`: undefined leaves it to the configuration. */
export function masterWords(
  reach: Reach,
  given: {
    readonly user: string | undefined;
    readonly socket: string;
    readonly silenceMs: number;
    readonly command: string;
  },
): readonly [string, ...string[]] {
  return [
    "ssh",
    ...options({
      ...PLAIN,
      ...keyValues(reach),
      // Why a connection ended is news to it, and no error.
      LogLevel: "INFO",
      StrictHostKeyChecking: "yes",
      ConnectTimeout: String(CONNECT_TIMEOUT_S),
      ConnectionAttempts: "1",
      ControlMaster: "yes",
      ControlPath: fileValue(given.socket),
      ControlPersist: "no",
      ServerAliveInterval: String(Math.max(1, Math.round(given.silenceMs / ASKED_TIMES / 1000))),
      ServerAliveCountMax: String(ASKED_TIMES),
    }),
    ...toWhom(reach, given.user),
    given.command,
  ];
}

/**
 * A session over it, or none: where ssh(1) would make a connection of its own instead (no session left, a master that just died) it finds
 * `false` in the place of the host.
 */
export function sessionWords(socket: string, command: string): readonly [string, ...string[]] {
  const shared = { ...PLAIN, ControlMaster: "no", ControlPath: fileValue(socket), ProxyCommand: "false" };
  return ["ssh", "-F", "none", ...options(shared), "host", command];
}

/** Asks the master itself, not the host. */
export function askWords(socket: string): readonly [string, ...string[]] {
  return ["ssh", "-F", "none", "-O", "check", ...options({ ControlPath: fileValue(socket) }), "host"];
}

/** Says which user the configuration names: `user NAME`; `fallback` where it names none. The file is written for it, `userConfig`. */
export function userWords(reach: Reach, configFile: string): readonly [string, ...string[]] {
  return ["ssh", "-G", ...toWhom({ ...reach, configFile }, undefined)];
}

/** The first value of a setting counts: what the caller's files say, else the last lines. */
export function userConfig(configFile: string | undefined, fallback: string): string {
  const files = configFile === undefined ? ["~/.ssh/config", "/etc/ssh/ssh_config"] : [configFile];
  return [...files.map((file) => `Include ${fileValue(file)}`), "Host *", `User ${fallback}`, ""].join("\n");
}

/** For a person's terminal. */
export function personWords(reach: Reach, user: string | undefined): readonly string[] {
  const known = options({ HostKeyAlias: reach.name, UserKnownHostsFile: fileValue(reach.knownHostsFile) });
  return ["ssh", "-t", ...known, ...toWhom(reach, user)];
}

/** Names the key that the host has: nobody is logged in. Says what the caller's own known_hosts know of it. */
export function lookWords(reach: Reach, user: string | undefined): readonly [string, ...string[]] {
  return ["ssh", ...options({ ...probe(), LogLevel: "DEBUG1", StrictHostKeyChecking: "yes" }), ...toWhom(reach, user), "exit"];
}

/** Writes the key that the host has into the reach's known_hosts file. */
export function recordWords(
  reach: Reach,
  user: string | undefined,
  algorithms: string | undefined,
): readonly [string, ...string[]] {
  return [
    "ssh",
    ...options({
      ...probe(),
      ...keyValues(reach),
      StrictHostKeyChecking: "accept-new",
      ...(algorithms === undefined ? {} : { HostKeyAlgorithms: algorithms }),
    }),
    ...toWhom(reach, user),
    "exit",
  ];
}

function probe(): Readonly<Record<string, string>> {
  return {
    ...PLAIN,
    ConnectTimeout: String(CONNECT_TIMEOUT_S),
    ConnectionAttempts: "1",
    ControlMaster: "no",
    ControlPath: "none",
    PreferredAuthentications: "none",
  };
}

/** The algorithms by which a host shows a key of a type; each type that ssh(1) has for hosts. */
export const KEY_ALGORITHMS: Readonly<Record<string, string>> = {
  "ssh-ed25519": "ssh-ed25519",
  "ecdsa-sha2-nistp256": "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384": "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521": "ecdsa-sha2-nistp521",
  "ssh-rsa": "rsa-sha2-512,rsa-sha2-256",
};

/** What the caller's known_hosts say of a host, by the words of `lookWords`. */
export interface Looked {
  readonly state: "known" | "unknown" | "changed";
  readonly type: string;
  readonly fingerprint: string;
}

/** undefined: there was no host that showed a key. */
export function readLook(said: string): Looked | undefined {
  const shown = /^debug1: Server host (?:key|certificate): (\S+?)(?:-cert-v01@openssh\.com)? (SHA256:[^\s,]+)/m.exec(said);
  const [, type, fingerprint] = shown ?? [];
  if (type === undefined || fingerprint === undefined) return undefined;
  const changed = /REMOTE HOST IDENTIFICATION HAS CHANGED|REVOKED HOST KEY DETECTED/.test(said);
  const failed = /^Host key verification failed/m.test(said);
  return { state: changed ? "changed" : failed ? "unknown" : "known", type, fingerprint };
}

/** What ssh(1) itself says when it does not get a connection. */
export type Refusal =
  | { readonly kind: "key"; readonly offered: string | undefined }
  | { readonly kind: "unknown-key" }
  | { readonly kind: "denied"; readonly what: string }
  | { readonly kind: "unreachable"; readonly what: string | undefined };

export function readRefusal(lines: readonly string[]): Refusal {
  const said = lines.join("\n");
  if (/REMOTE HOST IDENTIFICATION HAS CHANGED/.test(said)) return { kind: "key", offered: /SHA256:[^\s.]+/.exec(said)?.[0] };
  if (/host key is known for .* and you have requested strict checking/.test(said)) return { kind: "unknown-key" };
  if (/Host key verification failed/.test(said)) return { kind: "unknown-key" };
  const line = (pattern: RegExp): string | undefined => lines.find((each) => pattern.test(each))?.trim();
  const refused = line(/Permission denied \(|Too many authentication failures|no more authentication methods/i);
  if (refused !== undefined) return { kind: "denied", what: refused };
  const why = line(
    /connect to host|Could not resolve|Connection (?:closed|reset|timed out|refused)|timed out|not responding|kex_exchange|No route|unreachable/i,
  );
  return { kind: "unreachable", what: why ?? lines.findLast((each) => each.trim() !== "")?.trim() };
}

/** No session is left on a connection. */
export function isOutOfSessions(lines: readonly string[]): boolean {
  return lines.some((line) => line.startsWith("mux_client_request_session: session request failed"));
}

/** No session was left, or the connection was gone before there was one: `false` was found in the place of a host. */
export function isWithoutSession(lines: readonly string[]): boolean {
  return lines.some((line) =>
    /^(?:mux_client_request_session|kex_exchange_identification|banner exchange): |^Connection closed by UNKNOWN/.test(line),
  );
}

/** Fingerprints of the keys that a known_hosts file has: the SHA-256 of a key's bytes in base64 without padding. */
export function fingerprintsOf(knownHosts: string): readonly string[] {
  return knownHosts.split("\n").flatMap((line) => {
    const key = line.split(" ")[2];
    if (key === undefined || line.startsWith("#")) return [];
    const digest = createHash("sha256").update(Buffer.from(key, "base64")).digest("base64");
    return [`SHA256:${digest.replace(/=+$/, "")}`];
  });
}
