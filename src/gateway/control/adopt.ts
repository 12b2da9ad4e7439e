/** What an earlier process left: sandboxes whose machines are still there go on, the others have ended, and half-made ones never were. */
import type { Control } from "./context.ts";
import { giveBack } from "./create.ts";
import { destroy, endSandbox } from "./life.ts";
import { paused, resumed } from "./plan.ts";

export async function adopt(control: Control): Promise<void> {
  const { registry, pools, now, onFault } = control;
  const { creating, living, ending } = registry.left();
  const guarded = async (doing: string, work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      onFault(doing, error);
    }
  };
  const jobs: Promise<void>[] = [];
  for (const id of creating) {
    jobs.push(
      guarded(`giving back the machine of ${id}, which nobody heard of`, async () => {
        const entry = pools.held(id);
        if (entry !== undefined) await giveBack(control, entry.id);
        registry.forget(id);
      }),
    );
  }
  for (const record of ending) {
    const live = registry.add(record);
    // Its end was told when it came.
    registry.end(live, { reason: "request" });
    live.ended.abort();
    jobs.push(guarded(`destroying the machine of ${record.id}`, () => destroy(control, live)));
  }
  for (const record of living) {
    const live = registry.add(record);
    const entry = pools.held(record.id);
    const state = entry?.id === record.entry ? entry.state : undefined;
    if (state === "paused") {
      // The pool's word is the later one: the process died between the two.
      if (record.state === "running") registry.move(live, paused(record), { pausedAtMs: Math.trunc(now()) });
    } else if (state === "in-use") {
      if (record.state === "paused")
        registry.move(live, resumed(record, Math.trunc(now()), undefined), { pausedAtMs: undefined });
    } else {
      const detail = entry?.failure ?? "it was gone when the gateway started again";
      jobs.push(guarded(`ending sandbox ${record.id}`, () => endSandbox(control, live, { reason: "machine-lost", detail })));
    }
  }
  await Promise.all(jobs);
}
