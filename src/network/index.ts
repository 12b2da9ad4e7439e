/** network: networks of pools. */
export type * from "./types.ts";
