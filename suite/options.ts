/** The command line of `npm run test:freebsd` and `npm run bench:freebsd`. */
export interface SuiteOptions {
  readonly url: string;
  readonly identityFile: string | undefined;
  /** Fingerprint that the host's key must have: `SHA256:...`. */
  readonly hostKey: string | undefined;
  readonly binary: string | undefined;
  readonly only: RegExp | undefined;
  readonly keep: boolean;
  readonly json: string | undefined;
  /** Of the bench: bench/FREEBSD.md is written. */
  readonly write: boolean;
  readonly list: boolean;
}

const VALUES = ["host", "identity", "host-key", "binary", "only", "json"] as const;
const FLAGS = ["keep", "write", "list"] as const;

export const USAGE = `--host ssh://[user@]host[:port] [--identity FILE] [--host-key SHA256:...] [--binary FILE]
  [--only PATTERN] [--keep] [--json FILE] [--list]`;

/** What is wrong with it, as text, or the options. */
export function parseOptions(words: readonly string[]): SuiteOptions | string {
  const values = new Map<string, string>();
  const flags = new Set<string>();
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? "";
    const [name = "", given] = word.startsWith("--") ? word.slice(2).split(/=(.*)/s) : [""];
    if ((FLAGS as readonly string[]).includes(name) && given === undefined) flags.add(name);
    else if ((VALUES as readonly string[]).includes(name)) {
      const value = given ?? words[(index += 1)];
      if (value === undefined || value === "") return `--${name} wants a value`;
      values.set(name, value);
    } else return `${word} is not known`;
  }
  const url = values.get("host") ?? "";
  if (!flags.has("list")) {
    if (url === "") return "--host is missing";
    if (!/^ssh:\/\/([^@/\s]+@)?(\[[0-9A-Fa-f:.]+\]|[^@/:\s[\]]+)(:\d+)?\/?$/.test(url))
      return `${url} is not ssh://[user@]host[:port]`;
  }
  let only: RegExp | undefined;
  try {
    const pattern = values.get("only");
    only = pattern === undefined ? undefined : new RegExp(pattern, "i");
  } catch (error) {
    return `--only: ${error instanceof Error ? error.message : String(error)}`;
  }
  return {
    url: url.replace(/\/$/, "").replace(/^ssh:\/\/(?=[^@]*$)/, "ssh://root@"),
    identityFile: values.get("identity"),
    hostKey: values.get("host-key"),
    binary: values.get("binary"),
    only,
    keep: flags.has("keep"),
    json: values.get("json"),
    write: flags.has("write"),
    list: flags.has("list"),
  };
}
