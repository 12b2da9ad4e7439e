/** However a build on a Linux host ends, nothing of it is left. */
import { describe, expect, onTestFinished, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { INTERPRETERS, leftOf, lookAt, openJobs } from "./bubblewrap-job.testing.ts";
import { CAN_SANDBOX, livingProcesses } from "./testing.ts";

setDefaultTimeout(60_000);

/** A place and two users for each test, so that one that fails leaves the others alone. */
let nextUser = 36_101;
function open() {
  const user = nextUser;
  nextUser += 20;
  const jobs = openJobs(user);
  onTestFinished(jobs.close);
  return { jobs, user, left: (...kept: string[]) => leftOf(jobs, [user, user + 1], kept) };
}

/** Children that let go of everything, and heed nothing that can be ignored. */
const DAEMONS = `for i in 1 2 3; do
  setsid sh -c 'trap "" HUP INT TERM QUIT; sleep 1000; sleep 1000' </dev/null >/dev/null 2>&1 &
  setsid sh -c 'trap "" HUP INT TERM QUIT; sleep 1000; sleep 1000' &
done
while [ "$(cat /proc/[0-9]*/comm | grep -c '^sleep$')" -lt 6 ]; do :; done
`;

for (const [name, sh] of INTERPRETERS) {
  describe.if(CAN_SANDBOX)(`the end of a build, under ${name}`, () => {
    test("the builder's: what it left running ends with it", async () => {
      const { jobs, left } = open();
      const end = await jobs.run(jobs.prepare(`${DAEMONS}echo done; exit 3`), { sh });
      expect(end).toMatchObject({ status: 0, text: "done\n", words: [], report: { status: 3 } });
      expect(await left()).toEqual([]);
    });

    test("the leash's, in mid-build: no process, and with serve no scratch", async () => {
      const { jobs, user, left } = open();
      for (const verb of ["serve", "run"] as const) {
        const plan = jobs.prepare(`${DAEMONS}echo started; sleep 1000`);
        const running = jobs.start(plan, { sh, verb });
        await running.untilPrinted("started");
        expect(livingProcesses(user).length).toBeGreaterThan(6);
        await running.letGo();
        const end = await running.ended;
        expect(end).toMatchObject({ status: 3, words: [], report: { status: undefined, stuck: false } });
        expect(await left()).toEqual([]);
        expect(existsSync(plan.scratch)).toBe(verb === "run");
      }
    });

    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
      test(`${signal} to the script`, async () => {
        const { jobs, left } = open();
        const plan = jobs.prepare(`${DAEMONS}echo started; sleep 1000`);
        const running = jobs.start(plan, { sh, verb: "serve" });
        await running.untilPrinted("started");
        running.kill(signal);
        expect(await running.ended).toMatchObject({ status: 3, words: [], report: { status: undefined, stuck: false } });
        expect(await left()).toEqual([]);
        expect(existsSync(plan.scratch)).toBe(false);
      });
    }

    test("a signal at any moment", async () => {
      const { jobs, left } = open();
      for (const event of ["user", "limits", "created", "started"]) {
        const running = jobs.start(jobs.prepare("sleep 1000"), { sh, verb: "serve" });
        await running.untilSaid(event);
        running.kill("SIGTERM");
        expect(await running.ended).toMatchObject({ status: 3, report: { status: undefined, stuck: false } });
        expect(await left()).toEqual([]);
      }
    });

    test("kill -9 of the script: teardown ends what it left, and again does nothing", async () => {
      const { jobs, user, left } = open();
      const plan = jobs.prepare(`${DAEMONS}echo started; sleep 1000`);
      const running = jobs.start(plan, { sh, verb: "serve" });
      await running.untilPrinted("started");
      running.kill("SIGKILL");
      await running.dead;
      // Not all of it ends with its script.
      expect(livingProcesses(user).length).toBeGreaterThan(1);
      for (let round = 0; round < 2; round += 1) {
        expect(await jobs.run(plan, { sh, verb: "teardown" })).toMatchObject({ status: 0, words: [], events: [] });
      }
      await running.ended;
      expect(await left()).toEqual([]);
      // And it can be entered.
      const entered = jobs.start(plan, { sh, verb: "enter" });
      entered.send("id -u; exit");
      expect(await entered.ended).toMatchObject({ status: 0, text: `${user}\n` });
    });

    test("kill -9 of the script, and nobody comes: what watched with it ends it", async () => {
      const { jobs, user, left } = open();
      const running = jobs.start(jobs.prepare(`${DAEMONS}echo started; sleep 1000`), { sh });
      await running.untilPrinted("started");
      running.kill("SIGKILL");
      await running.dead;
      await running.ended;
      expect(await left(`user ${user}`)).toEqual([]);
      // The number is for whoever sweeps.
      expect(readdirSync(jobs.taken)).toEqual([String(user)]);
      expect(await jobs.run(jobs.prepare("id -u"), { sh })).toMatchObject({ text: `${user + 1}\n` });
      Bun.spawnSync(["rm", join(jobs.taken, String(user))]);
    });

    test("kill -9 of the script, and somebody removes its scratch: what watched with it ends it all the same", async () => {
      const { jobs, user, left } = open();
      const plan = jobs.prepare(`${DAEMONS}echo started; sleep 1000`);
      const running = jobs.start(plan, { sh });
      await running.untilPrinted("started");
      running.kill("SIGKILL");
      await running.dead;
      rmSync(plan.scratch, { recursive: true });
      await running.ended;
      expect(await left(`user ${user}`)).toEqual([]);
    });

    test("a dead run's remains are undone by the next in the same place, and said to be", async () => {
      const { jobs, user, left } = open();
      const plan = jobs.prepare("if [ -e /build/x ]; then exit 0; fi; touch /build/x; echo started; sleep 1000");
      const running = jobs.start(plan, { sh });
      await running.untilPrinted("started");
      running.kill("SIGKILL");
      await running.dead;
      const end = await jobs.run(plan, { sh });
      expect(end.events).toEqual(["stale", `user ${user + 1} ${user + 1}`, "limits all", "created", "started", "exited 0"]);
      await running.ended;
      Bun.spawnSync(["rm", join(jobs.taken, String(user))]);
      expect(await left()).toEqual([]);
    });

    test("two at once have two users, and end each by itself", async () => {
      const { jobs, user, left } = open();
      const [one, two] = [jobs.prepare("id -u; sleep 1"), jobs.prepare("id -u; echo here; sleep 1000")];
      const first = jobs.start(one, { sh });
      await first.untilPrinted("\n");
      const second = jobs.start(two, { sh });
      await second.untilPrinted("here\n");
      await second.letGo();
      expect(await second.ended).toMatchObject({ status: 3, text: `${user + 1}\nhere\n` });
      expect(await first.ended).toMatchObject({ status: 0, text: expect.stringContaining(`${user}\n`) });
      expect(await left()).toEqual([]);
    });

    test("a script that another owns is left alone", async () => {
      const { jobs, user, left } = open();
      const plan = jobs.prepare("echo started; sleep 1000");
      const running = jobs.start(plan, { sh });
      await running.untilPrinted("started");
      for (const verb of ["run", "teardown", "enter"] as const) {
        const end = await jobs.run(plan, { sh, verb });
        expect(end).toMatchObject({ status: 3, events: [], words: [`process ${running.pid} has this sandbox`] });
      }
      expect(livingProcesses(user).length).toBeGreaterThan(0);
      await running.letGo();
      await running.ended;
      expect(await left()).toEqual([]);
    });

    test("what is held is kept at a word, and can be entered as who left it", async () => {
      const { jobs, user, left } = open();
      const plan = jobs.prepare("umask 077; echo mine >/build/x; exit 9");
      const serving = jobs.start(plan, { sh, verb: "serve" });
      await serving.untilSaid("hold");
      expect(lookAt(jobs, [user])).toEqual([expect.stringContaining("run.sh serve")]);
      serving.send("keep");
      expect(await serving.ended).toMatchObject({ status: 0, report: { status: 9 } });
      expect(readFileSync(join(plan.scratch, "build/x"), "utf8")).toBe("mine\n");
      const entered = jobs.start(plan, { sh, verb: "enter" });
      entered.send("cat /build/x; id -u; hostname; (trap '' HUP; setsid sleep 1000 &); exit");
      const end = await entered.ended;
      expect(end).toMatchObject({ status: 0, text: `mine\n${user}\ngarth-hello-1a2b3c4d\n` });
      expect(await left()).toEqual([]);
    });

    test("what is held is removed at any other word, and at the end of input", async () => {
      const { jobs } = open();
      for (const end of ["word", "input"]) {
        const plan = jobs.prepare("echo x >$out/x");
        const serving = jobs.start(plan, { sh, verb: "serve" });
        await serving.untilSaid("hold");
        expect(existsSync(plan.scratch)).toBe(true);
        if (end === "word") serving.send("done");
        else await serving.letGo();
        expect(await serving.ended).toMatchObject({ status: 0, report: { status: 0 } });
        expect(existsSync(plan.scratch)).toBe(false);
      }
    });
  });
}
