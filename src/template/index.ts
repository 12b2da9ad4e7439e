/** template: images that may be cloned, signed. */
export type * from "./types.ts";
