/** Configuration texts for those who use and those who host a repository. Pure. */
import { Problem } from "../base/index.ts";

export interface ClientSettings {
  /** What clients call the repository. */
  readonly name: string;
  /** Where they fetch it: http(s)://. Variables of pkg such as ${ABI} are left for the client to fill in. */
  readonly url: string;
  /** Higher wins for a new install, even with a lower version. */
  readonly priority: number;
  readonly trust:
    /** Path of the public key on the client. */
    | { readonly mode: "pubkey"; readonly publicKeyPath: string }
    /** Directory with `trusted/` and `revoked/` on the client (inside the root that `pkg -r` is given). */
    | { readonly mode: "fingerprints"; readonly directory: string };
}

/**
 * A file for a directory in REPOS_DIR (`/usr/local/etc/pkg/repos/<name>.conf`), for pkg 1.17 and later.
 *
 * @throws Problem E_BAD_CLIENT_CONF
 */
export function clientConfiguration(settings: ClientSettings): string {
  const { name, url, priority, trust } = settings;
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]*$/.test(name)) throw bad("name", name, "letters, digits, - and _");
  if (/^FreeBSD(-|$)/i.test(name))
    throw bad("name", name, "a name of its own: the system's repositories are called FreeBSD, FreeBSD-ports, FreeBSD-base");
  if (!/^https?:\/\/[^\s"]+$/.test(url)) {
    throw bad(
      "url",
      url,
      "an http or https address: pkg checks no sums of packages it takes from file:// and knows pkg+https:// only with SRV records",
    );
  }
  if (!Number.isInteger(priority)) throw bad("priority", priority, "a whole number");
  const path = trust.mode === "pubkey" ? trust.publicKeyPath : trust.directory;
  if (!path.startsWith("/") || /["\s]/.test(path)) throw bad("path", path, "absolute, without spaces");
  const signature =
    trust.mode === "pubkey"
      ? [`  signature_type: "pubkey",`, `  pubkey: ${quoted(path)},`]
      : [`  signature_type: "fingerprints",`, `  fingerprints: ${quoted(path)},`];
  return [
    `# ${name}: install as a file in REPOS_DIR that ends in .conf, such as /usr/local/etc/pkg/repos/${name}.conf`,
    `# Another repository is switched off by its own name: since FreeBSD 15 those of the system are FreeBSD-ports,`,
    `# FreeBSD-ports-kmods and FreeBSD-base, and "FreeBSD: { enabled: no }" does nothing there.`,
    ...(trust.mode === "fingerprints"
      ? [`# With "pkg -r ROOT" the fingerprints have to be inside of ROOT.`]
      : [`# With "pkg -r ROOT" the public key is looked for on the host, not inside of ROOT.`]),
    `${name}: {`,
    `  url: ${quoted(url)},`,
    `  mirror_type: "none",`,
    ...signature,
    `  priority: ${priority},`,
    `  enabled: yes`,
    `}`,
    ``,
  ].join("\n");
}

/** The file for `<directory>/trusted/<any name>`. */
export function fingerprintFile(fingerprint: string): string {
  if (!/^[0-9a-f]{64}$/.test(fingerprint)) throw bad("fingerprint", fingerprint, "64 hexadecimal digits");
  return `function: "sha256"\nfingerprint: "${fingerprint}"\n`;
}

export interface ServerSettings {
  readonly serverName: string;
  /** The directory of the repository. */
  readonly root: string;
  /** Certificate and key, where it serves https itself. */
  readonly tls?: { readonly certificate: string; readonly key: string };
}

/**
 * A complete server block for nginx 1.25.1 or later, to be included in its `http` block.
 *
 * @throws Problem E_BAD_SERVER_CONF
 */
export function nginxConfiguration(settings: ServerSettings): string {
  const { serverName, root, tls } = settings;
  if (!/^[A-Za-z0-9.-]+$/.test(serverName)) throw badServer("server name", serverName);
  for (const path of [root, ...(tls === undefined ? [] : [tls.certificate, tls.key])]) {
    if (!/^\/[A-Za-z0-9._/@+-]+$/.test(path)) throw badServer("path", path);
  }
  const listen =
    tls === undefined
      ? ["    listen 80;", "    listen [::]:80;"]
      : [
          "    listen 443 ssl;",
          "    listen [::]:443 ssl;",
          "    http2 on;",
          `    ssl_certificate ${tls.certificate};`,
          `    ssl_certificate_key ${tls.key};`,
          "    ssl_protocols TLSv1.2 TLSv1.3;",
        ];
  return [
    "server {",
    ...listen,
    `    server_name ${serverName};`,
    `    root ${root};`,
    "",
    "    # Catalogue files are links that are switched when a new catalogue is published.",
    "    disable_symlinks off;",
    "    # A switched link has to be seen at once.",
    "    open_file_cache off;",
    "    autoindex off;",
    "    server_tokens off;",
    "    # Everything is compressed already.",
    "    gzip off;",
    "    default_type application/octet-stream;",
    "    types { application/json json; text/plain conf; }",
    "    # pkg asks with If-Modified-Since and takes the date for the age of the catalogue.",
    "    if_modified_since exact;",
    "    etag on;",
    "",
    "    location ~ /\\. { return 404; }",
    "    location /All/Hashed/ {",
    "        # A name here never changes its content.",
    '        add_header Cache-Control "public, max-age=31536000, immutable";',
    "        try_files $uri =404;",
    "    }",
    "    location / {",
    '        add_header Cache-Control "no-cache";',
    "        limit_except GET { deny all; }",
    "        try_files $uri =404;",
    "    }",
    "}",
    "",
  ].join("\n");
}

function quoted(value: string): string {
  return JSON.stringify(value);
}

function bad(field: string, value: unknown, wanted: string): Problem {
  return new Problem({
    code: "E_BAD_CLIENT_CONF",
    message: `the ${field} of a client configuration cannot be ${JSON.stringify(value)}`,
    hint: `it has to be ${wanted}`,
    exit: 2,
  });
}

function badServer(field: string, value: string): Problem {
  return new Problem({
    code: "E_BAD_SERVER_CONF",
    message: `the ${field} of a server configuration cannot be ${JSON.stringify(value)}`,
    exit: 2,
  });
}
