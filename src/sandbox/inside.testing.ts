/** A sandbox and a place for tests that look at it from inside. */
import { expect } from "bun:test";
import { localHost } from "../host/index.ts";
import { openSandbox, type SandboxPlan, type SandboxResult } from "./index.ts";
import { makePlace } from "./testing.ts";

export interface Seen {
  readonly result: SandboxResult;
  readonly text: string;
}

export function openInside() {
  const host = localHost();
  const sandbox = openSandbox(host);
  const place = makePlace();

  async function run(plan: SandboxPlan): Promise<Seen> {
    const chunks: Uint8Array[] = [];
    const { result } = await sandbox.run(plan, { onOutput: (chunk) => void chunks.push(chunk) });
    return { result, text: Buffer.concat(chunks).toString() };
  }

  /** What a line of shell prints; it must succeed. */
  async function inside(script: string, changes: Parameters<typeof place.plan>[1] = {}): Promise<string> {
    const { result, text } = await run(place.plan(script, changes));
    expect({ result, text }).toEqual({ result: { kind: "exited", status: 0 }, text });
    return text;
  }

  const close = async (): Promise<void> => {
    await sandbox.close();
    place.remove();
  };
  return { host, sandbox, place, run, inside, close };
}
