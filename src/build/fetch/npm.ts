/**
 * npmTarball: a package as published. npm says where the tarball is (it knows the registry, its proxies and its settings); the
 * bytes are fetched like any other file and checked against the integrity in the recipe.
 *
 * Limits: registries that want a token for the tarball itself.
 */
import { Problem } from "../../base/index.ts";
import { distfilePath, rememberedPath, rememberPath } from "./distfiles.ts";
import { fetchKey } from "./plan.ts";
import { type MirrorFailure, nobodyHasIt, requireTool } from "./problems.ts";
import { withScratch } from "./scratch.ts";
import { networkEnvironment, runTool, tail } from "./tool.ts";
import type { FetchContext, Fetched, FetchOf } from "./types.ts";
import { finish, fromMirror, lookInDistfiles, type Promised } from "./url.ts";

export async function npmTarball(context: FetchContext, fetch: FetchOf<"npmTarball">): Promise<Fetched> {
  const promised = parseIntegrity(fetch);
  const key = fetchKey(fetch);
  const known = rememberedPath(context, key);
  if (known !== undefined && context.store.isValid(known)) return { path: known, from: "store" };
  const failures: MirrorFailure[] = [];
  const fail = (failure: MirrorFailure) => {
    failures.push(failure);
    context.emit({ kind: "fetch-failed", from: failure.from, reason: failure.reason });
  };
  const there = findByIntegrity(context, fetch, promised, fail);
  const url = there === undefined ? await tarballUrl(context, fetch, fail) : undefined;
  if (url !== undefined) context.emit({ kind: "fetch-started", what: fetch.name, from: url });
  const file = there ?? (url === undefined ? undefined : await fromMirror(context, url, promised, fail));
  if (file === undefined) throw nobodyHasIt(`${fetch.package} ${fetch.version} from npm`, failures);
  if (promised.algorithm === "sha512" && url !== undefined) rememberDigest(context, promised, file);
  const fetched = await finish(context, { file, name: fetch.name, sha256: undefined, from: url ?? "distfiles" });
  rememberPath(context, key, fetched.path);
  return fetched;
}

function parseIntegrity(fetch: FetchOf<"npmTarball">): Promised {
  const match = /^(?<algorithm>sha256|sha512)-(?<base64>[A-Za-z0-9+/]+={0,2})$/.exec(fetch.integrity);
  const { algorithm, base64 } = match?.groups ?? {};
  if ((algorithm === "sha256" || algorithm === "sha512") && base64 !== undefined) {
    return { algorithm, digest: Buffer.from(base64, "base64").toString("hex") };
  }
  throw new Problem({
    code: "E_BAD_INTEGRITY",
    message: `fetching ${fetch.name}: ${JSON.stringify(fetch.integrity)} is not an integrity of SHA-512 or SHA-256`,
    hint: `\`npm view ${fetch.package}@${fetch.version} dist.integrity\` prints it`,
    exit: 2,
  });
}

/** Distfiles lie under their SHA-256; a link named after the SHA-512 says which one it is. */
function linkOf(context: FetchContext, promised: Promised): string {
  return `${context.distfiles}/sha512-${promised.digest}`;
}

function rememberDigest(context: FetchContext, promised: Promised, file: string): void {
  const link = linkOf(context, promised);
  if (context.host.files.lstatIfAny(link) !== undefined) context.host.files.unlink(link);
  context.host.files.symlink(file.slice(file.lastIndexOf("/") + 1), link);
}

function findByIntegrity(
  context: FetchContext,
  fetch: FetchOf<"npmTarball">,
  promised: Promised,
  fail: (failure: MirrorFailure) => void,
): string | undefined {
  if (promised.algorithm === "sha256") return lookInDistfiles(context, promised.digest, [fetch.name], fail);
  const link = linkOf(context, promised);
  if (context.host.files.lstatIfAny(link)?.type !== "symlink") return undefined;
  const sha256 = Buffer.from(context.host.files.readLink(link)).toString("utf8");
  // What lies under its SHA-256 and still has it is what had this SHA-512 when the link was made.
  return /^[0-9a-f]{64}$/.test(sha256) && context.host.files.exists(distfilePath(context, sha256))
    ? lookInDistfiles(context, sha256, [fetch.name], fail)
    : undefined;
}

async function tarballUrl(
  context: FetchContext,
  fetch: FetchOf<"npmTarball">,
  fail: (failure: MirrorFailure) => void,
): Promise<string | undefined> {
  const { host, signal } = context;
  requireTool(host, "npm", { doing: `fetching ${fetch.name}`, packageName: "npm" });
  const spec = `${fetch.package}@${fetch.version}`;
  context.emit({ kind: "fetch-started", what: fetch.name, from: `npm view ${spec}` });
  const result = await withScratch(context, (scratch) =>
    runTool(host, {
      argv: ["npm", "view", "--json", spec, "dist.tarball"],
      doing: `asking npm for ${spec}`,
      env: networkEnvironment(context.environment),
      // Not where a project's own .npmrc or package.json would be read.
      cwd: scratch,
      signal,
      okStatuses: [0, 1],
    }),
  );
  const url: unknown = parseJson(result.stdout);
  if (result.status === 0 && typeof url === "string") return url;
  const words = tail(result.stderr).filter((line) => !line.startsWith("npm warn") && !line.includes("A complete log"));
  fail({ from: `npm view ${spec}`, reason: words.join("; ") || "it gave no URL" });
  return undefined;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
