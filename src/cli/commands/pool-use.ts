/** garth pool: what is done with one machine. */
import { formatDuration, Problem } from "../../base/index.ts";
import type { Handler } from "../command.ts";
import { table } from "../render/text.ts";
import { openedPools } from "./pool.ts";

export const checkout: Handler = async (context, given) => {
  const pools = await openedPools(context, given);
  const [name = ""] = given.arguments;
  // Nobody else has it: the clock and the process make it one of a kind.
  const holder = given.text("holder") ?? `cli-${context.now().toString(36)}-${Math.floor(performance.now() * 1000).toString(36)}`;
  const snapshot = given.text("snapshot");
  const request = { holder, signal: context.signal, ...(snapshot === undefined ? {} : { snapshot }) };
  const { entry, how, miss, durationMs } = await pools.checkout(name, request);
  if (miss)
    context.note(
      `pool       ${name}: nothing was ready; ${entry.id} was ${how === "cold" ? "booted" : "cloned from the snapshot"}`,
    );
  const text = () =>
    table([
      ["machine", entry.id],
      ["address", entry.address],
      ["ssh", entry.ssh === undefined ? "-" : `${entry.ssh.address} port ${entry.ssh.port}`],
      ["process", String(entry.pid ?? "-")],
      ["holder", holder],
      ["came", `${how}, in ${formatDuration(durationMs)}`],
      ["shell", `garth pool ssh ${entry.id}`],
    ]);
  return { data: { ...entry, how, miss, checkout_ms: Math.round(durationMs * 10) / 10 }, text };
};

export const giveBack: Handler = async (context, given) => {
  const pools = await openedPools(context, given);
  for (const id of given.arguments) await pools.return(id);
  return { data: { returned: given.arguments }, text: () => given.arguments.map((id) => `${id}: destroyed`).join("\n") };
};

export const pause: Handler = async (context, given) => {
  const pools = await openedPools(context, given);
  const [id = ""] = given.arguments;
  await pools.pause(id);
  return { data: pools.entry(id), text: () => `${id}: paused` };
};

export const resume: Handler = async (context, given) => {
  const pools = await openedPools(context, given);
  const [id = ""] = given.arguments;
  await pools.resume(id);
  return { data: pools.entry(id), text: () => `${id}: runs` };
};

export const exec: Handler = async (context, given) => {
  const pools = await openedPools(context, given);
  const [id = "", program = "", ...rest] = given.arguments;
  const guest = await pools.guest(id);
  const user = given.text("user");
  const json = given.flag("json");
  const parts: { stdout: string; stderr: string } = { stdout: "", stderr: "" };
  const running = await guest.spawn({ argv: [program, ...rest], ...(user === undefined ? {} : { user }) }, (chunk, channel) => {
    if (json) parts[channel === "stderr" ? "stderr" : "stdout"] += Buffer.from(chunk).toString();
    else if (channel === "stderr") context.rawError(chunk);
    else context.raw(chunk);
  });
  const stop = (): void => void running.signal("SIGTERM");
  context.signal.addEventListener("abort", stop, { once: true });
  const end = await running.exited;
  context.signal.removeEventListener("abort", stop);
  if (end.lost) throw lost(id);
  const status = end.signal === undefined ? end.code : 1;
  if (end.signal !== undefined) context.note(`${id}: ${program} was ended by ${end.signal}`);
  return { data: { machine: id, ...end, ...parts }, text: () => "", exitAs: status };
};

function lost(id: string): Problem {
  return new Problem({
    code: "E_GUEST_LOST",
    message: `running a command in ${id}: the connection ended before the command did`,
    hint: `\`garth pool list\` says whether the machine is there`,
  });
}

function shellWord(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

export const ssh: Handler = async (context, given) => {
  const pools = await openedPools(context, given);
  const [id = "", ...words] = given.arguments;
  const garth = await context.garth();
  const { address } = await pools.guest(id);
  const { sshWords } = await garth.guest();
  const argv = [...sshWords(address), ...words];
  if (given.flag("print")) return { data: { argv }, text: () => argv.map(shellWord).join(" ") };
  const [program = "ssh", ...rest] = argv;
  const { status } = await garth.host.attach({ argv: [program, ...rest], doing: `opening a shell in ${id}` });
  return { data: { machine: id, status }, text: () => "", exitAs: status ?? 1 };
};
