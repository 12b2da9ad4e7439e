/**
 * Registrations in company: what ends at nearly the same time is made durable together.
 *
 * A commit costs three waits for the disk however much is in it, and while the disk is waited for nothing else is decided. So a
 * finished build waits a moment for others that are running; one that runs alone waits for nobody.
 */
import type { Registration, Store, StoreItem } from "../store/index.ts";

/** No longer than a small build takes: the wait must not be what the next one waits for. */
const WAIT_MS = 8;
/** More gain nothing. */
const COMPANY_MAX = 16;

export type Items = Readonly<Record<string, StoreItem>>;

export interface Registrar {
  /** `others`: how many builds are running besides. */
  register(registration: Registration, others: number): Promise<Items>;
}

interface Waiting {
  readonly registration: Registration;
  readonly settle: PromiseWithResolvers<Items>;
}

export function openRegistrar(store: Pick<Store, "register">): Registrar {
  let waiting: Waiting[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;

  function flush(): void {
    clearTimeout(timer);
    timer = undefined;
    const company = waiting;
    waiting = [];
    for (const { registration, settle } of company) store.register(registration).then(settle.resolve, settle.reject);
  }

  return {
    register(registration, others) {
      const settle = Promise.withResolvers<Items>();
      waiting.push({ registration, settle });
      if (others === 0 || waiting.length >= COMPANY_MAX) flush();
      else timer ??= setTimeout(flush, WAIT_MS);
      return settle.promise;
    },
  };
}
