/** garth repo: making, signing, checking and serving repositories. */
import { formatSize, parseDuration, Problem } from "../../base/index.ts";
import { listen } from "../../daemon/index.ts";
import type { Garth } from "../../app/index.ts";
import type { Lint, PublishReport, Trust } from "../../repository/index.ts";
import type { Context, Given, Handler } from "../command.ts";
import { usageProblem } from "../parse.ts";
import { absolute, textOf } from "../paths.ts";
import { table } from "../render/text.ts";

/** A REPO with a slash is a directory; a bare name is one under the state's `repos/`. */
function directoryOf(context: Context, garth: Garth, repo: string): string {
  return repo.includes("/") || repo === "." ? absolute(context, repo) : `${garth.places.repositories}/${repo}`;
}

async function keyFileOf(context: Context, garth: Garth, given: Given): Promise<string> {
  const key = given.text("key");
  return key === undefined ? (await garth.settings()).settings.repositoryKey : absolute(context, key);
}

/** `--trust-key FILE`, `--fingerprint HEX`, else the public half of the signing key of this machine. */
async function trustOf(context: Context, garth: Garth, given: Given): Promise<Trust> {
  const fingerprint = given.text("fingerprint");
  if (fingerprint !== undefined) {
    if (!/^[0-9a-f]{64}$/.test(fingerprint))
      throw usageProblem(`--fingerprint ${fingerprint}: expected 64 hexadecimal digits`, "`garth repo init` prints it");
    return { mode: "fingerprints", trusted: [fingerprint], revoked: [] };
  }
  const file = given.text("trust-key");
  if (file !== undefined) {
    const publicPem = textOf(context, garth.host, file);
    if (!/-----BEGIN [A-Z ]*PUBLIC KEY-----/.test(publicPem))
      throw usageProblem(
        `--trust-key ${file}: expected a public key in PEM`,
        "`garth repo init` writes one beside the signing key, as FILE.pub",
      );
    return { mode: "pubkey", publicPem };
  }
  const { loadKey } = await garth.repository();
  const { publicPem } = loadKey(garth.host, await keyFileOf(context, garth, given), []);
  return { mode: "pubkey", publicPem };
}

function lintLines(lint: readonly Lint[]): readonly string[] {
  return lint.map(({ severity, package: name, field, message }) => `${severity}: ${name}: ${field}: ${message}`);
}

function publishedText(report: PublishReport): string {
  const changes = [
    ...report.added.map((name) => `added      ${name}`),
    ...report.unchanged.map((name) => `unchanged  ${name}`),
    ...report.removed.map((name) => `removed    ${name}`),
  ];
  const state = report.changed ? "published" : "already published";
  return [
    ...changes,
    ...lintLines(report.warnings),
    `${state}: ${report.directory}, ${report.packageCount} packages for ${report.abi}, catalogue ${report.catalogueSha256}`,
  ].join("\n");
}

export const init: Handler = async (context, given) => {
  const garth = await context.garth();
  const { generateKey, initRepository, loadKey, fingerprintOf, publicKeyFile } = await garth.repository();
  const keyFile = await keyFileOf(context, garth, given);
  const isThere = garth.host.files.exists(keyFile);
  const { publicPem } = isThere ? loadKey(garth.host, keyFile, []) : await generateKey(garth.host, keyFile);
  const [repo] = given.arguments;
  const directory = repo === undefined ? undefined : directoryOf(context, garth, repo);
  if (directory !== undefined) await initRepository(garth.host, { directory, keyFile, nowMs: context.now() });
  const data = {
    directory,
    keyFile,
    publicKeyFile: publicKeyFile(keyFile),
    fingerprint: fingerprintOf(publicPem),
    made: !isThere,
  };
  const text = () =>
    table([
      ["signing key", `${keyFile}${isThere ? " (was there)" : ""}`],
      ["public key", data.publicKeyFile],
      ["fingerprint", data.fingerprint],
      ...(directory === undefined ? [] : [["repository", directory]]),
    ]);
  return { data, text };
};

export const publish: Handler = async (context, given) => {
  const garth = await context.garth();
  const [repo = "", ...packages] = given.arguments;
  const { publish: publishPackages } = await garth.repository();
  const report = await publishPackages(garth.host, {
    directory: directoryOf(context, garth, repo),
    add: packages.map((file) => absolute(context, file)),
    keyFile: await keyFileOf(context, garth, given),
    nowMs: context.now(),
    replace: given.flag("replace"),
  });
  return { data: report, text: () => publishedText(report) };
};

export const sign: Handler = async (context, given) => {
  const garth = await context.garth();
  const { signRepository } = await garth.repository();
  const previous = given.text("previous-key");
  const report = await signRepository(garth.host, {
    directory: directoryOf(context, garth, given.arguments[0] ?? ""),
    keyFile: await keyFileOf(context, garth, given),
    nowMs: context.now(),
    ...(previous === undefined ? {} : { previousPublicPem: textOf(context, garth.host, previous) }),
  });
  return { data: report, text: () => publishedText(report) };
};

export const prune: Handler = async (context, given) => {
  const garth = await context.garth();
  const { planPruning, prune: pruneRepository } = await garth.repository();
  const keep = given.text("keep") ?? "3";
  if (!/^[1-9]\d{0,5}$/.test(keep)) throw usageProblem(`--keep ${keep}: expected a whole number from 1`, "it counts versions");
  const grace = given.text("grace");
  const request = {
    directory: directoryOf(context, garth, given.arguments[0] ?? ""),
    keyFile: await keyFileOf(context, garth, given),
    nowMs: context.now(),
    keepVersions: Number(keep),
    ...(grace === undefined ? {} : { graceMs: parseDuration(grace) }),
  };
  if (given.flag("dry-run")) {
    const planned = await planPruning(garth.host, request);
    const names = planned.map(({ name, version }) => `${name}-${version}`);
    return { data: planned, text: () => (names.length === 0 ? "nothing to remove" : `would remove ${names.join(", ")}`) };
  }
  const report = await pruneRepository(garth.host, request);
  const text = () => `${publishedText(report)}\n${report.deleted.length} files deleted, ${formatSize(report.freedBytes)} freed`;
  return { data: report, text };
};

export const verify: Handler = async (context, given) => {
  const garth = await context.garth();
  const { readSeen, seenFile, sourceOf, verifyRepository, writeSeen } = await garth.repository();
  const [where = ""] = given.arguments;
  const location = /^https?:\/\//.test(where) ? where : directoryOf(context, garth, where);
  const age = given.text("max-age");
  const seen = seenFile(`${garth.places.repositories}/.seen`, location);
  const record = readSeen(garth.host, seen);
  const report = await verifyRepository(garth.host, sourceOf(garth.host, location), {
    trust: await trustOf(context, garth, given),
    nowMs: context.now(),
    ...(age === undefined ? {} : { maximumAgeMs: parseDuration(age) }),
    ...(record === undefined ? {} : { record }),
    allowRollback: given.flag("allow-rollback"),
  });
  writeSeen(garth.host, seen, location, report.record);
  const errors = report.lint.filter((lint) => lint.severity === "error").length;
  const text = () =>
    [
      ...lintLines(report.lint),
      ...report.bad.map(({ package: name, problem }) => `bad: ${name}: ${problem.message}`),
      `${report.packageCount} packages, catalogue ${report.catalogueSha256}, signature good`,
    ].join("\n");
  const bad = report.bad.map(({ package: name, problem }) => ({ package: name, code: problem.code, message: problem.message }));
  return { data: { ...report, bad }, text, exit: report.bad.length + errors > 0 ? 1 : 0 };
};

export const serve: Handler = async (context, given) => {
  const garth = await context.garth();
  const { repositoryHandler } = await garth.repository();
  const directory = directoryOf(context, garth, given.arguments[0] ?? "");
  if (!garth.host.files.exists(`${directory}/meta.conf`)) {
    throw new Problem({
      code: "E_NO_REPOSITORY",
      message: `${directory} is not a repository: it has no meta.conf`,
      hint: "garth repo publish makes one",
      exit: 2,
    });
  }
  const listener = listen({
    ...addressOf(given.text("listen") ?? "127.0.0.1:8080"),
    handle: repositoryHandler(garth.host, directory),
  });
  context.line(`serving ${directory} at ${listener.url}`);
  await new Promise<void>((resolve) => {
    if (context.signal.aborted) resolve();
    else context.signal.addEventListener("abort", () => resolve(), { once: true });
  });
  await listener.close();
  throw new Problem({ code: "E_INTERRUPTED", message: "stopped serving", exit: 130 });
};

/** "127.0.0.1:8080", "[::1]:8080", ":8080". @throws Problem E_USAGE */
function addressOf(text: string): { readonly address: string; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535)
    throw usageProblem(`--listen ${text}: expected ADDRESS:PORT`, "127.0.0.1:8080, [::1]:8080, 0.0.0.0:8080");
  return { address: match[1] ?? (match[2] === "" ? "127.0.0.1" : (match[2] ?? "")), port };
}

export const clientConf: Handler = async (context, given) => {
  const garth = await context.garth();
  const { clientConfiguration, fingerprintFile, fingerprintOf, loadKey } = await garth.repository();
  const [name = "", url = ""] = given.arguments;
  const priority = Number(given.text("priority") ?? "0");
  const publicKey = given.text("public-key");
  if (publicKey !== undefined) {
    const conf = clientConfiguration({ name, url, priority, trust: { mode: "pubkey", publicKeyPath: publicKey } });
    return { data: { conf }, text: () => conf };
  }
  const directory = given.text("fingerprints") ?? `/usr/local/etc/pkg/fingerprints/${name}`;
  const conf = clientConfiguration({ name, url, priority, trust: { mode: "fingerprints", directory } });
  const fingerprint = fingerprintFile(fingerprintOf(loadKey(garth.host, await keyFileOf(context, garth, given), []).publicPem));
  const trusted = `${directory}/trusted/${name}`;
  return {
    data: { conf, fingerprintPath: trusted, fingerprint },
    text: () => `${conf}\n# and as ${trusted}:\n${fingerprint.replaceAll(/^(?=.)/gm, "# ")}`,
  };
};

export const nginxConf: Handler = async (context, given) => {
  const garth = await context.garth();
  const { nginxConfiguration } = await garth.repository();
  const [repo = "", serverName = ""] = given.arguments;
  const [certificate, key] = [given.text("certificate"), given.text("certificate-key")];
  if ((certificate === undefined) !== (key === undefined))
    throw usageProblem("--certificate and --certificate-key go together", "give both, or neither");
  const conf = nginxConfiguration({
    serverName,
    root: directoryOf(context, garth, repo),
    ...(certificate === undefined || key === undefined ? {} : { tls: { certificate, key } }),
  });
  return { data: { conf }, text: () => conf };
};
