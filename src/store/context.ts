/** What the store's functions work with: handed in once, by `openStore`. */
import { baseName, isStorePath, Problem, STORE_DIRECTORY, type StorePath } from "../base/index.ts";
import type { Files, Host } from "../host/index.ts";
import type { Ledger } from "../ledger/index.ts";
import type { CommitStep } from "./plan.ts";

export interface StoreContext {
  readonly host: Host;
  readonly files: Files;
  readonly ledger: Ledger;
  /** Physical directory of the items. */
  readonly directory: string;
  /** `.links` in it: one name per content that `optimise` has seen. */
  readonly linksDirectory: string;
  readonly stateDirectory: string;
  readonly rootsDirectory: string;
  /** Parent of the scratch directories of all processes. */
  readonly scratchParent: string;
  /** This process's own; made when it is first asked for. */
  scratch(): string;
  /** A fresh name in `scratch()`. */
  fresh(label: string): string;
  now(): number;
  /** Called before and after each step of a commit; a test ends the process here. */
  readonly onStep: (step: CommitStep, when: "before" | "after") => void;
}

export function physicalOf(context: StoreContext, path: StorePath): string {
  return `${context.directory}/${baseName(path)}`;
}

/** The store path of a physical or logical path at or below an item, if it is one. */
export function itemOf(context: StoreContext, text: string): StorePath | undefined {
  for (const prefix of [`${context.directory}/`, `${STORE_DIRECTORY}/`]) {
    if (!text.startsWith(prefix)) continue;
    const path = `${STORE_DIRECTORY}/${text.slice(prefix.length).split("/", 1)[0] ?? ""}`;
    if (isStorePath(path)) return path;
  }
  return undefined;
}

export function notValid(path: StorePath): Problem {
  return new Problem({
    code: "E_NOT_IN_STORE",
    message: `${path} is not in the store`,
    hint: "`garth store ls` lists what is; build or add it first",
  });
}
