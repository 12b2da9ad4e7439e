import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { listPage, listQuery, type ListQuery, matches, metadataOf, PAGE_MAX, type Page } from "./list.ts";
import { begin } from "./plan.ts";
import { Refusal } from "./refusal.ts";
import type { SandboxRecord } from "./types.ts";

function record(id: string, startedAtMs: number, change: Partial<SandboxRecord> = {}): SandboxRecord {
  return {
    ...begin(startedAtMs, 1000, { onTimeout: "kill", autoResume: false }),
    id,
    tenant: "acme",
    template: "base",
    pool: "base",
    entry: "base-1",
    alias: undefined,
    metadata: {},
    environment: {},
    envdAccessToken: "",
    trafficAccessToken: "",
    startedAtMs,
    policy: { allowInternetAccess: true, allowOut: [], denyOut: [] },
    cpuCount: 1,
    memoryMiB: 1,
    diskMiB: 1,
    build: "",
    snapshot: undefined,
    execution: "",
    executionStartedAtMs: startedAtMs,
    pausedAtMs: undefined,
    network: undefined,
    allowPublicTraffic: true,
    maskRequestHost: undefined,
    ...change,
  };
}

const metadata = fc.dictionary(fc.constantFrom("a", "b", "a&b", "ü =", "%41"), fc.constantFrom("", "1", "x&y=z", "%", "é +"), {
  maxKeys: 3,
});
const records = fc
  .uniqueArray(
    fc.record({
      id: fc.stringMatching(/^[a-z0-9]{20}$/),
      // Few times, so that many are equal.
      startedAtMs: fc.integer({ min: 1, max: 5 }).map((n) => n * 1000),
      state: fc.constantFrom("running" as const, "paused" as const),
      alias: fc.option(fc.constantFrom("x", "y"), { nil: undefined }),
      metadata,
    }),
    { selector: ({ id }) => id, maxLength: 40 },
  )
  .map((all) => all.map(({ id, startedAtMs, ...change }) => record(id, startedAtMs, change)));

/** As the SDK writes it: each part percent-encoded, and all of it form-encoded. */
function encoded(pairs: Readonly<Record<string, string>>): string {
  return new URLSearchParams(
    Object.entries(pairs).map(([key, value]): [string, string] => [encodeURIComponent(key), encodeURIComponent(value)]),
  ).toString();
}

function pagesOf(all: readonly SandboxRecord[], text: string): readonly Page<SandboxRecord>[] {
  const pages: Page<SandboxRecord>[] = [];
  for (let token: string | undefined = ""; token !== undefined; token = pages.at(-1)?.nextToken) {
    const query = new URLSearchParams(text);
    if (token !== "") query.set("nextToken", token);
    pages.push(listPage(all, listQuery(query)));
    if (pages.length > 100) throw new Error("pages without end");
  }
  return pages;
}

describe("pages", () => {
  test("show everything once, in order, however many are on one", () => {
    fc.assert(
      fc.property(records, fc.integer({ min: 1, max: 12 }), fc.constantFrom("asc", "desc"), (all, limit, order) => {
        const pages = pagesOf(all, `limit=${limit}&order=${order}`);
        const shown = pages.flatMap(({ items }) => items);
        expect(shown.map(({ id }) => id).toSorted()).toEqual(all.map(({ id }) => id).toSorted());
        expect(pages.slice(0, -1).every(({ items }) => items.length === limit)).toBe(true);
        const times = shown.map(({ startedAtMs }) => startedAtMs);
        expect(times).toEqual(times.toSorted((a, b) => (order === "asc" ? a - b : b - a)));
      }),
    );
  });

  test("go on behind the last one, whatever came or went meanwhile", () => {
    fc.assert(
      fc.property(records, records, fc.integer({ min: 1, max: 5 }), (before, after, limit) => {
        const first = listPage(before, listQuery(new URLSearchParams(`limit=${limit}`)));
        if (first.nextToken === undefined) return;
        const rest = pagesOf(after, `limit=${limit}`).flatMap(({ items }) => items);
        const last = first.items.at(-1);
        const second = listPage(after, listQuery(new URLSearchParams(`limit=1000&nextToken=${first.nextToken}`)));
        const behind = rest.filter(
          ({ startedAtMs, id }) =>
            last !== undefined && (startedAtMs < last.startedAtMs || (startedAtMs === last.startedAtMs && id < last.id)),
        );
        expect(second.items.map(({ id }) => id)).toEqual(behind.map(({ id }) => id));
      }),
    );
  });

  test("have at most a hundred", () => {
    const all = Array.from({ length: 250 }, (_, index) => record(String(index).padStart(20, "0"), index));
    expect(pagesOf(all, "limit=100000").map(({ items }) => items.length)).toEqual([PAGE_MAX, PAGE_MAX, 50]);
    expect(pagesOf(all, "").map(({ items }) => items.length)).toEqual([PAGE_MAX, PAGE_MAX, 50]);
  });
});

describe("filters", () => {
  test("metadata arrives as it was written, through both encodings", () => {
    fc.assert(fc.property(metadata, (pairs) => expect({ ...metadataOf(encoded(pairs)) }).toEqual(pairs)));
  });

  test("show those, and only those, that fit everything that was asked", () => {
    const asked = fc.record({
      metadata,
      states: fc.constantFrom("", "running", "paused", "running,paused"),
      after: fc.integer({ min: 0, max: 6 }),
      template: fc.constantFrom("", "base", "x", "nothing"),
    });
    fc.assert(
      fc.property(records, asked, (all, { metadata, states, after, template }) => {
        const query = new URLSearchParams({ metadata: encoded(metadata), state: states, template });
        query.set("startedAfter", new Date(after * 1000).toISOString());
        const shown = pagesOf(all, query.toString()).flatMap(({ items }) => items);
        const meant = all.filter(
          (one) =>
            Object.entries(metadata).every(([key, value]) => Object.hasOwn(one.metadata, key) && one.metadata[key] === value) &&
            (states === "" || states.split(",").includes(one.state)) &&
            one.startedAtMs >= after * 1000 &&
            (template === "" || template === "base" || one.alias === template),
        );
        expect(new Set(shown)).toEqual(new Set(meant));
      }),
    );
  });

  test("names of Object's are metadata like others", () => {
    const query: Omit<ListQuery, "order" | "limit" | "after"> = {
      metadata: { constructor: "x" },
      states: ["running"],
      startedAfterMs: undefined,
      template: undefined,
    };
    expect(matches(record("a", 1), query)).toBe(false);
    expect(matches(record("a", 1, { metadata: { constructor: "x" } }), query)).toBe(true);
  });
});

test.each([
  "limit=0",
  "limit=-1",
  "limit=1.5",
  "limit=x",
  "order=up",
  "state=dead",
  "startedAfter=yesterday",
  "nextToken=%00",
  "nextToken=bm90aGluZw",
  "metadata=a%3D%25zz",
])("%s is refused", (text) => {
  expect(() => listQuery(new URLSearchParams(text))).toThrow(Refusal);
});
