import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeSync } from "node:fs";
import { refusal } from "./failure.ts";

function thrownBy(work: () => void): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  throw new Error("it was expected to fail");
}

test("what the machine refuses is said with what was done to which path", () => {
  const problem = refusal(thrownBy(() => mkdirSync("/dev/null/below")));
  expect([problem?.code, problem?.message, problem?.exit]).toEqual([
    "E_NOT_ALLOWED",
    "mkdir /dev/null/below: a file is where a directory should be",
    3,
  ]);
  expect(refusal(Object.assign(new Error("x"), { code: "ENOSPC", syscall: "write" }))?.message).toBe("write: the disk is full");
});

test("the rest is a bug", () => {
  const notOpen = thrownBy(() => writeSync(9999, "x"));
  const notThere = thrownBy(() => readFileSync("/nowhere"));
  for (const error of [notOpen, notThere, new Error("plain"), "text"]) expect(refusal(error)).toBeUndefined();
});
