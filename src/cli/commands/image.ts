/** garth image: what is on a disk, the same disk in another container, and what other readers say of it. */
import { formatSize } from "../../base/index.ts";
import type { Garth } from "../../app/index.ts";
import type { Container, Converted, InspectedImage } from "../../image/index.ts";
import type { Context, Handler } from "../command.ts";
import { containerFor } from "../containers.ts";
import { digestOf, type FoundImage, imageOf, requireRaw } from "../image-of.ts";
import { absolute } from "../paths.ts";
import { table } from "../render/text.ts";

export const inspect: Handler = async (context, given) => {
  const garth = await context.garth();
  const image = await imageOf(context, given, given.arguments[0] ?? "");
  const { file, kind } = image;
  if (kind.container !== "raw") {
    const hint = `garth image convert ${file} FILE.raw`;
    const text = () =>
      `${file}: a ${kind.container} disk of ${formatSize(kind.diskBytes)}; what is on it is seen when it is raw: ${hint}`;
    return { data: { file, ...kind }, text };
  }
  const found = (await garth.image()).inspectImage(garth.host, file);
  return { data: { ...found, ...kind, storePath: image.storePath }, text: () => inspectedText(found) };
};

function inspectedText(found: InspectedImage): string {
  const partitions = found.partitions.map(({ number, name, fileSystem, sizeBytes, freeBytes, files }) => [
    `  ${number}`,
    name,
    fileSystem,
    formatSize(sizeBytes),
    `${files} files${freeBytes === undefined ? "" : `, ${formatSize(freeBytes)} free`}`,
  ]);
  return [
    table([
      ["disk", found.file],
      ["size", `${formatSize(found.sizeBytes)} (${found.sizeBytes} bytes)`],
      ["guid", found.diskGuid ?? "-"],
      ["system", found.system ?? "-"],
    ]),
    ...found.findings.map((finding) => `wrong with its table: ${finding}`),
    "partitions",
    table(partitions, [0, 3]),
    ...(found.esp.length === 0
      ? []
      : [
          "on the EFI system partition",
          table(
            found.esp.map(({ path, sizeBytes }) => [`  ${formatSize(sizeBytes)}`, path]),
            [0],
          ),
        ]),
    ...(found.storeItems.length === 0 ? [] : ["in its store", ...found.storeItems.map((item) => `  ${item}`)]),
  ].join("\n");
}

export const convert: Handler = async (context, given) => {
  const garth = await context.garth();
  const [word = "", target = ""] = given.arguments;
  const container = containerFor(given.text("format"), target);
  const image = await imageOf(context, given, word);
  const made = await convertTo(context, garth, image, { to: absolute(context, target), container });
  return { data: made, text: () => convertedText(made) };
};

interface MadeCopy extends Converted {
  readonly file: string;
  readonly container: Container;
}

/** @throws Problem E_FILE_EXISTS, E_NOT_AN_IMAGE (exit 2), E_TOOL_MISSING (exit 3), E_NO_SPACE */
export async function convertTo(
  context: Context,
  garth: Garth,
  image: FoundImage,
  { to, container }: { readonly to: string; readonly container: Container },
): Promise<MadeCopy> {
  const { convertImage, makeRaw } = await garth.image();
  const { signal } = context;
  if (image.kind.container !== "raw" && container === "raw")
    return { file: to, container, ...(await makeRaw(garth.host, image.file, image.kind, to)) };
  requireRaw(image, `making ${container} of`);
  // The same disk gives the same VHD: its number follows from what the disk is.
  const seed = container.startsWith("vhd") ? await digestOf(garth, image, signal) : "";
  return { file: to, container, ...(await convertImage(garth.host, { from: image.file, to, container, seed, signal })) };
}

export function convertedText({ file, container, sizeBytes, sha256 }: MadeCopy): string {
  return `${file}: ${container}, ${formatSize(sizeBytes)} (${sizeBytes} bytes), sha256 ${sha256}`;
}

export const verify: Handler = async (context, given) => {
  const garth = await context.garth();
  const image = await imageOf(context, given, given.arguments[0] ?? "");
  requireRaw(image, "verifying");
  const { temporary } = garth.places;
  garth.host.files.makeDirectory(temporary, { parents: true });
  const checks = await (await garth.image()).verifyImage(garth.host, image.file, temporary);
  const bad = checks.filter(({ good }) => !good);
  const text = () =>
    [
      table(checks.map(({ good, what, tool }) => [good ? "good" : "BAD ", what, tool])),
      ...bad.flatMap(({ what, tool, said }) => [`${tool} on the ${what} says:`, ...said.map((line) => `  ${line}`)]),
    ].join("\n");
  return { data: { file: image.file, storePath: image.storePath, checks }, text, exit: bad.length > 0 ? 1 : 0 };
};
