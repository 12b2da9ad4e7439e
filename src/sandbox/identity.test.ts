import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { BUILD_ID_COUNT, buildUserLease, FIRST_BUILD_ID, leaseBuildUser, nextBuildUser } from "./identity.ts";
import { isProblem } from "./expect.testing.ts";

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

  test("builds that lease at once get one each", async () => {
    const held = new Set<string>();
    const acquire = async (lease: string): Promise<boolean> => {
      await Promise.resolve();
      if (held.has(lease)) return false;
      held.add(lease);
      return true;
    };
    const users = await Promise.all(Array.from({ length: 20 }, () => leaseBuildUser(acquire)));
    expect(new Set(users.map(({ uid }) => uid)).size).toBe(20);
    expect([...held].toSorted()).toEqual(users.map(buildUserLease).toSorted());
  });

  test("when all are held it says so, after asking for each once", async () => {
    const asked: string[] = [];
    const leasing = leaseBuildUser((lease) => {
      asked.push(lease);
      return false;
    });
    expect(leasing).rejects.toThrow(isProblem("E_NO_BUILD_USER", []));
    await leasing.catch(() => undefined);
    expect(new Set(asked).size).toBe(BUILD_ID_COUNT);
    expect(asked.length).toBe(BUILD_ID_COUNT);
  });
});
