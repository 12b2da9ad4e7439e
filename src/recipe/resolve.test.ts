import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { canonicalJson, Problem } from "../base/index.ts";
import { golden, thrownProblem } from "../base/testing.ts";
import {
  autotools,
  cargo,
  cmake,
  debianSource,
  type Declaration,
  type Derivation,
  derivationPath,
  derivationReferences,
  derivationText,
  fetchGit,
  fetchurl,
  fixedOutputDerivation,
  fixedOutputPath,
  hostView,
  instantiate,
  localTree,
  make,
  npmTarball,
  outputName,
  parseDerivation,
  resolve,
  scratchPath,
  script,
  secretIn,
  type Step,
} from "./index.ts";
import { derivations, pathOf, resolutionFor } from "./testing.ts";

const SHA = "31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b";
const goldenFile = (name: string): string => `${import.meta.dir}/golden/${name}`;
const bare = hostView({ paths: ["/bin", "/usr"] });

function stepOf(declared: Declaration, system: "x86_64-linux" | "x86_64-freebsd" = "x86_64-linux"): Step {
  const graph = instantiate(declared, { system, directory: "/project" });
  const step = graph.byKey.get(graph.goals[0] ?? "");
  if (step === undefined) throw new Error("no goal");
  return step;
}

function derivationOf(declared: Declaration, system?: "x86_64-linux" | "x86_64-freebsd"): Derivation {
  const step = stepOf(declared, system);
  return resolve(step, resolutionFor(step));
}

describe("a derivation's bytes and its path, pinned: a change here rebuilds everything there is", () => {
  const zlib = script({ name: "zlib", version: "1.3", script: "true", outputs: ["out", "dev"], buildRoot: bare });
  const declared = script({
    name: "tool",
    version: "1.0",
    script: 'cp "$data" "$out/data"\n',
    inputs: [zlib],
    sources: { data: fetchurl({ urls: ["https://example.org/data"], sha256: SHA }) },
    env: { HEADERS: "$zlib_dev/include" },
    buildRoot: bare,
  });
  const derivation = derivationOf(declared);
  const drv = derivationPath(derivation);

  test("the text", () => {
    expect(`${derivationText(derivation)}\n`).toBe(golden(goldenFile("tool.drv"), `${derivationText(derivation)}\n`));
  });

  test("the paths", () => {
    expect(drv).toBe("/frx/store/596858e59af60696e59bdc83e6f41163ad8f06565fe2a117208c1b1489f183b4-tool-1.0.drv");
    expect(scratchPath(drv, "out", 0)).toBe(
      "/frx/store/71b0ecf26284604e90efa8438cc79c7279380c9b51ab4d242188b94d6321eab9-tool-1.0",
    );
    expect(scratchPath(drv, "out", 1)).not.toBe(scratchPath(drv, "out", 0));
    expect(scratchPath(drv, "dev", 0)).toEndWith("-tool-1.0-dev");
    expect(outputName(derivation, "dev")).toBe("tool-1.0-dev");
    expect(outputName({ name: "tool", version: "" }, "out")).toBe("tool");
    expect(derivationReferences(derivation)).toEqual([pathOf("data"), pathOf("zlib"), pathOf("zlib-dev")].toSorted());
  });

  test("the text may be handed over by who has it", () => {
    expect(derivationPath(derivation, derivationText(derivation))).toBe(drv);
  });
});

describe("every derivation", () => {
  test("is written as canonical JSON and reads back as itself", () => {
    fc.assert(
      fc.property(derivations, (derivation) => {
        const { builder, buildRoot, limits, fixedOutput: _, ...plain } = derivation;
        const text = derivationText(derivation);
        const same = { ...plain, builder: { ...builder }, buildRoot: { ...buildRoot }, limits: { ...limits } };
        expect(text).toBe(canonicalJson(same));
        expect(parseDerivation(text)).toEqual(derivation);
      }),
    );
  });

  test("has one text, whatever the order of its fields", () => {
    fc.assert(
      fc.property(derivations, (derivation) => {
        const turned = parseDerivation(derivationText(derivation));
        const env = Object.fromEntries(Object.entries(turned.builder.env).toReversed());
        const reversed = { ...turned, builder: { cwd: turned.builder.cwd, env, argv: turned.builder.argv } };
        expect(derivationText(reversed)).toBe(derivationText(derivation));
      }),
    );
  });
});

describe("a text that is no derivation is refused", () => {
  const good = derivationText(derivationOf(script({ name: "a", script: "true", buildRoot: bare })));
  const changed = (change: (value: Record<string, unknown>) => void): string => {
    const value: Record<string, unknown> = JSON.parse(good);
    change(value);
    return JSON.stringify(Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1))));
  };
  const cases: Readonly<Record<string, readonly [string, string]>> = {
    "cut short": [good.slice(0, -1), "it is not JSON"],
    "a newline at the end": [`${good}\n`, "canonical form"],
    "a field twice": [good.replace('{"buildRoot"', '{"name":"a","buildRoot"'), "canonical form"],
    "fields out of order": [good.replace(/^\{(.*),("version":"")\}$/, "{$2,$1}"), "canonical form"],
    "an unknown field": [changed((value) => (value["secret"] = 1)), "secret: expected no field of this name"],
    "a missing field": [changed((value) => delete value["limits"]), "limits: expected a value"],
    "another scheme": [changed((value) => (value["scheme"] = "garth-0")), `scheme: expected "garth-1"`],
    "an unknown system": [changed((value) => (value["system"] = "plan9")), "system: expected"],
    "an input that is no store path": [
      changed((value) => (value["inputs"] = ["/etc/passwd"])),
      "inputs[0]: expected a store path",
    ],
    "inputs out of order": [
      changed((value) => (value["inputs"] = [pathOf("a"), pathOf("b")].toSorted().toReversed())),
      "inputs: expected store paths in order",
    ],
    "a limit of text": [changed((value) => Object.assign(value["limits"] ?? {}, { processes: "1" })), "limits.processes"],
    "the network without a fixed output": [changed((value) => (value["network"] = true)), "network: only a fetch"],
    "a fixed output with half a hash": [
      changed((value) => (value["fixedOutput"] = { algorithm: "sha256", hash: "00", recursive: false })),
      "fixedOutput: expected the digits of sha256",
    ],
    "a list": ["[]", "document: expected an object"],
  };
  for (const [what, [text, message]] of Object.entries(cases)) {
    test(what, () => {
      expect(text).not.toBe(good);
      const problem = thrownProblem(() => parseDerivation(text, "/store/x.drv"));
      expect(problem.code).toBe("E_BAD_DERIVATION");
      expect(problem.message).toContain(message);
      expect(problem.where).toBe("/store/x.drv");
    });
  }
});

describe("a resolution that lacks a path is a bug in the caller", () => {
  const step = stepOf(
    make({ name: "a", source: localTree("/src"), inputs: [script({ name: "b", script: "true", buildRoot: bare })] }),
  );
  const whole = resolutionFor(step);
  test.each([
    ["input", { ...whole, inputs: {} }, "input b"],
    ["source", { ...whole, sources: {} }, "source src"],
    ["world", { ...whole, world: undefined }, "world of a"],
  ])("%s", (_, resolution, message) => {
    expect(() => resolve(step, resolution)).toThrow(message);
    expect(() => resolve(step, resolution)).not.toThrow(Problem);
  });
});

describe("the builders, on both systems", () => {
  const source = fetchurl({ urls: ["https://example.org/thing-1.0.tar.gz"], sha256: SHA });
  const zlib = make({ name: "zlib", version: "1.3", outputs: ["out", "dev"] });
  const declared: Readonly<Record<string, Declaration>> = {
    autotools: autotools({
      name: "thing",
      version: "1.0",
      source,
      inputs: [zlib],
      check: true,
      keepSource: true,
      outputs: ["out", "doc"],
      configureFlags: ["--with-zlib=$zlib", "--docdir=${doc}/share", "--note=it's $$5"],
      installFlags: ["STRIP=true"],
      env: { CPPFLAGS: "-DEXTRA", CFLAGS: "-O3", EXTRA: "$zlib/x", PATH: "/opt/bin" },
      patches: [localTree("/fix.patch"), localTree("/patches")],
      preConfigure: "autoreconf -fi",
      postInstall: 'rm -r "$out/share/locale"',
    }),
    make: make({
      name: "thing",
      version: "1.0",
      source,
      check: true,
      makeFlags: ["V=1"],
      buildTarget: "all",
      checkTarget: "test",
    }),
    cmake: cmake({
      name: "thing",
      version: "1.0",
      source,
      sourceRoot: "src/c",
      inputs: [zlib],
      check: true,
      cmakeFlags: ["-DX=$zlib"],
    }),
    cargo: cargo({
      name: "thing",
      version: "1.0",
      source,
      vendor: localTree("/vendor"),
      check: true,
      cargoFlags: ["--features", "a b"],
    }),
    script: script({ name: "thing", script: 'echo "$src" >"$out/x"\n', source }),
  };
  for (const [name, recipe] of Object.entries(declared)) {
    for (const system of ["x86_64-linux", "x86_64-freebsd"] as const) {
      test(`${name} on ${system}`, () => {
        const { builder } = derivationOf(recipe, system);
        const [shell, option, text, argv0] = builder.argv;
        expect([shell, option, argv0]).toEqual(["/bin/sh", "-c", "garth"]);
        const env = Object.entries(builder.env).map(([variable, value]) => `# ${variable}=${value}\n`);
        const rendered = `${env.join("")}${text}`.replaceAll(/\/frx\/store\/[0-9a-f]{64}/g, "/frx/store/HASH");
        expect(rendered).toBe(golden(goldenFile(`${name}.${system}.sh`), rendered));
      });
    }
  }

  test("a phase that is emptied is left out, one that is replaced is replaced, and hooks stay", () => {
    const { builder } = derivationOf(
      make({ name: "a", phases: { build: "", install: "  true", fixup: "" }, postBuild: "  echo built" }),
    );
    expect(builder.argv[2]).toEndWith(
      "do_build() {\n  echo built\n}\n\ndo_install() {\n  true\n}\n\nphase build\nphase install\n",
    );
  });
});

describe("fetches", () => {
  const fetches = {
    url: fetchurl({ urls: ["https://a.example/x-1.tar.gz", "https://b.example/x-1.tar.gz"], sha256: SHA }),
    git: fetchGit({ url: "https://a.example/x.git", commit: "a".repeat(40) }),
    "git with a sum": fetchGit({ url: "https://a.example/x.git", commit: "a".repeat(40), sha256: SHA }),
    debian: debianSource({ package: "hello", version: "2.10", file: "hello_2.10.orig.tar.gz", sha256: SHA }),
    npm: npmTarball({ package: "left-pad", version: "1.3.0", integrity: `sha512-${Buffer.alloc(64, 7).toString("base64")}` }),
  };

  test("as derivations", () => {
    const texts = Object.values(fetches).map((fetch) =>
      fetch.fetcher === "localTree" ? "" : derivationText(fixedOutputDerivation(fetch, "x86_64-linux")),
    );
    expect(`${texts.join("\n")}\n`).toBe(golden(goldenFile("fetches.drv"), `${texts.join("\n")}\n`));
    for (const text of texts) expect(derivationText(parseDerivation(text))).toBe(text);
  });

  test("their paths are known beforehand where SHA-256 is", () => {
    const paths = Object.values(fetches).map((fetch) =>
      fetch.fetcher === "localTree" ? undefined : fixedOutputPath(fixedOutputDerivation(fetch, "x86_64-linux")),
    );
    const [url, git, gitWithSum, debian, npm] = paths;
    expect(debian).toBe("/frx/store/e009cd818d0a3ac275b3877bbced3ece15be3441727bcf6ba540f2fe236fed82-hello_2.10.orig.tar.gz");
    expect(url).toEndWith("-x-1.tar.gz");
    expect(gitWithSum).toEndWith("-x-aaaaaaaaaaaa");
    expect([git, npm]).toEqual([undefined, undefined]);
  });

  test("a path depends on the sum and the name, not on the mirror", () => {
    const other = fetchurl({ urls: ["https://c.example/x-1.tar.gz"], sha256: SHA });
    if (other.fetcher !== "fetchurl" || fetches.url.fetcher !== "fetchurl") throw new Error("not a fetchurl");
    const path = fixedOutputPath(fixedOutputDerivation(other, "x86_64-freebsd"));
    expect(path).toBeDefined();
    expect(path).toBe(fixedOutputPath(fixedOutputDerivation(fetches.url, "x86_64-linux")));
  });

  test("a URL with a password is refused", () => {
    const fetch = fetchurl({ urls: ["https://me:hunter22@example.org/x.tar.gz"], sha256: SHA });
    if (fetch.fetcher === "localTree") throw new Error("not a fetch");
    const problem = thrownProblem(() => fixedOutputDerivation(fetch, "x86_64-linux"));
    expect(problem.message).toBe("x.tar.gz: builder.argv[1] holds what looks like a URL with a password");
  });
});

describe("secrets", () => {
  // Put together here, so that no file of the project holds one.
  const secrets: Readonly<Record<string, string>> = {
    "a private key in PEM": ["-----BEGIN RSA", "PRIVATE KEY-----"].join(" "),
    "an age identity": `AGE-SECRET-${"KEY-1"}${"Q".repeat(58)}`,
    "an OpenSSH private key": Buffer.from("openssh-key-v1\0\0\0\0").toString("base64"),
    "an AWS secret key": `aws_secret_access_key = ${"a1B2".repeat(10)}`,
    "a GitHub token": `ghp${"_"}${"a1".repeat(18)}`,
    "a GitLab token": `glpat${"-"}${"a1".repeat(10)}`,
    "a Slack token": `xoxb${"-"}${"1234567890-"}${"a".repeat(20)}`,
    "a URL with a password": ["https://user", "secret@host/"].join(":"),
  };
  for (const [what, secret] of Object.entries(secrets)) {
    test(`${what}: in the environment and in a script`, () => {
      expect(secretIn(`before ${secret} after`)).toBe(what);
      const inEnv = thrownProblem(() => derivationOf(script({ name: "leak", script: "true", env: { TOKEN: `x ${secret}` } })));
      expect(inEnv.code).toBe("E_SECRET_IN_DERIVATION");
      expect(inEnv.message).toBe(`leak: builder.env.TOKEN holds what looks like ${what}`);
      expect(inEnv.where).toMatch(/resolve\.test\.ts:\d+$/);
      expect(inEnv.message + inEnv.details.join("") + (inEnv.hint ?? "")).not.toContain(secret);
      const inScript = thrownProblem(() => derivationOf(script({ name: "leak", script: `cat <<E\n${secret}\nE\n` })));
      expect(inScript.message).toBe(`leak: builder.argv[2] holds what looks like ${what}`);
    });
  }

  test("the name of the variable counts", () => {
    const env = { AWS_SECRET_ACCESS_KEY: "a1B2".repeat(10) };
    expect(thrownProblem(() => derivationOf(script({ name: "leak", script: "true", env }))).code).toBe("E_SECRET_IN_DERIVATION");
  });

  test("what is public is not refused", () => {
    for (const text of [
      "-----BEGIN PUBLIC KEY-----",
      "-----BEGIN CERTIFICATE-----",
      "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA",
      "https://user@host/x:y",
      SHA,
      "git@github.com:a/b",
    ]) {
      expect(secretIn(text)).toBeUndefined();
    }
  });
});
