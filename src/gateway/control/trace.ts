/** What is written down about a request while it is answered: for the audit log and the figures. */
import type { Caller } from "./types.ts";

export interface Trace {
  /** Of a fixed set. */
  route: string;
  caller: Caller | undefined;
  /** Whose sandbox it was about, where no key was needed. */
  tenant: string | undefined;
  sandbox: string | undefined;
  /** Whether it changes something. */
  changes: boolean;
  /** It goes to a server inside the sandbox, which answers for itself. */
  foreign: boolean;
  message: string | undefined;
}

export function openTrace(method: string): Trace {
  return {
    route: "unmatched",
    caller: undefined,
    tenant: undefined,
    sandbox: undefined,
    changes: method !== "GET" && method !== "HEAD" && method !== "OPTIONS",
    foreign: false,
    message: undefined,
  };
}
