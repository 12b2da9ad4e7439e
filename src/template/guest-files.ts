/** What is put into an image that Garth did not make, so that its clones learn who they are. The texts are those of Garth's systems. */
import { CLOUD_CONFIG, CLOUD_CONFIG_PATH, SEED_SCRIPT, SEED_UNIT, seedUnit } from "../system/index.ts";

export interface GuestFile {
  /** Absolute. */
  readonly path: string;
  readonly content: { readonly text: string; readonly mode: number } | { readonly link: string };
}

/** Not below /etc, where a machine's own files are, nor where its packages come. */
const SCRIPT = "/usr/local/sbin/garth-seed";
const UNITS = "/etc/systemd/system";

/** For an image with cloud-init. */
export const CLOUD_FILES: readonly GuestFile[] = [{ path: CLOUD_CONFIG_PATH, content: { text: CLOUD_CONFIG, mode: 0o644 } }];

/** For an image whose process 1 is systemd; the link is what `systemctl enable` would make. */
export const SEED_FILES: readonly GuestFile[] = [
  { path: SCRIPT, content: { text: SEED_SCRIPT, mode: 0o755 } },
  { path: `${UNITS}/${SEED_UNIT}`, content: { text: seedUnit(SCRIPT), mode: 0o644 } },
  { path: `${UNITS}/multi-user.target.wants/${SEED_UNIT}`, content: { link: `../${SEED_UNIT}` } },
];
