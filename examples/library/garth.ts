/**
 * A library and a program that uses it: two recipes, and a reference from one output to the other.
 *
 *     garth build examples/library#reflow
 *
 * `libwrap` is an input of `reflow`. So it is built first, the compiler and the linker of reflow are pointed at it, and the program that
 * comes out refers to that very libwrap, by its path in the store. When libwrap is changed and comes out the same (a comment,
 * another comment), reflow is not built again.
 */
import { localTree, make } from "garth";
import { buildRoot } from "../world.ts";

export const libwrap = make({
  name: "libwrap",
  version: "1.0",
  source: localTree("./libwrap"),
  // `make check` in the sandbox.
  check: true,
  metadata: { comment: "Fills UTF-8 text into lines", licenses: ["BSD2CLAUSE"], categories: ["textproc"] },
  ...buildRoot,
});

export const reflow = make({
  name: "reflow",
  version: "1.0",
  source: localTree("./reflow"),
  inputs: [libwrap],
  check: true,
  probe: { argv: ["bin/reflow", "-w", "12", "--", "one two three four"], expect: "one two\nthree four" },
  metadata: { comment: "Wraps words to a width", licenses: ["BSD2CLAUSE"], categories: ["textproc"] },
  ...buildRoot,
});
