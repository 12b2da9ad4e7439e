/** pool: warm machines. */
export type * from "./types.ts";
