/**
 * ship: the whole line of a project file, stage by stage.
 *
 *     recipe ──► build ──► package ──► repository
 *       │          │          │            │
 *       ▼          ▼          ▼            ▼
 *     receipt    receipt    receipt      receipt
 *
 * Every stage takes store paths and digests from the one before it. A stage is `unchanged` when it was done for the same input and
 * what it made is still there, and `done` otherwise; so a line that stopped goes on where it stopped, and a second run does no
 * work. What was shipped last is held against gc by roots named after the project.
 *
 * Limits: one system a run, that of the host. A repository is published whole or not at all; a package leaves it by the number of
 * versions its declaration keeps.
 */
import type { Emit } from "../base/index.ts";
import type { BuildEvent } from "../build/index.ts";
import type { ShipContext } from "./run.ts";
import type { Ship } from "./types.ts";

export { SHIP_MIGRATION } from "./records.ts";
export type { ShipContext } from "./run.ts";
export type * from "./types.ts";

/** The stages and the rooms they need are loaded when a line is run: `garth build` starts without them. */
export function openShip(context: ShipContext, emit: Emit<BuildEvent>): Ship {
  return {
    run: async (request) => (await import("./run.ts")).ship(context, request, emit),
    outputOf: async (request) => (await import("./output.ts")).outputOf(context, request, emit),
  };
}
