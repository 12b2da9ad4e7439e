/** Where a guest has its bash. */
import { Problem } from "../../base/index.ts";
import type { Part, SessionState } from "./state.ts";

const BASH = "/bin/bash";
const SHELL = Symbol("shell");
const TIMEOUT_MS = 15_000;
/** Where it is on Linux, or what the package of FreeBSD puts: a sandbox has one or the other. */
const FIND = `for bash in ${BASH} /usr/local/bin/bash /usr/bin/bash; do if [ -x "$bash" ]; then echo "$bash"; exit; fi; done; command -v bash; exit 0`;

interface Found extends Part {
  readonly path: Promise<string>;
}

/** `program`, except for /bin/bash in a guest that has it elsewhere. Asked once for each sandbox. */
export async function shellOf(state: SessionState, program: string): Promise<string> {
  if (program !== BASH) return program;
  const found = state.part<Found>(SHELL, () => {
    const find = async () => {
      const { stdout } = await state.session.guest.run({ argv: ["/bin/sh", "-c", FIND], timeoutMs: TIMEOUT_MS });
      return Buffer.from(stdout).toString().trim() || BASH;
    };
    return { path: find(), close: () => {} };
  });
  return await found.path.catch((error: unknown) => {
    if (error instanceof Problem && error.code === "E_TIMEOUT") return BASH;
    throw error;
  });
}
