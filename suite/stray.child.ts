/** For a test: cases whose errors nobody waits for. A test runner would take them for its own. */
import type { Suite } from "./case.ts";
import { runCases, totals } from "./runner.ts";

const host = { system: "linux", uname: "", release: "", name: "", tools: new Map(), uid: 0, racct: false, standIn: undefined };
const suite = { host, hand: {}, root: "/r" } as unknown as Suite;
const outcomes = await runCases(
  [
    {
      name: "rejects at nobody",
      run: async () => {
        void Promise.reject(new Error("a rejection"));
        await new Promise((resolve) => setTimeout(resolve, 10));
      },
    },
    {
      name: "throws at nobody",
      run: async () => {
        setTimeout(() => {
          throw new Error("an exception");
        }, 1);
        await new Promise((resolve) => setTimeout(resolve, 20));
      },
    },
    { name: "next", run: () => Promise.resolve() },
  ],
  suite,
  { print: (text) => console.log(text) },
);
console.log(totals(outcomes));
