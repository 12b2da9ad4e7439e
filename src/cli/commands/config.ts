/** garth config. */
import type { Handler } from "../command.ts";
import { table } from "../render/text.ts";

export const show: Handler = async (context) => {
  const garth = await context.garth();
  const { settings, origins } = await garth.settings();
  const { places } = garth;
  const rows = Object.entries(settings).map(([name, value]) => [
    name,
    String(value),
    Object.entries(origins).find(([key]) => key === name)?.[1] ?? "",
  ]);
  const text = () =>
    [table(rows), "", table(Object.entries(places).map(([name, place]) => [name, place === "" ? "/" : String(place)]))].join(
      "\n",
    );
  return { data: { settings, origins, places }, text };
};
