/** Closures on their way to the host and outputs on their way back: whole, checked, resumed, and nothing half of anything. */
import { chmodSync, linkSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { baseName, type StorePath } from "../../src/base/index.ts";
import { shellQuote } from "../../src/host/index.ts";
import type { Case, Suite, Trial } from "../case.ts";
import { runHere } from "../hand.ts";
import { wiredFor } from "../ours.ts";
import { ADDED } from "./check.ts";

const SENT = "store: a tree with every kind of name goes there and comes back";

/** Every kind of name, mode, target and size that an item may hold. */
export function hardTree(directory: string): void {
  mkdirSync(directory, { recursive: true });
  const names = [
    "a b",
    "it's",
    "$HOME",
    '"',
    "\\",
    "#x",
    "-x",
    "~",
    "new\nline",
    "\ttab",
    "ä€",
    ".hidden",
    "%s",
    ";",
    "&",
    "=",
    "x".repeat(200),
  ];
  for (const name of names) writeFileSync(join(directory, name), `${name}\n`);
  writeFileSync(Buffer.concat([Buffer.from(`${directory}/`), Buffer.from([0x66, 0xff, 0xfe])]), "not text\n");
  for (const name of ["a b", "#x"]) chmodSync(join(directory, name), 0o755);
  mkdirSync(join(directory, "d", "e f", "empty"), { recursive: true });
  mkdirSync(join(directory, `${"long".repeat(40)}`, `${"path".repeat(40)}`), { recursive: true });
  writeFileSync(join(directory, `${"long".repeat(40)}`, `${"path".repeat(40)}`, "f"), "deep\n");
  symlinkSync("../a b", join(directory, "d", "link\nwith a line's end"));
  symlinkSync(`/nowhere/${"t".repeat(300)}`, join(directory, "d", "dangling"));
  linkSync(join(directory, "it's"), join(directory, "hard"));
  writeFileSync(join(directory, "empty"), "");
  writeFileSync(join(directory, "big"), Buffer.alloc(3 * 1024 * 1024 + 17, "a line that is repeated, and again\n"));
}

const storeOf = (suite: Suite): string => `${suite.root}/garth/store`;

async function names(trial: Trial, directory: string): Promise<readonly string[]> {
  return (await trial.sh(`ls -A ${shellQuote(directory)} 2>/dev/null; :`)).stdout.split("\n").filter((line) => line !== "");
}

export const storeCases: readonly Case[] = [
  {
    name: SENT,
    needs: [ADDED],
    limitMs: 15 * 60_000,
    run: async (trial, suite) => {
      const { store, hostStore, directory } = await wiredFor(trial, suite);
      hardTree(`${directory}/tree`);
      const item = await store.add(`${directory}/tree`, "hard-tree");
      const flat = store.addText("refers", `${item.path}\n`, [item.path]);
      const report = await hostStore.send([flat.path], { signal: trial.signal });
      trial.equal("what was sent", new Set(report.sent), new Set([item.path, flat.path]));
      trial.equal("what is there", new Set(await hostStore.present([item.path, flat.path])), new Set([item.path, flat.path]));
      trial.equal("what is still on its way", await names(trial, `${suite.root}/garth/incoming`), []);
      await hostStore.fetch([{ from: hostStore.physical(item.path), to: `${directory}/back` }], { signal: trial.signal });
      const back = await store.add(`${directory}/back`, "hard-tree");
      trial.equal("the digest of what came back", back.narSha256, item.narSha256);
      const again = await hostStore.send([flat.path], { signal: trial.signal });
      trial.equal("what is sent a second time", again.sent, []);
    },
  },
  {
    name: "store: names that mtree(8) takes for patterns go there, beside what they match",
    needs: [SENT],
    run: async (trial, suite) => {
      const { store, hostStore, directory } = await wiredFor(trial, suite);
      mkdirSync(`${directory}/patterns`);
      for (const name of ["*", "[a-z]", "?", "a*b", "a\\*b", "!", "+", "b", "z", "axb", "[", "]"])
        writeFileSync(`${directory}/patterns/${name}`, `${name}\n`);
      const item = await store.add(`${directory}/patterns`, "patterns");
      await hostStore.send([item.path], { signal: trial.signal });
      await hostStore.fetch([{ from: hostStore.physical(item.path), to: `${directory}/back` }], { signal: trial.signal });
      trial.equal("the digest of what came back", (await store.add(`${directory}/back`, "patterns")).narSha256, item.narSha256);
    },
  },
  {
    name: "store: only what is missing is sent",
    needs: [SENT],
    run: async (trial, suite) => {
      const { store, hostStore } = await wiredFor(trial, suite);
      const [a, b] = [store.addText("only-a", "a\n", []), store.addText("only-b", "b\n", [])];
      await hostStore.send([a.path]);
      const both = store.addText("only-both", "both\n", [a.path, b.path]);
      const { sent } = await hostStore.send([both.path], { signal: trial.signal });
      trial.equal("what was sent", new Set(sent), new Set([b.path, both.path]));
    },
  },
  {
    name: "store: two send the same at one time",
    needs: [SENT],
    run: async (trial, suite) => {
      const { store, hostStore } = await wiredFor(trial, suite);
      const items = Array.from({ length: 6 }, (_, index) => store.addText(`twice-${index}`, `${index}\n`.repeat(1_000), []).path);
      await Promise.all([hostStore.send(items), hostStore.send(items)]);
      trial.equal("what is there", new Set(await hostStore.present(items)), new Set(items));
      trial.equal("what is still on its way", await names(trial, `${suite.root}/garth/incoming`), []);
    },
  },
  {
    name: "store: what cannot be unpacked as it is here is refused, and is not in the store",
    needs: [SENT],
    run: async (trial, suite) => {
      const { store, hostStore, connection } = await wiredFor(trial, suite);
      const item = store.addText("damaged", "these bytes are changed on their way\n".repeat(100), []);
      // On its way to the host, each time.
      const start = connection.start.bind(connection);
      const run = connection.run.bind(connection);
      const damage = (input: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> => damaged(input);
      Object.assign(connection, {
        start: (script: Parameters<typeof start>[0], options: Parameters<typeof start>[1] = {}) =>
          start(script, options.input === undefined ? options : { ...options, input: damage(options.input) }),
        run: (script: Parameters<typeof run>[0], options: Parameters<typeof run>[1] = {}) =>
          run(script, options.input === undefined ? options : { ...options, input: damage(options.input) }),
      });
      await trial.refused("what was changed on its way", "E_HOST_DAMAGED", hostStore.send([item.path], { signal: trial.signal }));
      trial.equal("whether it is there", [...(await hostStore.present([item.path]))], []);
      trial.equal("what is still on its way", await names(trial, `${suite.root}/garth/incoming`), []);
    },
  },
  {
    name: "store: a connection that is lost in mid-transfer leaves nothing half, and is taken up again",
    needs: [SENT],
    limitMs: 15 * 60_000,
    run: async (trial, suite) => {
      const { store, hostStore, directory } = await wiredFor(trial, suite);
      const paths: StorePath[] = [];
      for (let index = 0; index < 5; index += 1) {
        mkdirSync(`${directory}/lost-${index}`);
        // Of each its own, so that it takes its time on any line.
        writeFileSync(`${directory}/lost-${index}/f`, crypto.getRandomValues(new Uint8Array(65_536)));
        writeFileSync(`${directory}/lost-${index}/g`, Buffer.alloc(6 * 1024 * 1024, `${index} of what is lost\n`));
        paths.push((await store.add(`${directory}/lost-${index}`, `lost-${index}`)).path);
      }
      const sending = hostStore.send(paths, { signal: trial.signal }).then(
        () => "sent",
        (error: unknown) => error,
      );
      // As soon as something is on its way: every ssh that has this run's directory in its words.
      const killed = await killOurSsh(trial, suite, `${suite.root}/garth/incoming`);
      const outcome = await sending;
      trial.record("the first try", `${killed} ssh killed; it said ${String(outcome)}`);
      if (outcome === "sent") trial.note("it was sent before the connection could be lost");
      else trial.equal("what was said", (outcome as { code?: string }).code, "E_HOST_LOST");
      for (const name of await names(trial, storeOf(suite))) {
        if (!name.includes("-lost-")) continue;
        const whole = await trial.sh(
          `wc -c <${shellQuote(`${storeOf(suite)}/${name}/g`)}; wc -c <${shellQuote(`${storeOf(suite)}/${name}/f`)}`,
        );
        trial.equal(`what is in the store of ${name}`, whole.stdout.replaceAll(/[^\d\n]/g, "").trim(), "6291456\n65536");
      }
      const second = await wiredFor(trial, suite);
      const { sent } = await second.hostStore.send(paths, { signal: trial.signal });
      trial.equal("what is there then", new Set(await second.hostStore.present(paths)), new Set(paths));
      trial.note(`the second try sent ${sent.length} of ${paths.length}`);
      trial.equal("what is still on its way", await names(trial, `${suite.root}/garth/incoming`), []);
    },
  },
  {
    name: "store: a full disk is said with what is needed, and leaves nothing half",
    needs: [SENT],
    limitMs: 10 * 60_000,
    run: async (trial, suite) => {
      const { store, hosts, directory } = await wiredFor(trial, suite);
      const mounted = await trial.sh(
        suite.host.system === "freebsd"
          ? `mkdir small && mount -t tmpfs -o size=6m tmpfs "$W/small" && cd small && pwd`
          : `mkdir small && mount -t tmpfs -o size=6m tmpfs "$W/small" && cd small && pwd`,
      );
      if (mounted.status !== 0) trial.skip(`no small file system can be made there: ${mounted.stderr.trim()}`);
      const place = mounted.stdout.trim();
      trial.undo("the small file system", async () => {
        const undone = await suite.hand.sh(`umount ${shellQuote(place)} || umount -f ${shellQuote(place)}`);
        if (undone.status !== 0) throw new Error(undone.stderr);
      });
      const identity = suite.identityFile === undefined ? {} : { identityFile: suite.identityFile };
      await hosts.add({ name: "small", url: suite.url, root: `${place}/garth`, hostKey: suite.hostKey, ...identity });
      trial.undo("the host of the small file system", () => hosts.remove("small"));
      const small = hosts.store("small");
      const little = store.addText("little", "fits\n", []);
      await small.send([little.path], { signal: trial.signal });
      mkdirSync(`${directory}/large`);
      writeFileSync(`${directory}/large/f`, crypto.getRandomValues(new Uint8Array(65_536)));
      writeFileSync(`${directory}/large/g`, Buffer.alloc(12 * 1024 * 1024, "more than there is\n"));
      const large = await store.add(`${directory}/large`, "large");
      const problem = await trial.refused("what does not fit", "E_HOST_FULL", small.send([large.path], { signal: trial.signal }));
      trial.ok("how much is needed and free is said", /\d/.test(`${problem?.message} ${problem?.details.join(" ")}`), problem);
      trial.equal("what is there", new Set(await small.present([little.path, large.path])), new Set([little.path]));
      trial.equal("what is still on its way", await names(trial, `${place}/garth/incoming`), []);
    },
  },
  {
    name: "store: an item that was changed there is not what comes back",
    needs: [SENT],
    run: async (trial, suite) => {
      const { hostStore, directory } = await wiredFor(trial, suite);
      const made = await trial.sh(`mkdir -p out; echo one >out/a; mkdir out/d; ln -s a out/l; pwd`);
      const from = `${made.stdout.trim()}/out`;
      await hostStore.fetch([{ from, to: `${directory}/there` }], { signal: trial.signal });
      const read = await runHere(["find", `${directory}/there`, "-type", "f", "-exec", "cat", "{}", "+"]);
      trial.equal("what came", read.stdout, "one\n");
      await trial.sh("mkfifo out/fifo");
      await trial.refused(
        "a fifo in an output",
        ["E_BAD_ARCHIVE", "E_BAD_FILE_TYPE", "E_HOST_DAMAGED"],
        hostStore.fetch([{ from, to: `${directory}/again` }], { signal: trial.signal }),
      );
      const left = await runHere(["ls", "-A", `${directory}/again`]);
      trial.ok("nothing of it is left here", left.status !== 0 || left.stdout === "", left.stdout);
    },
  },
  {
    name: "store: what was not asked for is collected, and the rest stays",
    needs: [SENT],
    run: async (trial, suite) => {
      const { store, hostStore } = await wiredFor(trial, suite);
      const item = store.addText("collected", "soon gone\n", []);
      await hostStore.send([item.path]);
      const none = await hostStore.collect({ olderThanMs: 24 * 3_600_000 });
      trial.equal("what is older than a day", none.removed, 0);
      trial.equal("whether it is there", (await hostStore.present([item.path])).size, 1);
      await hostStore.collect({ olderThanMs: 0 });
      trial.equal("whether it is there then", (await names(trial, storeOf(suite))).includes(baseName(item.path)), false);
    },
  },
];

async function* damaged(input: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  for await (const chunk of input) {
    const text = Buffer.from(chunk).toString("latin1");
    yield Buffer.from(text.replaceAll("these bytes are changed", "THESE bytes are changed"), "latin1");
  }
}

/** Kills every ssh of ours for this run, once there is something in the directory on the host; how many. */
export async function killOurSsh(trial: Trial, suite: Suite, awaited: string): Promise<number> {
  await trial.sh(
    `n=0; while [ -z "$(ls -A ${shellQuote(awaited)} 2>/dev/null)" ] && [ $n -lt 300 ]; do sleep 0.1; n=$((n + 1)); done`,
  );
  return killSshHere(suite);
}

/** With -9: by the directory of this run in their words, which no other ssh has. The suite's own connection is left alone. */
export async function killSshHere(suite: Suite): Promise<number> {
  const listed = await runHere(["ps", "-axww", "-o", "pid=", "-o", "command="]);
  let killed = 0;
  for (const line of listed.stdout.split("\n")) {
    const [, pid, command] = /^\s*(\d+)\s+(.*)$/.exec(line) ?? [];
    if (pid === undefined || command === undefined || !/^(\S*\/)?ssh(:| )/.test(command)) continue;
    if (!command.includes(suite.here) || command.includes(`ControlPath=${suite.here}/s `)) continue;
    try {
      process.kill(Number(pid), "SIGKILL");
      killed += 1;
    } catch {
      // It has ended meanwhile.
    }
  }
  return killed;
}
