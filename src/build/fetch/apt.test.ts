import { describe, expect, test } from "bun:test";
import { debianSourcesText, parseDeb822Sources, parseOneLineSources, parseStanzas } from "./aptsources.ts";
import { aptWords, DEBIAN_KEYRING, openApt } from "./apt.ts";
import { hasVersion, parseShowsrc } from "./debian.ts";
import { localHost } from "../../host/index.ts";
import { openFetchBench } from "./testing.ts";

const text = (sources: Parameters<typeof debianSourcesText>[0], suite?: string) =>
  debianSourcesText(sources, { types: ["deb-src"], suite, keyring: DEBIAN_KEYRING });

const entry = (uri: string, suite: string) =>
  `Types: deb-src\nURIs: ${uri}\nSuites: ${suite}\nComponents: main\nSigned-By: ${DEBIAN_KEYRING}\n`;

describe("sources in one-line form", () => {
  const sources = parseOneLineSources(`
# deb http://commented.example/debian bookworm main
deb http://mirror.example/debian bookworm main contrib # a remark
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/security bookworm-security main
deb [signed-by=/etc/apt/keyrings/other.gpg] https://other.example/debian bookworm main
deb https://cloud.example/apt cloud-sdk-bookworm main
deb http://mirror.example/debian bookworm-backports main
deb cdrom:[Debian]/ bookworm main
nonsense
`);

  test("are read", () => {
    expect(sources.map((each) => each.suites[0])).toEqual([
      "bookworm",
      "bookworm",
      "bookworm-security",
      "bookworm",
      "cloud-sdk-bookworm",
      "bookworm-backports",
      "bookworm",
    ]);
    expect(sources[0]?.components).toEqual(["main", "contrib"]);
    expect(sources[2]?.options.get("signed-by")).toBe("/usr/share/keyrings/debian-archive-keyring.gpg");
  });

  test("give Debian's part: not somebody else's, no backports, each once", () => {
    expect(text(sources, "bookworm")).toBe(
      [entry("http://mirror.example/debian", "bookworm"), entry("http://mirror.example/security", "bookworm-security")].join(
        "\n",
      ),
    );
  });
});

describe("sources in deb822 form", () => {
  const sources = parseDeb822Sources(`# a comment
Types: deb
URIs: http://one.example/debian
 http://two.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: https://inline.example/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY865UxYJKwYBBAHaRw8BAQdAd7Z0srwuhlB6JKFkcf4HU4SSS
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: https://node.example/node_20.x
Suites: nodistro
Components: main
`);

  test("give every mirror and suite of Debian's, and nothing that is off or somebody else's", () => {
    expect(text(sources)).toBe(
      ["http://one.example/debian", "http://two.example/debian"]
        .flatMap((uri) => [[uri, "bookworm"] as const, [uri, "bookworm-updates"] as const])
        .toSorted(([, a], [, b]) => (a < b ? -1 : a > b ? 1 : 0))
        .map(([uri, suite]) => entry(uri, suite))
        .join("\n"),
    );
  });

  test("of another suite serve for the wanted one", () => {
    expect(text(sources, "trixie")).toContain("Suites: trixie\n");
    expect(text(sources, "trixie")).toContain("Suites: trixie-updates\n");
    expect(text(sources, "trixie")).not.toContain("bookworm");
  });

  test("without Debian's give nothing", () => {
    expect(text(parseDeb822Sources("Types: deb\nURIs: https://x.example\nSuites: jammy\nComponents: main\n"))).toBeUndefined();
    expect(text([])).toBeUndefined();
  });
});

test("a Debian keyring is asked for whatever the host trusts", () => {
  const trusting = parseOneLineSources("deb [trusted=yes allow-insecure=yes] http://mirror.example/debian bookworm main\n");
  expect(text(trusting)).toBe(entry("http://mirror.example/debian", "bookworm"));
});

test("stanzas keep folded lines apart", () => {
  expect(parseStanzas("A: 1\nB:\n x y\n z\n\n\nA: 2\n").map((each) => Object.fromEntries(each))).toEqual([
    { a: "1", b: "\nx y\nz" },
    { a: "2" },
  ]);
});

describe("a source package", () => {
  const index = `Package: hello
Version: 2.10-3
Files:
 6cd0ffea3884a4e79330338dcc2987d6 725946 hello_2.10.orig.tar.gz
Checksums-Sha256:
 ${"a".repeat(64)} 1721 hello_2.10-3.dsc
 ${"b".repeat(64)} 725946 hello_2.10.orig.tar.gz
Directory: pool/main/h/hello

Package: hello-traditional
Version: 2.10-6
Checksums-Sha256:
 ${"c".repeat(64)} 1 hello-traditional_2.10.orig.tar.gz
`;

  test("is read from the index, and only under its own name", () => {
    expect(parseShowsrc(index, "hello")).toEqual([
      { version: "2.10-3", file: "hello_2.10-3.dsc", sha256: "a".repeat(64) },
      { version: "2.10-3", file: "hello_2.10.orig.tar.gz", sha256: "b".repeat(64) },
    ]);
  });

  test("has the version that is asked for, with or without epoch and revision", () => {
    for (const wanted of ["1:2.10-3", "2.10-3", "2.10", "1:2.10"])
      expect([wanted, hasVersion("1:2.10-3", wanted)]).toEqual([wanted, true]);
    for (const wanted of ["2.1", "2.10-4", "2", "10-3"])
      expect([wanted, hasVersion("1:2.10-3", wanted)]).toEqual([wanted, false]);
    expect(hasVersion("2.10-rc1-3", "2.10-rc1")).toBe(true);
  });
});

test("of apt's words, errors and warnings are worth repeating", () => {
  const stderr =
    "Reading...\nE: no such thing\nN: see apt-secure(8)\nE: no such thing\nW: Download is performed unsandboxed as root as file\nW: old\n";
  expect(aptWords(stderr)).toEqual(["E: no such thing", "W: old"]);
});

describe("the private apt", () => {
  const request = { name: "test", types: ["deb"], suite: "bookworm", architecture: "amd64" } as const;

  test("sees nothing of the host's settings but the way to the mirrors, and no installed package", async () => {
    using bench = openFetchBench();
    const apt = await openApt(bench.context(), request);
    expect(apt.hasLists()).toBe(false);
    const conf = await Bun.file(`${bench.distfiles}/apt-test/apt.conf`).text();
    expect(conf).not.toContain("Post-Invoke");
    expect(conf).toContain('Acquire::AllowInsecureRepositories "false";');
    expect(await Bun.file(`${bench.distfiles}/apt-test/status`).text()).toBe("");
    const policy = await apt.run(["apt-cache", "policy"], "asking");
    expect(policy.status).toBe(0);
    expect(policy.stdout).not.toContain("100 /var/lib/dpkg/status");
  });

  test("says what to install where a tool is missing", async () => {
    using bench = openFetchBench();
    const host = { ...localHost(), which: (program: string) => (program === "apt-get" ? undefined : `/usr/bin/${program}`) };
    await expect(openApt(bench.context({ host }), request)).rejects.toMatchObject({
      code: "E_TOOL_MISSING",
      hint: "apt-get install apt",
      exit: 3,
    });
  });
});
