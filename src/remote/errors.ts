/** What goes wrong with hosts, in one place and one style. */
import { Problem } from "../base/index.ts";

/** A host in the words of an error, and how a person reaches it. */
export interface Whom {
  readonly name: string;
  readonly url: string;
  /** It is in no list: it was named by its address, for once. */
  readonly isVisited?: boolean;
}

function plain(lines: readonly string[]): readonly string[] {
  return lines.map((line) => line.trimEnd()).filter((line) => line !== "");
}

export function badHost(message: string, hint: string): Problem {
  return new Problem({ code: "E_BAD_HOST", message, hint, exit: 2 });
}

export function unknownHost(name: string, names: readonly string[]): Problem {
  return new Problem({
    code: "E_UNKNOWN_HOST",
    message: `there is no host ${JSON.stringify(name)}`,
    hint: names.length === 0 ? "garth host add NAME ssh://root@host makes one known" : `there is: ${names.join(", ")}`,
    exit: 2,
  });
}

export function hostExists(name: string, url: string): Problem {
  return new Problem({
    code: "E_HOST_EXISTS",
    message: `adding the host ${name}: there is one of this name, ${url}`,
    hint: `garth host check ${name} looks at it again; garth host rm ${name} forgets it`,
    exit: 2,
  });
}

export function hostBusy({ name }: Whom, doing: string, details: readonly string[]): Problem {
  return new Problem({
    code: "E_HOST_BUSY",
    message: `${doing}: something is at work on the host ${name}, or was left there`,
    details,
    hint: `wait for the builds there; what a dead one left is undone by the next: garth build --on ${name}`,
  });
}

export function beingChanged(name: string): Problem {
  return new Problem({
    code: "E_HOST_BUSY",
    message: `the host ${name} is being added or removed by another process`,
    hint: "wait for it: garth host ls",
  });
}

export function unreachable({ name, url }: Whom, doing: string, what: string, said: readonly string[] = []): Problem {
  return new Problem({
    code: "E_HOST_UNREACHABLE",
    message: `${doing}: the host ${name} (${url}) cannot be reached: ${what}`,
    details: plain(said).filter((line) => line !== what),
    hint: "is it up, does sshd listen there, is the way to it open? the address is ssh's own, its configuration applies",
    exit: 3,
  });
}

export function denied({ name, url }: Whom, doing: string, what: string, said: readonly string[] = []): Problem {
  return new Problem({
    code: "E_HOST_DENIED",
    message: `${doing}: the host ${name} (${url}) does not let us in: ${what}`,
    details: plain(said),
    hint:
      "its authorized_keys must have a key that ssh-agent holds, that is named in ~/.ssh/config or given by --identity; " +
      "for root its sshd_config needs `PermitRootLogin prohibit-password`",
    exit: 3,
  });
}

export function sessionsDenied({ name, url }: Whom, doing: string): Problem {
  return new Problem({
    code: "E_HOST_DENIED",
    message: `${doing}: the host ${name} (${url}) gives a connection one session alone`,
    hint: "sshd_config there says MaxSessions 1 or less; at least 2 are needed, and 10 is what it is without that line",
    exit: 3,
  });
}

/** It has another key than it should. */
export function wrongKey(
  { name, url }: Whom,
  doing: string,
  keys: { readonly expected: readonly string[]; readonly offered: readonly string[] },
  hint: string,
): Problem {
  const list = (what: string, prints: readonly string[]) => (prints.length === 0 ? [] : [`${what} ${prints.join(", ")}`]);
  return new Problem({
    code: "E_HOST_KEY",
    message: `${doing}: the host ${name} (${url}) has another key than it should: it was made anew, or is somebody else`,
    details: [...list("expected", keys.expected), ...list("offered ", keys.offered)],
    hint,
    exit: 3,
  });
}

export function unknownKey({ name, url, isVisited = false }: Whom, doing: string, offered: string): Problem {
  const accept = isVisited ? `--host-key ${offered}` : `garth host add ${name} ${url} --host-key ${offered}`;
  return new Problem({
    code: "E_HOST_KEY_UNKNOWN",
    message: `${doing}: nobody here knows the key of the host ${name} (${url})`,
    details: [`offered ${offered}`],
    hint:
      "there, `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints the right one (or that of another type); " +
      `if it is the same: ${accept}`,
    exit: 3,
  });
}

export function lost({ name, url }: Whom, doing: string, what: string, said: readonly string[] = []): Problem {
  return new Problem({
    code: "E_HOST_LOST",
    message: `${doing}: the host ${name} (${url}) was lost: ${what}`,
    details: plain(said),
    hint: "what was begun there undoes itself when its connection ends, at the latest when the host is used again",
  });
}

export function scriptFailed(
  { name, isVisited = false }: Whom,
  doing: string,
  status: number,
  words: readonly string[],
): Problem {
  return new Problem({
    code: "E_SCRIPT_FAILED",
    message: `${doing} on the host ${name}: the script ended with status ${status}`,
    details: plain(words),
    ...(isVisited ? {} : { hint: `garth host check ${name} says what it lacks` }),
  });
}

export function badAnswer({ name }: Whom, doing: string, what: string): Problem {
  return new Problem({
    code: "E_HOST_ANSWER",
    message: `${doing}: the host ${name} said what cannot be: ${what}`,
    hint: "is its login shell's start-up file quiet, and are the tools of its base system its own?",
  });
}
