/** Which packages, in which versions, does a world come to today? Asked of a private apt that has nothing installed. */
import { Problem } from "../../base/index.ts";
import type { WorldSource } from "../../recipe/index.ts";
import { debianArchitecture, type LockedPackage, worldLock, type WorldLock } from "../../world/index.ts";
import { type Apt, aptWords, openApt } from "../fetch/apt.ts";
import type { WorldContext } from "./types.ts";

/** All of Debian calls itself essential together with apt; a build root has no use for apt. */
const ESSENTIAL = "?and(?essential,?not(?exact-name(apt)))";

export function openWorldApt(context: WorldContext, world: Pick<WorldSource, "suite">): Promise<Apt> {
  const architecture = debianArchitecture(context.system);
  return openApt(
    { ...context, distfiles: context.distfiles },
    { name: `${world.suite}-${architecture}`, types: ["deb"], suite: world.suite, architecture },
  );
}

/** @throws Problem E_APT_UPDATE, E_WORLD_UNSOLVABLE with apt's words */
export async function resolveWorld(context: WorldContext, world: WorldSource): Promise<WorldLock> {
  const apt = await openWorldApt(context, world);
  await apt.update();
  const result = await apt.run(
    ["apt-get", "install", "--print-uris", ESSENTIAL, ...world.packages],
    `choosing the packages of the world ${world.name}`,
  );
  if (result.status !== 0) {
    throw new Problem({
      code: "E_WORLD_UNSOLVABLE",
      message: `${world.suite} has no set of packages that gives the world ${world.name}`,
      details: [...aptWords(result.stderr), ...result.stdout.split("\n").filter((line) => /^ \S+ : /.test(line))],
      hint: "check the names in the world's list of packages against the suite",
      exit: 2,
    });
  }
  const architecture = debianArchitecture(context.system);
  const packages = parsePrintUris(result.stdout);
  return worldLock({ suite: world.suite, architecture, requested: world.packages, packages });
}

/**
 * Lines of `apt-get --print-uris` with `Acquire::ForceHash=SHA256`:
 * `'URI' name_version_architecture.deb size SHA256:digest`, with `:` of the version's epoch as `%3a`.
 */
export function parsePrintUris(text: string): readonly LockedPackage[] {
  return text.split("\n").flatMap((line) => {
    const match =
      /^'[^']*' (?<name>[^_ ]+)_(?<version>[^_ ]+)_(?<architecture>[^_. ]+)\.deb (?<size>\d+) SHA256:(?<sha256>[0-9a-f]{64})$/.exec(
        line,
      );
    const { name, version, architecture, size, sha256 } = match?.groups ?? {};
    if (name === undefined || version === undefined || architecture === undefined || sha256 === undefined) return [];
    return [{ name, version: decodeURIComponent(version), architecture, sizeBytes: Number(size), sha256 }];
  });
}
