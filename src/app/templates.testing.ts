/**
 * The example's templates, for tests that need a real machine: made once for all of them, in a root that is kept in /var/tmp between
 * runs and may be removed at any time. Making `micro` takes a minute or two, `debian-12` another two; finding them a second.
 */
import { openGarth, type Garth } from "./index.ts";

/** 6 GB. CONTRIBUTING.md says so too. */
export const KEPT_ROOT = "/var/tmp/garth-tests-kept";
const EXAMPLE = new URL("../../examples/templates", import.meta.url).pathname;

export type ExampleTemplate = "micro" | "debian-12" | "interpreter";
const EXPORTS: Readonly<Record<ExampleTemplate, string>> = {
  micro: "micro",
  "debian-12": "debian12",
  interpreter: "interpreter",
};

/** A Garth whose templates hold those that are named. The caller closes it. */
export async function garthWithTemplates(...names: readonly ExampleTemplate[]): Promise<Garth> {
  const garth = openGarth({ root: KEPT_ROOT, env: process.env, workingDirectory: "/" });
  for (const name of names) {
    await garth
      .ship(() => undefined)
      .run({
        file: EXAMPLE,
        only: EXPORTS[name],
        until: "template",
        jobs: 2,
        keepGoing: false,
        keepFailed: false,
        keyFile: `${KEPT_ROOT}/keys/repository.pem`,
        onStage: () => undefined,
      });
  }
  return garth;
}
