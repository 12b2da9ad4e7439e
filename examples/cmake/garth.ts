/**
 * A CMake project with a test suite: `check` runs ctest in the sandbox.
 *
 *     garth build examples/cmake#crc32
 */
import { cmake, localTree } from "garth";
import { buildRoot } from "../world.ts";

export const crc32 = cmake({
  name: "crc32",
  version: "1.0",
  source: localTree("./crc32"),
  check: true,
  metadata: { comment: "Prints CRC-32 and CRC-32C of files", licenses: ["BSD2CLAUSE"], categories: ["sysutils"] },
  ...buildRoot,
});
