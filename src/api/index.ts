/**
 * api: the contract between the work and whoever shows it. One reducer turns events into the tree that a terminal draws.
 *
 * The states of a step are drawn in tree.ts. Limits: a step keeps the last line of its output, not the log.
 */
export {
  EMPTY_TREE,
  isActive,
  reduce,
  remainingMs,
  type StepState,
  type TimedEvent,
  type Totals,
  totals,
  type Tree,
  type TreeStep,
} from "./tree.ts";
