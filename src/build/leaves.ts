/** Making what the steps stand on: fetching sources, making worlds. Their events go to the first step that wants them. */
import { Problem, type StorePath } from "../base/index.ts";
import type { Derivation, Graph, Step } from "../recipe/index.ts";
import { pin, type Building } from "./context.ts";
import { type FetchContext, realiseFetch } from "./fetch/index.ts";
import type { SourceNode, WorldNode } from "./nodes.ts";
import { realiseWorld, type WorldContext } from "./world/index.ts";

export function fetchContext({ shop, options }: Pick<Building, "shop" | "options">, key: string): FetchContext {
  return {
    host: shop.host,
    store: shop.store,
    distfiles: shop.directories.distfiles,
    system: shop.host.system,
    environment: shop.environment,
    emit: (event) => shop.emit({ ...event, key }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  };
}

/** A build, or what stands for one where a leaf is made by itself, which is for this machine. */
type Leafing = Pick<Building, "shop" | "options"> & { readonly graph?: Pick<Graph, "system"> };

export function worldContext({ shop, options, graph }: Leafing, key: string): WorldContext {
  const { store, records } = shop;
  const system = graph?.system ?? shop.host.system;
  return { ...fetchContext({ shop, options }, key), system, store, records, emit: (event) => shop.emit({ ...event, key }) };
}

/** @throws Problem of the fetcher or the world */
export async function makeLeaf(building: Leafing, node: SourceNode | WorldNode): Promise<StorePath> {
  const { shop } = building;
  const path = node.kind === "source" ? await fetchSource(building, node) : await makeWorld(building, node);
  if (pin(shop, [path]).length > 0) throw collected(path);
  return path;
}

async function fetchSource(building: Pick<Building, "shop" | "options">, node: SourceNode): Promise<StorePath> {
  return (await realiseFetch(fetchContext(building, node.step), node.fetch)).path;
}

async function makeWorld(building: Leafing, { key, world }: WorldNode): Promise<StorePath> {
  const { path } = await realiseWorld(worldContext(building, key), world);
  return path;
}

/**
 * The directory of the root that a step is built in. A goal that is there does without it, so it may have been collected; then it
 * is made again.
 *
 * @throws Problem of the world
 */
export async function buildRootOf(building: Leafing, step: Step, derivation: Derivation): Promise<string> {
  const { store } = building.shop;
  const { buildRoot } = step.recipe;
  if (buildRoot.kind === "host" || derivation.buildRoot.kind === "host") return "/";
  const known = derivation.buildRoot.path;
  if (pin(building.shop, [known]).length === 0) return store.physical(known);
  const { path } = await realiseWorld(worldContext(building, step.key), buildRoot.world);
  if (pin(building.shop, [path]).length > 0) throw collected(path);
  return store.physical(path);
}

/** gc took it between the look-up and the use. */
export function collected(path: StorePath): Problem {
  return new Problem({
    code: "E_COLLECTED",
    message: `${path} was removed by another process's gc while it was about to be used`,
    hint: "run the same again",
  });
}
