/** What the line cannot do on this machine. */
import { Problem } from "../base/index.ts";
import type { Family } from "../system/index.ts";

export function foreign(name: string, family: Family): Problem {
  return new Problem({
    code: "E_SYSTEM_FOREIGN",
    message: `the system ${name} is of the family ${family}, which is not made on this machine`,
    hint: "ship it on a Linux machine",
    exit: 3,
  });
}
