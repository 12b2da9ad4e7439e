/** A host looked at: the script run there, its clock asked, the findings judged. */
import type { ScriptEvent } from "../host/index.ts";
import { type Looked, judge } from "./check.ts";
import { checkScript } from "./check-script.ts";
import type { Whom } from "./errors.ts";
import type { Connection, HostReport } from "./types.ts";

/** Its clock says whole seconds. */
const TICK_SECONDS = 1;

/** @throws Problem those of Connection; E_UNKNOWN_SYSTEM, E_HOST_ANSWER */
export async function lookAt(connection: Connection, whom: Whom, root: string, now: () => number): Promise<HostReport> {
  let askedAtMs = 0;
  let ahead: Looked["ahead"];
  const onEvent = ({ name, rest }: ScriptEvent): void => {
    if (name === "ask") {
      askedAtMs = now();
      running.send("now");
    }
    // It was read between our question and its answer's coming, and was up to a second more than it said.
    if (name === "clock" && /^[0-9]+$/.test(rest))
      ahead = { minSeconds: Number(rest) - now() / 1000, maxSeconds: Number(rest) + TICK_SECONDS - askedAtMs / 1000 };
  };
  const running = connection.start({ doing: `looking at the host ${whom.name}`, body: checkScript(root) }, { onEvent });
  const { events } = await running.ended;
  return judge({ whom, root, events, ahead });
}
