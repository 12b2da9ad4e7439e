/** Rust: offline, by the lock file, in a home of its own below /build; crates come from `vendor` or there are none. */
import type { CargoFields } from "./options.ts";
import type { Bodies } from "./phases.ts";
import { words } from "./sh.ts";

export const cargoPrologue = `CARGO_HOME=$_top/cargo CARGO_TARGET_DIR=$_top/target
export CARGO_HOME CARGO_TARGET_DIR
RUSTFLAGS="\${RUSTFLAGS:-} --remap-path-prefix=$_top=."
export RUSTFLAGS
`;

export function cargoBodies(options: CargoFields): Bodies {
  const flags = `--offline --locked --jobs "$_cores"${words(options.cargoFlags ?? [])}`;
  const vendor = `
  cat >"$CARGO_HOME/config.toml" <<END
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "$vendor"
END`;
  return {
    configure: `  mkdir -p "$CARGO_HOME"${options.vendor === undefined ? "" : vendor}`,
    build: `  cargo build --release ${flags}`,
    check: `  cargo test --release ${flags}`,
    install: `  cargo install --path . --root "$out" --no-track ${flags}`,
  };
}
