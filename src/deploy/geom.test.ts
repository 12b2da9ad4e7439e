/** GEOM's own words: a disk with two partitions, one of them mounted by its label, the other swap; an empty memory disk. */
import { expect, test } from "bun:test";
import { geomProviders } from "./geom.ts";
import { GEOM_XML } from "./install.testing.ts";

test("disks, their partitions and labels, how they are open, and what they are made of", () => {
  const byName = new Map(geomProviders(GEOM_XML).map((provider) => [provider.name, provider]));
  expect([...byName.keys()]).toEqual(["da0", "da0p1", "da0p2", "da0p3", "gpt/garth-root", "gpt/a&b", "md7"]);
  const id = (name: string): string => byName.get(name)?.id ?? "?";
  expect(byName.get("da0")).toEqual({
    id: "0xfffff80003c2e300",
    name: "da0",
    class: "DISK",
    mode: "r2w2e4",
    sizeBytes: 10_737_418_240,
    sectorBytes: 512,
    consumes: [],
  });
  expect(byName.get("da0p2")).toMatchObject({ class: "PART", mode: "r1w1e2", consumes: [id("da0")] });
  expect(byName.get("gpt/garth-root")).toMatchObject({ class: "LABEL", mode: "r1w1e1", consumes: [id("da0p2")] });
  expect(byName.get("gpt/a&b")).toMatchObject({ consumes: [id("da0p1")], sectorBytes: 4096 });
  expect(byName.get("md7")).toMatchObject({ class: "MD", mode: "r0w0e0" });
});

test("nothing, of nothing", () => {
  expect(geomProviders("")).toEqual([]);
  expect(geomProviders('<mesh>\n  <class id="0x1">\n    <name>DISK</name>\n  </class>\n</mesh>\n')).toEqual([]);
});
