/** app: the composition root. Configuration in, wired rooms out; it holds no logic. */
export { openGarth } from "./open.ts";
export { type PlaceRequest, type Places, placesFor } from "./places.ts";
export type { Garth, OpenOptions } from "./types.ts";
