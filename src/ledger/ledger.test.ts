import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { thrownProblem } from "../base/testing.ts";
import { ledgerFiles, openLedger, type Ledger, type Migration } from "./index.ts";

const THINGS: Migration = { room: "things", steps: ["CREATE TABLE thing(id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT"] };
const MORE: Migration = { room: "things", steps: [...THINGS.steps, "ALTER TABLE thing ADD COLUMN size INTEGER"] };

let directory = "";
let file = "";
beforeEach(() => {
  directory = fs.mkdtempSync(`${tmpdir()}/garth-ledger-`);
  file = `${directory}/garth.db`;
});
afterEach(() => fs.rmSync(directory, { recursive: true }));

function using<T>(work: (ledger: Ledger) => T, migrations: readonly Migration[] = [THINGS]): T {
  const ledger = openLedger(file, migrations, { busyMs: 50 });
  try {
    return work(ledger);
  } finally {
    ledger.close();
  }
}

const insert = (ledger: Ledger, name: string): number => ledger.statement("INSERT INTO thing(name) VALUES (?)").run(name);
const names = (ledger: Ledger): unknown[] =>
  ledger
    .statement("SELECT name FROM thing ORDER BY id")
    .all()
    .map((row) => row["name"]);

describe("opening", () => {
  test("keeps what was committed, in WAL mode with full sync", () => {
    using((ledger) => expect(insert(ledger, "a")).toBe(1));
    using((ledger) => {
      expect(names(ledger)).toEqual(["a"]);
      expect(ledger.statement("PRAGMA journal_mode").get()).toEqual({ journal_mode: "wal" });
      expect(ledger.statement("PRAGMA synchronous").get()).toEqual({ synchronous: 2 });
      expect(ledger.damage()).toEqual([]);
    });
  });

  test("applies new steps once, and rooms independently", () => {
    using((ledger) => insert(ledger, "a"));
    for (let time = 0; time < 2; time += 1) {
      using(
        (ledger) => expect(ledger.statement("SELECT name, size FROM thing").all()).toEqual([{ name: "a", size: null }]),
        [MORE],
      );
    }
    using((ledger) => ledger.statement("SELECT * FROM other").all(), [MORE, { room: "other", steps: ["CREATE TABLE other(x)"] }]);
  });

  test("a newer database is refused and left alone", () => {
    using(() => {}, [MORE]);
    expect(thrownProblem(() => using(() => {}, [THINGS])).code).toBe("E_LEDGER_NEWER");
    using((ledger) => expect(ledger.damage()).toEqual([]), [MORE]);
  });

  test("an edited step is a bug, not skipped in silence", () => {
    using(() => {});
    expect(() => using(() => {}, [{ room: "things", steps: ["CREATE TABLE thing(other)"] }])).toThrow("has been edited");
  });

  test("a failing migration leaves nothing of itself", () => {
    const bad: Migration = { room: "things", steps: [...THINGS.steps, "CREATE TABLE half(x)", "THIS IS NOT SQL"] };
    using(() => {});
    expect(() => using(() => {}, [bad])).toThrow();
    using((ledger) => expect(ledger.statement("SELECT name FROM sqlite_schema WHERE name = 'half'").all()).toEqual([]));
  });

  test("what is not a database is said to be damaged, with what to do", () => {
    fs.writeFileSync(file, "this is not a database, and long enough to be looked at\n".repeat(100));
    const problem = thrownProblem(() => using(() => {}));
    expect(problem.code).toBe("E_LEDGER_DAMAGED");
    expect(problem.hint).toContain("verify --repair");
    expect(problem.exit).toBe(3);
  });

  test("a torn page is found by damage(), or met as E_LEDGER_DAMAGED", () => {
    using((ledger) => ledger.transaction(() => Array.from({ length: 5000 }, (_, index) => insert(ledger, `name ${index}`))));
    const torn = fs.readFileSync(file);
    torn.fill(0xaa, 3 * 4096, 12 * 4096);
    fs.writeFileSync(file, torn);
    using((ledger) => {
      expect(ledger.damage().length).toBeGreaterThan(0);
      expect(thrownProblem(() => names(ledger)).code).toBe("E_LEDGER_DAMAGED");
    });
  });

  test("no directory to be in", () => {
    expect(thrownProblem(() => openLedger(`${directory}/none/garth.db`, [])).code).toBe("E_LEDGER_UNREACHABLE");
    expect(ledgerFiles("/x/garth.db")).toEqual(["/x/garth.db", "/x/garth.db-wal", "/x/garth.db-shm"]);
  });
});

describe("transactions", () => {
  test("roll back whole, nested ones with the outer", () => {
    using((ledger) => {
      expect(() =>
        ledger.transaction(() => {
          insert(ledger, "a");
          ledger.transaction(() => insert(ledger, "b"));
          throw new Error("no");
        }),
      ).toThrow("no");
      expect(names(ledger)).toEqual([]);
      expect(ledger.transaction(() => ledger.transaction(() => insert(ledger, "c")))).toBe(1);
      expect(names(ledger)).toEqual(["c"]);
    });
  });

  test("a second writer waits, and says so when it waited too long", () => {
    using((first) =>
      using((second) => {
        first.transaction(() => {
          insert(first, "a");
          expect(thrownProblem(() => second.transaction(() => insert(second, "b"))).code).toBe("E_LEDGER_BUSY");
          expect(names(second)).toEqual([]);
        });
        second.transaction(() => insert(second, "b"));
        expect(names(first)).toEqual(["a", "b"]);
      }),
    );
  });
});

describe("leases, undo, events", () => {
  const alive =
    (...living: readonly string[]) =>
    (owner: string): boolean =>
      living.includes(owner);

  test("a lease is taken from the dead alone", () => {
    using((ledger) => {
      expect(ledger.acquire("uid:35001", "one", alive("one", "two"), 1)).toBeUndefined();
      expect(ledger.acquire("uid:35001", "one", alive("one", "two"), 2)).toBeUndefined();
      expect(ledger.acquire("uid:35001", "two", alive("one", "two"), 3)).toBe("one");
      expect(ledger.acquire("uid:35001", "two", alive("two"), 4)).toBeUndefined();
      ledger.release("uid:35001", "one");
      expect(ledger.acquire("uid:35001", "three", alive("two", "three"), 5)).toBe("two");
      ledger.release("uid:35001", "two");
      expect(ledger.acquire("uid:35001", "three", alive("two", "three"), 6)).toBeUndefined();
    });
  });

  test("what the dead left comes newest first", () => {
    const kept = using((ledger) => {
      ledger.registerUndo("dead", "mount", "/a");
      ledger.registerUndo("living", "mount", "/b");
      const done = ledger.registerUndo("dead", "directory", "/c");
      ledger.registerUndo("dead", "jail", "/d");
      ledger.forgetUndo(done);
      return ledger.abandoned(alive("living"));
    });
    expect(kept.map(({ kind, data }) => `${kind} ${data}`)).toEqual(["jail /d", "mount /a"]);
  });

  test("events are kept in order", () => {
    using((ledger) => {
      ledger.record("store", "gc", "all", { removed: 3 }, 1000.5);
      expect(ledger.statement("SELECT at_ms, room, kind, subject, data FROM ledger_event").all()).toEqual([
        { at_ms: 1000, room: "store", kind: "gc", subject: "all", data: '{"removed":3}' },
      ]);
    });
  });
});
