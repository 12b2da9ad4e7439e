/** garth receipt. */
import type { Handler } from "../command.ts";
import { table } from "../render/text.ts";

export const ls: Handler = async (context) => {
  const { receipts } = await context.garth();
  const found = receipts.list();
  const rows = found.map(({ name, writtenAtMs }) => [new Date(writtenAtMs).toISOString().slice(0, 19), name]);
  return { data: found, text: () => table(rows) };
};

export const show: Handler = async (context, given) => {
  const { receipts } = await context.garth();
  const { fields } = receipts.show(given.arguments[0] ?? "");
  const text = () =>
    Object.entries(fields)
      .map(([key, value]) => `${key}=${value}`)
      .join("\n");
  return { data: fields, text };
};
