/** garth host: machines over SSH on which builds run. */
import { formatSize, parseDuration, Problem, problemDocument } from "../../base/index.ts";
import type { HostFinding, HostRecord, HostReport } from "../../remote/index.ts";
import type { Answer, Handler } from "../command.ts";
import { usageProblem } from "../parse.ts";
import { absolute } from "../paths.ts";
import { table } from "../render/text.ts";

export const add: Handler = async (context, given) => {
  const [name = "", url = ""] = given.arguments;
  const [root, jobs, identity, hostKey] = ["directory", "jobs", "identity", "host-key"].map((option) => given.text(option));
  if (jobs !== undefined && !/^[0-9]{1,4}$/.test(jobs)) throw usageProblem(`--jobs ${jobs}: expected a whole number`, "1, 4, 16");
  const hosts = await (await context.garth()).hosts();
  const { record, report } = await hosts.add({
    name,
    url,
    ...(root === undefined ? {} : { root }),
    ...(jobs === undefined ? {} : { jobs: Number(jobs) }),
    ...(identity === undefined ? {} : { identityFile: absolute(context, identity) }),
    ...(hostKey === undefined ? {} : { hostKey }),
  });
  const missing = missingOf(report);
  const last = missing.length === 0 ? "builds run there" : `builds do not run there yet: ${missing.join(", ")}`;
  return { data: { record, ...report }, text: () => `${reportText(name, report)}\n\n${name} is known; ${last}` };
};

export const ls: Handler = async (context) => {
  const found = (await (await context.garth()).hosts()).list();
  const text = (): string => {
    if (found.length === 0) return "there are no hosts: `garth host add NAME ssh://root@host` makes one known";
    return table([["host", "system", "release", "jobs", "url", "root", "checked"], ...found.map(row)]);
  };
  return { data: found, text };
};

function row({ name, facts, jobs, url, root, checkedAtMs }: HostRecord): readonly string[] {
  return [name, facts.system, facts.release, String(jobs), url, root, new Date(checkedAtMs).toISOString().slice(0, 19)];
}

type Checked =
  | ({ readonly name: string } & HostReport)
  | { readonly name: string; readonly error: ReturnType<typeof problemDocument>; readonly problem: Problem };

export const check: Handler = async (context, given): Promise<Answer> => {
  const hosts = await (await context.garth()).hosts();
  const named = given.arguments;
  for (const name of named) hosts.get(name);
  const names = named.length > 0 ? named : hosts.list().map(({ name }) => name);
  if (names.length === 0) return { data: [], text: () => "there are no hosts" };
  const [only] = names;
  // One that was named says itself what is wrong; of several, one that does not answer does not hide the others.
  const checked = await Promise.all(
    names.map(async (name): Promise<Checked> => {
      try {
        return { name, ...(await hosts.check(name)) };
      } catch (error) {
        if (!(error instanceof Problem) || (named.length === 1 && name === only)) throw error;
        return { name, error: problemDocument(error), problem: error };
      }
    }),
  );
  const bad = checked.some((each) => "problem" in each || missingOf(each).length > 0);
  return {
    data: checked.map((each) => ("problem" in each ? { name: each.name, error: each.error } : each)),
    text: () =>
      checked
        .map((each) =>
          "problem" in each
            ? `${each.name}\n  error ${each.problem.code}: ${each.problem.message}\n  hint:  ${each.problem.hint ?? ""}`
            : reportText(each.name, each),
        )
        .join("\n\n"),
    exit: bad ? 1 : 0,
  };
};

function missingOf({ findings }: HostReport): readonly string[] {
  return findings.filter(({ state }) => state === "missing").map(({ key }) => key);
}

const MARKS: Readonly<Record<HostFinding["state"], string>> = { ok: "ok", lacking: "lacking", missing: "MISSING" };

function reportText(name: string, { findings }: HostReport): string {
  const lines = table(findings.map(({ key, state, found }) => [MARKS[state], key, found])).split("\n");
  return [
    name,
    ...findings.flatMap(({ advice }, index) => [
      `  ${lines[index] ?? ""}`.trimEnd(),
      ...(advice === undefined ? [] : [`             -> ${advice}`]),
    ]),
  ].join("\n");
}

export const rm: Handler = async (context, given) => {
  const [name = ""] = given.arguments;
  const hosts = await (await context.garth()).hosts();
  const { root } = hosts.get(name);
  const purge = given.flag("purge");
  await hosts.remove(name, { purge });
  return {
    data: { removed: name, purged: purge },
    text: () => `removed ${name}${purge ? `, and ${root} there` : `; what is ours there stays in ${root}`}`,
  };
};

export const gc: Handler = async (context, given) => {
  const [name = ""] = given.arguments;
  const garth = await context.garth();
  const hosts = await garth.hosts();
  const older = given.text("older-than");
  const olderThanMs = older === undefined ? (await garth.settings()).settings.gcOlderThanMs : parseDuration(older);
  const { removed, freedBytes } = await hosts.store(name).collect({ olderThanMs });
  return { data: { removed, freedBytes }, text: () => `removed ${removed} items, ${formatSize(freedBytes)} freed` };
};
