/** Supervisors as processes of their own, for tests. */
import { expect } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { MachinePlace } from "./testing.ts";

interface Supervised {
  /** Of QEMU. */
  readonly pid: number;
  readonly child: Bun.Subprocess;
  /** What else it printed, once it has ended. */
  rest(): Promise<string>;
}

export interface Supervisors {
  /** Settles when the guest runs. */
  supervise(code: readonly number[], naming: "named" | "nameless", guard?: "with" | "without"): Promise<Supervised>;
  /** Kills them, and what they would have ended. */
  endAll(): Promise<void>;
}

export function supervisorsIn(place: MachinePlace): Supervisors {
  const children: Bun.Subprocess[] = [];
  return {
    supervise: async (code, naming, guard = "with") => {
      const program = join(import.meta.dir, "supervisor.child.ts");
      const directory = join(place.directory, "machines");
      const argv = [process.execPath, program, directory, place.disk("guest.img", code), naming, guard];
      const child = Bun.spawn(argv, { stdout: "pipe" });
      children.push(child);
      const first = Promise.withResolvers<void>();
      let text = "";
      const all = (async () => {
        for await (const chunk of child.stdout) {
          text += new TextDecoder().decode(chunk);
          if (text.includes("\n")) first.resolve();
        }
        first.resolve();
      })();
      await first.promise;
      const pid = Number.parseInt(text, 10);
      expect(pid).toBeGreaterThan(0);
      const rest = async (): Promise<string> => {
        await all;
        return text.slice(text.indexOf("\n") + 1);
      };
      return { pid, child, rest };
    },
    endAll: async () => {
      for (const child of children) {
        child.kill("SIGKILL");
        await child.exited;
      }
      await place.machines.sweep();
    },
  };
}

/** Asks again until the answer is yes; the kernel gives no event for what somebody else's process does. */
export async function until(ask: () => boolean): Promise<boolean> {
  for (let round = 0; round < 500 && !ask(); round += 1) await Bun.sleep(10);
  return ask();
}

/** A killed process is there, as a zombie, until its parent has looked. */
export function runs(pid: number): boolean {
  if (!existsSync(`/proc/${pid}/stat`)) return false;
  return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
}
