/**
 * The host's package sources as values, in both of apt's forms (sources.list(5)), and the part of them that is Debian's. Pure.
 *
 * What is taken over is where Debian's archive is mirrored. Whose signature counts is not: every entry that is written here names
 * Debian's archive keyring, so a source of somebody else that looks like Debian's fails its check.
 */
export interface AptSource {
  readonly types: readonly string[];
  readonly uris: readonly string[];
  readonly suites: readonly string[];
  readonly components: readonly string[];
  /** Option or field name in lower case -> value. */
  readonly options: ReadonlyMap<string, string>;
}

/** `deb [signed-by=…] URI suite component…`, one per line. Lines that are nothing of the sort are left out. */
export function parseOneLineSources(text: string): readonly AptSource[] {
  const found: AptSource[] = [];
  for (const raw of text.split("\n")) {
    const match = /^\s*(?<type>deb|deb-src)\s+(?:\[(?<options>[^\]]*)\]\s*)?(?<uri>\S+)\s+(?<suite>\S+)(?<rest>[^#]*)/.exec(
      raw.replace(/#.*$/, ""),
    );
    const { type, options = "", uri, suite, rest = "" } = match?.groups ?? {};
    if (type === undefined || uri === undefined || suite === undefined) continue;
    found.push({ types: [type], uris: [uri], suites: [suite], components: words(rest), options: parseOptions(options) });
  }
  return found;
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}

function parseOptions(text: string): ReadonlyMap<string, string> {
  return new Map(words(text).map((word) => [word.replace(/[-+]?=.*$/, "").toLowerCase(), word.replace(/^[^=]*=/, "")]));
}

/** Stanzas of `Field: value`, with continuation lines. Disabled ones are left out. */
export function parseDeb822Sources(text: string): readonly AptSource[] {
  const found: AptSource[] = [];
  for (const stanza of parseStanzas(text)) {
    const get = (field: string) => words(stanza.get(field) ?? "");
    if (/^(?:no|false|without|off|disable)$/i.test(stanza.get("enabled")?.trim() ?? "")) continue;
    if (get("uris").length === 0 || get("suites").length === 0) continue;
    found.push({ types: get("types"), uris: get("uris"), suites: get("suites"), components: get("components"), options: stanza });
  }
  return found;
}

/** deb822(5): fields in lower case; the lines of a folded value are joined by line feeds. */
export function parseStanzas(text: string): readonly ReadonlyMap<string, string>[] {
  const stanzas: Map<string, string>[] = [];
  let current: Map<string, string> | undefined;
  let field = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("#")) continue;
    if (line.trim() === "") {
      current = undefined;
      continue;
    }
    if (/^[ \t]/.test(line)) {
      if (current !== undefined) current.set(field, `${current.get(field) ?? ""}\n${line.slice(1)}`);
      continue;
    }
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    if (current === undefined) {
      current = new Map();
      stanzas.push(current);
    }
    field = line.slice(0, colon).toLowerCase();
    current.set(field, line.slice(colon + 1).trim());
  }
  return stanzas;
}

const DEBIAN_SUITES = new Set(
  "oldoldstable oldstable stable testing unstable sid buster bullseye bookworm trixie forky duke".split(" "),
);
const SUITE = /^(?<base>[a-z]+)(?<pocket>-updates|-security|\/updates)?$/;
const TRANSPORT = /^(?:https?|file|copy|mirror(?:\+[a-z]+)?|tor\+https?):/;

interface DebianPart {
  readonly uri: string;
  readonly base: string;
  readonly pocket: string;
}

/** Entries of Debian's main archive, its updates and its security updates; backports and proposed updates are not among them. */
function debianParts(sources: readonly AptSource[]): readonly DebianPart[] {
  return sources.flatMap((source) => {
    const signer = source.options.get("signed-by");
    // A key given in the file itself, or a file of somebody else's: not Debian's archive.
    if (signer !== undefined && !/^\/\S*debian-archive[^/]*$/.test(signer.trim())) return [];
    if (!source.components.includes("main")) return [];
    return source.suites.flatMap((suite) => {
      const { base, pocket = "" } = SUITE.exec(suite)?.groups ?? {};
      if (base === undefined || !DEBIAN_SUITES.has(base)) return [];
      return source.uris.filter((uri) => TRANSPORT.test(uri)).map((uri) => ({ uri, base, pocket }));
    });
  });
}

/**
 * A private list of sources in deb822 form: the host's mirrors of Debian for one suite, or for the host's own suites when none is
 * named. A host of another suite has the same mirrors: there the suite's name is put in place of the host's.
 * undefined when the host has no source of Debian's.
 */
export function debianSourcesText(
  sources: readonly AptSource[],
  wanted: { readonly types: readonly ("deb" | "deb-src")[]; readonly suite: string | undefined; readonly keyring: string },
): string | undefined {
  const parts = debianParts(sources);
  const own = parts.filter((part) => wanted.suite === undefined || part.base === wanted.suite);
  const chosen = own.length > 0 ? own : parts.map(({ uri, base, pocket }) => ({ uri, base: wanted.suite ?? base, pocket }));
  const entries = new Set(chosen.map(({ uri, base, pocket }) => `URIs: ${uri}\nSuites: ${base}${pocket}`));
  if (entries.size === 0) return undefined;
  return [...entries]
    .map((entry) => `Types: ${wanted.types.join(" ")}\n${entry}\nComponents: main\nSigned-By: ${wanted.keyring}\n`)
    .join("\n");
}
