/** One line for each thing that happened, for pipes and logs. Pure. */
import { formatDuration } from "../../base/index.ts";
import type { BuildEvent } from "../../build/index.ts";
import { harmless } from "./text.ts";

export interface PlainOptions {
  /** Every line the builders print, too. */
  readonly verbose: boolean;
}

type Alternative = Extract<BuildEvent, { readonly kind: "alternative" }>;

/** When it is chosen, the places that were missed have been told one by one just before. */
function alternativeLines({ took, insteadOf, reasons, remembered }: Alternative, { verbose }: PlainOptions): readonly string[] {
  const line = `took     ${took} instead of ${insteadOf.join(", ")}`;
  if (!remembered) return [`${line}, whose sources cannot be had`];
  if (!verbose) return [];
  return [`${line}, as before (--retry-alternatives tries again)`, ...reasons.map((reason) => `         ${harmless(reason)}`)];
}

function siteName(host: string | undefined): string {
  return host ?? "this machine";
}

/** Turns events into lines; it remembers the labels of steps. */
export function plainLines(options: PlainOptions): (event: BuildEvent) => readonly string[] {
  const labels = new Map<string, string>();
  const label = (key: string) => labels.get(key) ?? key.slice(0, 12);
  return (event) => {
    switch (event.kind) {
      case "graph":
        for (const step of event.steps) labels.set(step.key, step.label);
        return [];
      case "present":
      case "phase":
      case "fetch-finished":
      case "world-finished":
      case "registering":
      case "probing":
        return [];
      case "fetch-started":
        return [`fetch    ${event.what} from ${event.from}`];
      case "fetch-failed":
        return [`missed   ${event.from}: ${harmless(event.reason)}`];
      case "alternative":
        return alternativeLines(event, options);
      case "world-started":
        return [`world    ${event.name}, ${event.packages} packages`];
      case "world-changed":
        return event.lines.map((line) => `lock     ${line}`);
      case "waiting":
        return [`wait     ${label(event.key)}: another Garth (${event.holder}) builds it`];
      case "started":
        return [
          `build    ${label(event.key)}${event.on === undefined ? "" : ` on ${event.on}`}${event.expectedMs === undefined ? "" : ` (about ${formatDuration(event.expectedMs)})`}`,
        ];
      case "output":
        return options.verbose ? event.text.split("\n").map((line) => `${label(event.key)}> ${harmless(line)}`) : [];
      case "built":
        return [`built    ${label(event.key)} in ${formatDuration(event.durationMs)}: ${event.out}`];
      case "failed":
        return [`FAILED   ${label(event.key)}: ${event.code}: ${harmless(event.message)}`];
      case "limit":
        return [`limit    ${label(event.key)}: ${event.limit} ${event.value} reached`];
      case "cancelled":
        return [`stopped  ${label(event.key)}`];
      case "kept":
        return [
          `kept     ${label(event.key)}: ${event.directory}`,
          ...(event.enter === undefined ? [] : [`         enter it with: ${event.enter}`]),
        ];
      case "moved":
        return [
          `moved    ${label(event.key)} from ${siteName(event.from)} to ${siteName(event.to)}: ${event.code}: ${harmless(event.reason)}`,
        ];
      case "awaited":
        return [
          `awaits   ${label(event.key)}: ${event.host}, for up to ${formatDuration(event.upToMs)}: ${harmless(event.reason)}`,
        ];
      case "checked":
        return [`checked  ${label(event.key)}: ${event.same ? "the same bytes again" : "DIFFERENT"}`];
    }
  };
}
