/** garth sandbox: through the gateway, whoever serves it. */
import { formatDuration, parseDuration, Problem } from "../../base/index.ts";
import type { Given, Handler } from "../command.ts";
import { type GatewayClient, isObject, openGatewayClient } from "../gateway-client.ts";
import { execute } from "../gateway-exec.ts";
import { usageProblem } from "../parse.ts";
import { harmless, table } from "../render/text.ts";

type Json = Readonly<Record<string, unknown>>;

const PAGE = 100;

function objectOf(value: unknown): Json {
  if (isObject(value)) return value;
  throw new Problem({ code: "E_NOT_A_GATEWAY", message: "the gateway answered something else than a document" });
}

function listOf(value: unknown): readonly Json[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

const textOf = (document: Json, name: string): string => {
  const value = document[name];
  return typeof value === "string" ? value : value === undefined || value === null ? "" : JSON.stringify(value);
};

/** "a=1,b=2" @throws Problem E_USAGE */
function pairs(given: Given, option: string): Readonly<Record<string, string>> {
  const words = (given.text(option) ?? "").split(",").filter((word) => word !== "");
  return Object.fromEntries(
    words.map((word) => {
      const at = word.indexOf("=");
      if (at < 1) throw usageProblem(`--${option} ${word}: expected NAME=VALUE`, `--${option} a=1,b=2`);
      return [word.slice(0, at), word.slice(at + 1)];
    }),
  );
}

function blocks(given: Given, option: string): readonly string[] | undefined {
  return given
    .text(option)
    ?.split(",")
    .map((word) => word.trim())
    .filter((word) => word !== "");
}

/** Whole seconds are all that the API has; less than one is one. */
function seconds(text: string): number {
  return Math.max(1, Math.ceil(parseDuration(text) / 1000));
}

function newSandbox(given: Given): Json {
  const [templateID] = given.arguments;
  const [allowOut, denyOut] = [blocks(given, "allow-out"), blocks(given, "deny-out")];
  const timeout = given.text("timeout");
  const network = { ...(allowOut === undefined ? {} : { allowOut }), ...(denyOut === undefined ? {} : { denyOut }) };
  return {
    templateID,
    metadata: pairs(given, "metadata"),
    envVars: pairs(given, "env"),
    ...(timeout === undefined ? {} : { timeout: seconds(timeout) }),
    ...(given.flag("pause") || given.flag("auto-resume") ? { autoPause: true } : {}),
    ...(given.flag("auto-resume") ? { autoResume: { enabled: true } } : {}),
    ...(given.flag("no-internet") ? { allow_internet_access: false } : {}),
    ...(Object.keys(network).length === 0 ? {} : { network }),
  };
}

export const create: Handler = async (context, given) => {
  const client = await openGatewayClient(context);
  const made = objectOf(await client.call("POST", "/v2/sandboxes", newSandbox(given)));
  const id = textOf(made, "sandboxID");
  const text = () =>
    table([
      ["sandbox", id],
      ["template", textOf(made, "templateID")],
      ["domain", textOf(made, "domain") || "-"],
      ["run", `garth sandbox exec ${id} -- COMMAND`],
    ]);
  return { data: made, text };
};

async function everySandbox(client: GatewayClient, states: string): Promise<readonly Json[]> {
  const found: Json[] = [];
  let next: string | null = "";
  while (next !== null) {
    const query = new URLSearchParams({ state: states, limit: String(PAGE), ...(next === "" ? {} : { nextToken: next }) });
    const response: Response = await client.send("GET", `/v2/sandboxes?${query.toString()}`, {});
    found.push(...listOf(await response.json()));
    next = response.headers.get("x-next-token");
  }
  return found;
}

export const ls: Handler = async (context, given) => {
  const client = await openGatewayClient(context);
  const sandboxes = await everySandbox(client, given.flag("running") ? "running" : "running,paused");
  const until = (document: Json): string => {
    const left = Date.parse(textOf(document, "endAt")) - context.now();
    return document["state"] === "running" && left > 0 ? formatDuration(left) : "-";
  };
  const text = () =>
    sandboxes.length === 0
      ? ""
      : table([
          ["sandbox", "template", "state", "time left", "cpus", "memory", "metadata"],
          ...sandboxes.map((one) => [
            textOf(one, "sandboxID"),
            textOf(one, "alias") || textOf(one, "templateID"),
            textOf(one, "state"),
            until(one),
            textOf(one, "cpuCount"),
            `${textOf(one, "memoryMB")} MiB`,
            harmless(
              Object.entries(isObject(one["metadata"]) ? one["metadata"] : {})
                .map(([name, value]) => `${name}=${String(value)}`)
                .join(","),
            ) || "-",
          ]),
        ]);
  return { data: sandboxes, text };
};

export const kill: Handler = async (context, given) => {
  const client = await openGatewayClient(context);
  for (const id of given.arguments) await client.call("DELETE", `/sandboxes/${encodeURIComponent(id)}`);
  return { data: { killed: given.arguments }, text: () => given.arguments.map((id) => `${id}: killed`).join("\n") };
};

export const logs: Handler = async (context, given) => {
  const client = await openGatewayClient(context);
  const [id = ""] = given.arguments;
  const found = objectOf(await client.call("GET", `/v2/sandboxes/${encodeURIComponent(id)}/logs`));
  const lines = listOf(found["logs"]).map((line) => textOf(line, "message"));
  return { data: { sandbox: id, lines }, text: () => lines.map(harmless).join("\n") };
};

export const exec: Handler = async (context, given) => {
  const client = await openGatewayClient(context);
  const [id = "", program = "", ...rest] = given.arguments;
  const sandbox = objectOf(await client.call("GET", `/sandboxes/${encodeURIComponent(id)}`));
  const timeout = given.text("timeout");
  const json = given.flag("json");
  const parts = { stdout: "", stderr: "" };
  const end = await execute(
    client,
    {
      sandbox: id,
      token: textOf(sandbox, "envdAccessToken"),
      argv: [program, ...rest],
      user: given.text("user"),
      cwd: given.text("cwd"),
      env: pairs(given, "env"),
      timeoutMs: timeout === undefined ? undefined : parseDuration(timeout),
      input: process.stdin,
      signal: context.signal,
    },
    (chunk, channel) => {
      if (json) parts[channel] += Buffer.from(chunk).toString();
      else if (channel === "stderr") context.rawError(chunk);
      else context.raw(chunk);
    },
  );
  if (end.code < 0) context.note(`${id}: ${program} was ended (${end.status})`);
  return { data: { sandbox: id, ...end, ...parts }, text: () => "", exitAs: end.code < 0 ? 1 : end.code };
};
