/** What goes wrong with machines, in one place and one style. */
import { formatSize, Problem } from "../base/index.ts";
import type { ScriptEnd } from "../remote/index.ts";

export function notOurs(machine: string, what: string, why: string): Problem {
  return new Problem({
    code: "E_NOT_A_SYSTEM_MACHINE",
    message: `${machine} (${what}) does not run a system that can be switched: ${why}`,
    hint: "a machine gets its first system from `garth system image`, `garth system install` or the installer; what Garth did not make is not touched",
    exit: 2,
  });
}

export function notRoot(machine: string, uid: string): Problem {
  return new Problem({
    code: "E_NOT_ROOT",
    message: `${machine} lets us in as uid ${uid}, who cannot change its system`,
    hint: "log in as root: ssh://root@HOST",
    exit: 3,
  });
}

export function badStatus(machine: string, what: string): Problem {
  return new Problem({
    code: "E_MACHINE_ANSWER",
    message: `${machine} said what cannot be: ${what}`,
    hint: "`/run/current-system/generations status` there prints what was read",
  });
}

export function otherKind(machine: string, is: string, system: string, offered: string): Problem {
  return new Problem({
    code: "E_OTHER_SYSTEM",
    message: `${machine} is ${is}, and ${system} is for ${offered}`,
    hint: "a machine goes from a system of its own kind to another one; a new one is installed",
    exit: 2,
  });
}

export function pending(machine: string, next: number, onTrial: boolean, current: number | undefined): Problem {
  const state = onTrial ? "runs on trial, and has not been confirmed" : "waits for its trial at the next start";
  return new Problem({
    code: "E_SWITCH_PENDING",
    message: `${machine}: generation ${next} ${state}; one switch is settled before another begins`,
    hint: `${onTrial ? "wait until it is ready" : "start the machine anew"}, or give it up: garth system rollback ${machine}${current === undefined ? "" : ` ${current}`}`,
  });
}

export function full(machine: string, where: string, neededBytes: number, freeBytes: number): Problem {
  const boot = where === "boot";
  return new Problem({
    code: "E_MACHINE_FULL",
    message: `${boot ? "what the loader reads" : "the root"} of ${machine} is too small: ${formatSize(neededBytes)} are needed, ${formatSize(freeBytes)} are free`,
    where: boot ? "/boot" : "/",
    hint: `nothing was changed; older generations make room: garth system generations ${machine} --remove N`,
    exit: 3,
  });
}

export function brokenGeneration(machine: string, number: number): Problem {
  return new Problem({
    code: "E_GENERATION_BROKEN",
    message: `generation ${number} of ${machine} cannot be started: an item of it is not in the store there any more`,
    hint: `choose another one (garth system generations ${machine}), or switch to its system again, which sends what is missing`,
  });
}

export function noRollback(machine: string): Problem {
  return new Problem({
    code: "E_NO_ROLLBACK",
    message: `${machine} has had no other generation: there is nothing to go back to`,
    hint: `garth system generations ${machine} says what there is; garth system rollback ${machine} N chooses one`,
  });
}

export function inUse(machine: string, number: string, why: string): Problem {
  const words: Readonly<Record<string, string>> = {
    current: "the machine starts it",
    running: "the machine runs it",
    next: "it waits for its trial",
  };
  return new Problem({
    code: "E_GENERATION_IN_USE",
    message: `generation ${number} of ${machine} stays: ${words[why] ?? why}`,
    hint: "name others; nothing was removed",
    exit: 2,
  });
}

/** The program ended with another status than 0: why, by its own words. */
export function programFailed(machine: string, doing: string, end: ScriptEnd): Problem {
  for (const { name, fields, rest } of end.events) {
    const [first = "", second = "", third = ""] = fields;
    switch (name) {
      case "full":
        return full(machine, first, Number(second), Number(third));
      case "missing":
        return new Problem({
          code: "E_ITEM_MISSING",
          message: `${doing}: ${rest} is not in the store of ${machine}`,
          hint: "it was removed there meanwhile; do it again, which sends what is missing",
        });
      case "unknown":
        return new Problem({
          code: "E_NO_SUCH_GENERATION",
          message: `${doing}: ${machine} has no generation ${rest}`,
          hint: `garth system generations ${machine}`,
          exit: 2,
        });
      case "in-use":
        return inUse(machine, first, second);
      case "busy":
        return new Problem({
          code: "E_MACHINE_BUSY",
          message: `${doing}: somebody else changes the generations of ${machine} right now`,
          hint: "wait for it, and try again",
        });
      case "broken":
        return new Problem({
          code: "E_MACHINE_BROKEN",
          message: `${doing}: ${machine} says: ${rest}`,
          details: end.words,
          hint: "what it began is undone; the machine starts what it started before",
        });
    }
  }
  return new Problem({
    code: "E_GENERATIONS",
    message: `${doing}: the program that keeps the generations of ${machine} ended with status ${end.status}`,
    details: end.words,
    hint: "what it began is undone; the machine starts what it started before",
  });
}
