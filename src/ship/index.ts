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
export { SHIP_MIGRATION } from "./records.ts";
export { openShip, type ShipContext } from "./run.ts";
export type * from "./types.ts";
