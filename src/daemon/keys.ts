/** API keys, made and taken away without the daemon: it looks them up at each request. */
import { randomBytes } from "node:crypto";
import type { Garth } from "../app/index.ts";
import { Problem } from "../base/index.ts";
import { addKey, GATEWAY_MIGRATION, type KeyRecord, listKeys, type NewKey, removeKey } from "../gateway/index.ts";

export type { KeyRecord, NewKey };

export interface Keys {
  /** The key is shown this once: its digest is kept. @throws Problem E_BAD_KEY (exit 2) */
  add(wanted: NewKey): { readonly key: string; readonly record: KeyRecord };
  /** The oldest first. */
  list(): readonly KeyRecord[];
  /** By its id, or the key itself. @throws Problem E_NO_KEY (exit 2) */
  remove(idOrKey: string): void;
}

export function openKeys({ ledger }: Pick<Garth, "ledger">, now: () => number): Keys {
  ledger.apply(GATEWAY_MIGRATION);
  return {
    add: (wanted) => addKey(ledger, wanted, { now, random: randomBytes }),
    list: () => listKeys(ledger),
    remove: (idOrKey) => {
      if (removeKey(ledger, idOrKey)) return;
      throw new Problem({
        code: "E_NO_KEY",
        // What was typed may be a key.
        message: "there is no such API key",
        hint: "`garth key ls` lists their ids",
        exit: 2,
      });
    },
  };
}
