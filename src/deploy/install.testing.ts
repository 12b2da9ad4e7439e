/** For the tests of installing: what FreeBSD's kernel says of its disks, and facts of a target. */
import type { TargetFacts } from "./target.ts";

interface Provider {
  readonly id: string;
  readonly name: string;
  readonly mode: string;
  readonly sizeBytes: number;
  readonly sectorBytes?: number;
}

/** As g_conf_geom() of sys/geom/geom_dump.c writes one, with its tabs. */
function geom(id: string, ofClass: string, name: string, consumes: readonly string[], providers: readonly Provider[]): string {
  const consumers = consumes.map(
    (ref, index) =>
      `\t<consumer id="${id}c${index}">\n\t  <geom ref="${id}"/>\n\t  <provider ref="${ref}"/>\n\t  <mode>r1w1e2</mode>\n\t  <config>\n\t    <name>not this one</name>\n\t  </config>\n\t</consumer>\n`,
  );
  const provided = providers.map(
    (each) =>
      `\t<provider id="${each.id}">\n\t  <geom ref="${id}"/>\n\t  <mode>${each.mode}</mode>\n\t  <name>${each.name}</name>\n\t  <mediasize>${each.sizeBytes}</mediasize>\n\t  <sectorsize>${each.sectorBytes ?? 512}</sectorsize>\n\t  <stripesize>0</stripesize>\n\t  <stripeoffset>0</stripeoffset>\n\t  <config>\n\t    <label>(null)</label>\n\t    <type>freebsd-ufs</type>\n\t  </config>\n\t</provider>\n`,
  );
  return `    <geom id="${id}">\n      <class ref="${ofClass}"/>\n      <name>${name}</name>\n      <rank>1</rank>\n\t<config>\n\t</config>\n${consumers.join("")}${provided.join("")}    </geom>\n`;
}

function ofClass(id: string, name: string, geoms: readonly string[]): string {
  return `  <class id="${id}">\n    <name>${name}</name>\n${geoms.join("")}  </class>\n`;
}

const DISK = "0xfffff80003c2e300";
const [P1, P2, P3] = ["0xfffff80003c2e400", "0xfffff80003c2e500", "0xfffff80003c2e600"] as const;
const PARTITIONS: readonly Provider[] = [
  { id: P1, name: "da0p1", mode: "r0w0e0", sizeBytes: 35_651_584 },
  { id: P2, name: "da0p2", mode: "r1w1e2", sizeBytes: 8_589_934_592 },
  { id: P3, name: "da0p3", mode: "r1w1e0", sizeBytes: 1_073_741_824 },
];

/** da0 with an ESP, a root that is mounted by its label, and swap; md7, which nobody uses. */
export const GEOM_XML = `<mesh>\n${ofClass("0xffffffff81a1c0d0", "FD", [])}${ofClass("0xffffffff81a1c0e0", "DISK", [
  geom(
    "0xfffff80003c2d100",
    "0xffffffff81a1c0e0",
    "da0",
    [],
    [{ id: DISK, name: "da0", mode: "r2w2e4", sizeBytes: 10_737_418_240 }],
  ),
])}${ofClass("0xffffffff81a1c0f0", "PART", [geom("0xfffff80003c2d200", "0xffffffff81a1c0f0", "da0", [DISK], PARTITIONS)])}${ofClass(
  "0xffffffff81a1c100",
  "LABEL",
  [
    geom(
      "0xfffff80003c2d300",
      "0xffffffff81a1c100",
      "da0p2",
      [P2],
      [{ id: "0xfffff80003c2e700", name: "gpt/garth-root", mode: "r1w1e1", sizeBytes: 8_589_934_592 }],
    ),
    geom(
      "0xfffff80003c2d400",
      "0xffffffff81a1c100",
      "da0p1",
      [P1],
      [{ id: "0xfffff80003c2e800", name: "gpt/a&#x26;b", mode: "r0w0e0", sizeBytes: 35_651_584, sectorBytes: 4096 }],
    ),
  ],
)}${ofClass("0xffffffff81a1c110", "MD", [
  geom(
    "0xfffff80003c2d500",
    "0xffffffff81a1c110",
    "md7",
    [],
    [{ id: "0xfffff80003c2e900", name: "md7", mode: "r0w0e0", sizeBytes: 67_108_864 }],
  ),
])}</mesh>\n`;

export function facts(more: Partial<TargetFacts> = {}): TargetFacts {
  return {
    path: "/dev/disk",
    kind: "disk",
    hasParent: true,
    sizeBytes: 1 << 30,
    sectorBytes: 512,
    readOnly: false,
    contents: [],
    uses: [],
    isRoot: false,
    roomBytes: undefined,
    ...more,
  };
}
