/**
 * config: the few settings an operator may want for all commands, from one TOML file and the environment.
 *
 * `garth config show` prints the effective ones and where each came from. An unknown key is an error: a misspelt setting that is
 * silently ignored costs somebody a day.
 */
import { Problem } from "../base/index.ts";
import type { Host } from "../host/index.ts";
import { type Effective, effectiveSettings, type OwnDefaults } from "./settings.ts";

export type { Effective, Settings } from "./settings.ts";

/** @throws Problem E_CONFIG_INVALID with file and line */
export async function loadSettings(
  host: Host,
  file: string,
  defaults: OwnDefaults,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Effective> {
  if (!host.files.exists(file)) return effectiveSettings({ defaults, file: undefined, fileName: file, env });
  // Loaded only where there is a file to read: most runs have none, and each costs its start-up.
  const { parse, TomlError } = await import("smol-toml");
  try {
    return effectiveSettings({ defaults, file: parse(host.files.readText(file)), fileName: file, env });
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw new Problem({
      code: "E_CONFIG_INVALID",
      message: "reading the configuration: it is not TOML",
      details: [error.message],
      where: `${file}:${error.line}:${error.column}`,
      exit: 2,
    });
  }
}
