/** A Nix store of a benchmark's own: its places, made empty, and the environment in which Nix uses them as root, without a daemon. */
import { mkdirSync } from "node:fs";

export interface NixStore {
  readonly root: string;
  readonly env: Readonly<Record<string, string>>;
}

export function nixStore(directory: string): NixStore {
  const root = `${directory}/nix`;
  for (const name of ["store", "var", "log", "etc", "localstate"]) mkdirSync(`${root}/${name}`, { recursive: true });
  const env = {
    PATH: "/usr/bin:/bin",
    HOME: directory,
    NIX_REMOTE: "local",
    NIX_STORE_DIR: `${root}/store`,
    NIX_STATE_DIR: `${root}/var`,
    NIX_LOG_DIR: `${root}/log`,
    NIX_CONF_DIR: `${root}/etc`,
    NIX_LOCALSTATE_DIR: `${root}/localstate`,
  };
  return { root, env };
}
