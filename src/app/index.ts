/** app: the composition root. Configuration in, wired rooms out; it holds no logic. */
export { openGarth } from "./open.ts";
export type { Places } from "./places.ts";
export type { Garth, OpenOptions } from "./types.ts";
