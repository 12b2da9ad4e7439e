/** garth daemon, and the keys that its gateway asks for. */
import { formatDuration, parseDuration } from "../../base/index.ts";
import { formatLine, type KeyRecord, type LogFormat, openDaemon, openKeys, untilTold } from "../../daemon/index.ts";
import type { Handler } from "../command.ts";
import { usageProblem } from "../parse.ts";
import { table } from "../render/text.ts";

function logFormat(text: string | undefined): LogFormat {
  if (text === undefined || text === "text") return "text";
  if (text === "json") return "json";
  throw usageProblem(`--log ${text}: there is no such format`, "text, json");
}

export const daemon: Handler = async (context, given) => {
  const format = logFormat(given.text("log"));
  const garth = await context.garth();
  const opened = openDaemon({
    garth,
    listen: given.text("listen"),
    open: given.flag("open"),
    requests: given.flag("verbose"),
    log: (level, event, facts = {}) => context.note(formatLine({ level, event, facts }, context.now(), format)),
    now: context.now,
  });
  // Told before it listens, it ends as soon as it does.
  const told = untilTold(
    () => void opened.then((running) => running.reload()),
    () => process.exit(130),
  );
  const running = await opened;
  const signal = await told;
  context.note(formatLine({ level: "info", event: "ending", facts: { signal } }, context.now(), format));
  await running.close();
  return { data: { ended: signal, url: running.url }, text: () => "" };
};

const SCOPES = "read,exec";

function words(text: string): readonly string[] {
  return text
    .split(",")
    .map((word) => word.trim())
    .filter((word) => word !== "");
}

function shown(record: KeyRecord, now: number): readonly string[] {
  const { id, tenant, scopes, sandboxesMax, createdAtMs, expiresAtMs, label } = record;
  const ends =
    expiresAtMs === undefined ? "never" : expiresAtMs <= now ? "has expired" : `in ${formatDuration(expiresAtMs - now)}`;
  const limit = sandboxesMax === undefined ? "-" : String(sandboxesMax);
  return [id, tenant, scopes.join(","), limit, ends, new Date(createdAtMs).toISOString(), label];
}

export const keyAdd: Handler = async (context, given) => {
  const { now } = context;
  const keys = openKeys(await context.garth(), now);
  const [tenant = ""] = given.arguments;
  const [max, expires, label] = [given.text("max"), given.text("expires"), given.text("label")];
  if (max !== undefined && !/^\d{1,7}$/.test(max)) throw usageProblem(`--max ${max}: expected a whole number`, "0, 4, 100");
  const { key, record } = keys.add({
    tenant,
    scopes: words(given.text("scopes") ?? SCOPES),
    ...(max === undefined ? {} : { sandboxesMax: Number(max) }),
    ...(expires === undefined ? {} : { expiresAtMs: now() + parseDuration(expires) }),
    ...(label === undefined ? {} : { label }),
  });
  const text = () =>
    `${key}\n\nThis is the only time it is shown. ${tenant} may ${record.scopes.join(" and ")}; the key's id is ${record.id}.`;
  return { data: { key, ...record }, text };
};

export const keyLs: Handler = async (context) => {
  const keys = openKeys(await context.garth(), context.now).list();
  const head = ["id", "tenant", "scopes", "sandboxes", "ends", "made", "label"];
  return {
    data: keys,
    text: () => (keys.length === 0 ? "" : table([head, ...keys.map((record) => shown(record, context.now()))])),
  };
};

export const keyRm: Handler = async (context, given) => {
  const keys = openKeys(await context.garth(), context.now);
  for (const id of given.arguments) keys.remove(id);
  return { data: { removed: given.arguments.length }, text: () => `${given.arguments.length} removed` };
};
