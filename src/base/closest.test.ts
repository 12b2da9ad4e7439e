import { expect, test } from "bun:test";
import { closest } from "./index.ts";

const known = ["build", "show", "graph", "why-rebuild"];

test("a slip of the fingers finds the name that was meant", () => {
  for (const word of ["buidl", "bulid", "biuld", "buil", "builds", "BUILD"]) expect(closest(word, known)).toBe("build");
  expect(closest("why-rebuld", known)).toBe("why-rebuild");
});

test("what is far from everything finds nothing", () => {
  for (const word of ["", "frobnicate", "xyz"]) expect(closest(word, known)).toBeUndefined();
});
