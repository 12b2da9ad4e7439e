import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { BUILD_ID_COUNT, buildUserLease, FIRST_BUILD_ID, nextBuildUser } from "./identity.ts";

describe("build users", () => {
  test("begin at 35001:35001", () => expect(nextBuildUser(new Set())).toEqual({ kind: "drop", uid: 35_001, gid: 35_001 }));

  test("the choice is the lowest that is free", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: FIRST_BUILD_ID, max: FIRST_BUILD_ID + 20 })), (taken) => {
        const user = nextBuildUser(new Set(taken));
        expect(taken).not.toContain(user?.uid);
        for (let id = FIRST_BUILD_ID; id < (user?.uid ?? 0); id += 1) expect(taken).toContain(id);
      }),
    );
  });

  test("each is taken once, until there is none", () => {
    const taken = new Set<number>();
    for (let user = nextBuildUser(taken); user !== undefined; user = nextBuildUser(taken)) {
      expect(taken.has(user.uid)).toBe(false);
      expect(user.gid).toBe(user.uid);
      taken.add(user.uid);
    }
    expect(taken.size).toBe(BUILD_ID_COUNT);
  });

  test("a lease is named after the number", () => {
    expect(buildUserLease({ kind: "drop", uid: 35_007, gid: 35_007 })).toBe("build-uid/35007");
  });
});
