import type { FilesRoom } from "./files.ts";
import type { Runner } from "./process.ts";
import type { Guest } from "./types.ts";
export const watchIn = async (
  runner: Runner,
  _files: FilesRoom,
  ..._rest: Parameters<Guest["watch"]>
): ReturnType<Guest["watch"]> => {
  throw new Error(`not yet in ${runner.address.name}`);
};
