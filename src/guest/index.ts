/** guest: a guest reached over SSH. */
export type * from "./types.ts";
