/** Registers what a build made: analyse, rewrite, canonicalise, commit. */
import { hashPart, Problem, type StorePath } from "../base/index.ts";
import { analyse, type Analysis, replaceIn, scanFor, walkReplaced } from "./analyse.ts";
import { registered, unlocking } from "./add.ts";
import { canonicalise } from "./canonical.ts";
import type { Committer } from "./commit.ts";
import type { StoreContext } from "./context.ts";
import { outOfSpace } from "./errors.ts";
import type { Prepared } from "./plan.ts";
import { joinPath } from "./tree.ts";
import type { Candidate, Registration, StoreItem } from "./types.ts";

type Named = readonly [output: string, candidate: Candidate];

/** Outputs in an order in which each comes after those it refers to. @throws Problem E_OUTPUT_CYCLE with the path */
async function ordered(context: StoreContext, outputs: readonly Named[]): Promise<readonly Named[]> {
  if (outputs.length < 2) return outputs;
  const byHash = new Map<string, Named>();
  for (const named of outputs) if (named[1].scratch !== undefined) byHash.set(hashPart(named[1].scratch), named);
  const edges = new Map<Named, readonly Named[]>();
  for (const named of outputs) {
    const found = await scanFor(context, named[1].physical, byHash.keys(), unlocking(context));
    edges.set(
      named,
      [...byHash].flatMap(([hash, other]) => (found.has(hash) && other !== named ? [other] : [])),
    );
  }
  const order: Named[] = [];
  const visit = (named: Named, trail: readonly Named[]): void => {
    if (order.includes(named)) return;
    const from = trail.indexOf(named);
    if (from >= 0) {
      const cycle = [...trail.slice(from), named].map(([output]) => output).join(" -> ");
      throw new Problem({
        code: "E_OUTPUT_CYCLE",
        message: `the outputs refer to each other in a circle: ${cycle}`,
        hint: "put what they share into one output; an output's name is made from what it refers to, so it must be known first",
      });
    }
    for (const next of edges.get(named) ?? []) visit(next, [...trail, named]);
    order.push(named);
  };
  for (const named of outputs) visit(named, []);
  return order;
}

async function analyseAll(context: StoreContext, registration: Registration): Promise<ReadonlyMap<Named, Analysis>> {
  const outputs: Named[] = Object.entries(registration.outputs);
  const scratches = new Set(outputs.flatMap(([, { scratch }]) => (scratch === undefined ? [] : [scratch])));
  const done = new Map<Named, Analysis>();
  for (const named of await ordered(context, outputs)) {
    const [, candidate] = named;
    const allowed = candidate.referenceCandidates.filter((path) => !scratches.has(path));
    const siblings = [...done].flatMap(([[, { scratch }], { path }]) =>
      scratch === undefined ? [] : [[hashPart(scratch), path] as const],
    );
    const subject = {
      physical: candidate.physical,
      name: candidate.name,
      self: candidate.scratch === undefined ? undefined : hashPart(candidate.scratch),
      candidates: new Map(allowed.map((path) => [hashPart(path), path])),
      siblings: new Map(siblings),
    };
    done.set(named, await analyse(context, subject, unlocking(context)));
  }
  return done;
}

/** Puts the final hashes where the builder wrote scratch ones. Times and modes come after. */
async function rewrite(context: StoreContext, { edits, entries }: Analysis): Promise<void> {
  const { files, host } = context;
  for (const { entry, offset, hash } of edits.files) {
    if (!host.isRoot) files.chmod(entry.path, entry.stat.mode | 0o600);
    const descriptor = files.open(entry.path, "r+");
    try {
      await files.writeBeside(descriptor, Buffer.from(edits.replacements.get(hash) ?? hash, "latin1"), offset);
    } finally {
      files.close(descriptor);
    }
  }
  // Children first, so that the path of each is still the one that was walked.
  for (const entry of entries.toReversed()) {
    if (entry.parent === undefined) continue;
    const name = replaceIn(entry.name, edits.replacements);
    const target = entry.target === undefined ? undefined : replaceIn(entry.target, edits.replacements);
    if (name === entry.name && target === entry.target) continue;
    if (!host.isRoot) files.chmod(entry.parent.path, 0o755);
    if (target !== undefined && target !== entry.target) {
      files.unlink(entry.path);
      files.symlink(target, entry.path);
    }
    if (name !== entry.name) files.rename(entry.path, joinPath(entry.parent.path, name));
  }
}

async function prepare(context: StoreContext, candidate: Candidate, drv: StorePath, analysis: Analysis): Promise<Prepared> {
  const edited = analysis.edits.replacements.size > 0;
  if (edited) await rewrite(context, analysis);
  const entries = edited ? walkReplaced(context, candidate.physical, new Map(), {}) : analysis.entries;
  canonicalise(context.host, entries, !context.host.isRoot);
  return {
    path: analysis.path,
    from: candidate.physical,
    narSha256: analysis.narSha256,
    narSizeBytes: analysis.narSizeBytes,
    references: analysis.references,
    deriver: candidate.deriver ?? drv,
  };
}

/**
 * @throws Problem E_REFERENCE_OUTSIDE_CLOSURE, E_OUTPUT_CYCLE, E_BAD_FILE_TYPE, E_SETUID_OUTPUT, E_NO_SPACE; the candidates are
 * then still where they were, for `--keep-failed`
 */
export async function register(
  context: StoreContext,
  committer: Committer,
  registration: Registration,
): Promise<Readonly<Record<string, StoreItem>>> {
  try {
    const analyses = await analyseAll(context, registration);
    const items: Prepared[] = [];
    const outputs: Record<string, StorePath> = {};
    for (const [[output, candidate], analysis] of analyses) {
      items.push(await prepare(context, candidate, registration.drv, analysis));
      outputs[output] = analysis.path;
    }
    await committer.commit({ items, realised: [{ drv: registration.drv, outputs }] });
    return Object.fromEntries(Object.entries(outputs).map(([output, path]) => [output, registered(context, path)]));
  } catch (error) {
    throw outOfSpace(error, context, `registering the outputs of ${registration.drv}`);
  }
}

export async function examine(context: StoreContext, registration: Registration): Promise<Readonly<Record<string, StoreItem>>> {
  const items = [...(await analyseAll(context, registration))].map(([[output, candidate], analysis]): [string, StoreItem] => [
    output,
    {
      path: analysis.path,
      narSha256: analysis.narSha256,
      narSizeBytes: analysis.narSizeBytes,
      references: analysis.references,
      deriver: candidate.deriver ?? registration.drv,
      registeredAtMs: context.now(),
      lastUsedAtMs: context.now(),
    },
  ]);
  return Object.fromEntries(items);
}
