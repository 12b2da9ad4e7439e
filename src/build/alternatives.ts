/**
 * Alternatives: the first choice whose sources can be had takes the place of the group.
 *
 * Which it was is remembered, with the reason the ones before it were not, so that the next run asks no network and makes the
 * same derivation. `retryAlternatives` forgets it.
 */
import { Problem } from "../base/index.ts";
import { type Graph, type Step, stepLabel } from "../recipe/index.ts";
import type { Workshop } from "./context.ts";
import { knownFetchPath, realiseFetch } from "./fetch/index.ts";
import { fetchContext } from "./leaves.ts";
import type { BuildEvent, BuildOptions } from "./types.ts";

/** Key of each group that has alternatives -> the choice taken. @throws Problem E_NO_ALTERNATIVE, E_INTERRUPTED */
export async function chooseAlternatives(
  shop: Workshop,
  graph: Graph,
  options: BuildOptions,
): Promise<ReadonlyMap<string, Step>> {
  const chosen = new Map<string, Step>();
  for (const group of graph.steps) {
    const { fallbacks } = group;
    if (fallbacks !== undefined) chosen.set(group.key, await choose(shop, group, [group, ...fallbacks], options));
  }
  return chosen;
}

async function choose(shop: Workshop, group: Step, choices: readonly Step[], options: BuildOptions): Promise<Step> {
  const remembered = options.retryAlternatives === true ? undefined : shop.records.choice(group.key);
  const before = choices.findIndex(
    (choice, at) => remembered !== undefined && identityOf(group, choice, at) === remembered.choice,
  );
  const known = choices[before];
  if (known !== undefined && remembered !== undefined) {
    tell(shop, group, choices, before, { reasons: remembered.reason.split("\n"), remembered: true });
    return known;
  }
  const reasons: string[] = [];
  for (const [at, choice] of choices.entries()) {
    const refused = await whyNot(shop, group, choice, options);
    if (refused !== undefined) {
      reasons.push(...refused.map((line) => `${stepLabel(choice)}: ${line}`));
      continue;
    }
    shop.records.noteChoice(group.key, { choice: identityOf(group, choice, at), reason: reasons.join("\n") });
    tell(shop, group, choices, at, { reasons, remembered: false });
    return choice;
  }
  throw new Problem({
    code: "E_NO_ALTERNATIVE",
    message: `choosing an alternative of ${group.recipe.name}: the sources of none can be had`,
    details: reasons,
    hint: "put a source into the directory of distfiles, or try again where there is a network",
  });
}

/** The group's own key stands for its first choice. */
function identityOf(group: Step, choice: Step, at: number): string {
  return at === 0 ? `${group.key}/first` : choice.key;
}

type Told = Pick<Extract<BuildEvent, { readonly kind: "alternative" }>, "reasons" | "remembered">;

function tell(shop: Workshop, group: Step, choices: readonly Step[], at: number, told: Told): void {
  const took = choices[at];
  if (at === 0 || took === undefined) return;
  const insteadOf = choices.slice(0, at).map(stepLabel);
  shop.emit({ kind: "alternative", key: group.key, took: stepLabel(took), insteadOf, ...told });
}

/** undefined when all its sources are there now. */
async function whyNot(shop: Workshop, group: Step, choice: Step, options: BuildOptions): Promise<readonly string[] | undefined> {
  const context = fetchContext({ shop, options }, group.key);
  for (const fetch of Object.values(choice.recipe.sources)) {
    const known = knownFetchPath(context, fetch);
    if (known !== undefined && shop.store.isValid(known)) continue;
    try {
      await realiseFetch(context, fetch);
    } catch (error) {
      if (!(error instanceof Problem) || error.exit === 130 || error.code === "E_NO_SPACE") throw error;
      // Of a fetch the places say it all, one by one.
      return error.details.length > 0 ? error.details : [error.message];
    }
  }
  return undefined;
}
