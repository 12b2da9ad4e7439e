/** `--on` and `--system`: which machine builds, and for what. */
import type { Garth } from "../app/index.ts";
import { closest, type System, SYSTEMS } from "../base/index.ts";
import type { Given } from "./command.ts";
import { usageProblem } from "./parse.ts";

export interface Where {
  readonly system: System;
  /** That host, or `here`, and no other. */
  readonly on?: string;
}

/** @throws Problem E_USAGE, E_UNKNOWN_HOST */
export async function whereOf(garth: Garth, given: Given): Promise<Where> {
  const [on, wanted] = [given.text("on"), given.text("system")];
  const system = wanted === undefined ? undefined : systemNamed(wanted);
  if (on === undefined) return { system: system ?? garth.system };
  const its = on === "here" ? garth.system : (await garth.hosts()).get(on).facts.system;
  if (system === undefined || system === its) return { system: its, on };
  throw usageProblem(`--on ${on} --system ${system}: ${on === "here" ? "this machine" : on} is ${its}`, "leave out one of them");
}

function systemNamed(text: string): System {
  const known = SYSTEMS.find((system) => system === text);
  if (known !== undefined) return known;
  const near = closest(text, SYSTEMS);
  throw usageProblem(
    `--system ${text}: there is no such system`,
    near === undefined ? `there is: ${SYSTEMS.join(", ")}` : `did you mean ${near}?`,
  );
}
