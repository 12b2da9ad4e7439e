/** template: images that may be cloned, signed. */
export {
  CLOUD_CONFIG,
  GUEST_FILES,
  GUEST_LINKS,
  type GuestFile,
  SEED_SCRIPT,
  SEED_SCRIPT_PATH,
  seedUnit,
} from "./guest-files.ts";
export type * from "./types.ts";
