/**
 * An image before the readers that others wrote: sgdisk for the table, fsck.fat, e2fsck and, where there is one, fsck_ffs(8) for the file
 * systems. Outside FreeBSD a UFS2 is read whole by our own reader alone.
 */
import { Problem } from "../base/index.ts";
import { PARTITION_TYPE } from "../formats/index.ts";
import type { Host } from "../host/index.ts";
import { inspectImage, type InspectedPartition } from "./inspect.ts";
import { writeBlocks } from "./write.ts";

export interface ImageCheck {
  readonly what: string;
  readonly tool: string;
  readonly good: boolean;
  /** What the tool said, where it was not content. */
  readonly said: readonly string[];
}

const TOOLS = { sgdisk: "gdisk", "fsck.fat": "dosfstools", e2fsck: "e2fsprogs" } as const;

/** @throws Problem E_TOOL_MISSING (exit 3), E_NO_SUCH_FILE, E_NOT_AN_IMAGE */
export async function verifyImage(host: Host, file: string, temporaryDirectory: string): Promise<readonly ImageCheck[]> {
  for (const [tool, packageName] of Object.entries(TOOLS)) {
    if (host.which(tool) !== undefined) continue;
    throw new Problem({
      code: "E_TOOL_MISSING",
      message: `verifying ${file}: there is no program ${tool} on this machine`,
      hint: `apt-get install ${packageName}`,
      exit: 3,
    });
  }
  const { partitions, findings, sizeBytes } = inspectImage(host, file);
  const checks: ImageCheck[] = [{ what: "the disk as a whole", tool: "garth", good: findings.length === 0, said: findings }];
  // sgdisk ends with 0 whatever it finds; it says so in words.
  const table = await host.run({ argv: ["sgdisk", "-v", file], doing: `verifying ${file}`, okStatuses: [0, 1, 2, 3, 4] });
  checks.push({ what: "partition table", tool: "sgdisk -v", ...judged(/No problems found/.test(table.text()), table.text()) });
  const scratch = host.files.makeTemporaryDirectory(`${temporaryDirectory}/verify-`);
  try {
    for (const partition of partitions) {
      const [program, ...options] = CHECKERS[expected(partition)];
      if (program === undefined || (program === "fsck_ffs" && host.which(program) === undefined)) continue;
      const copy = `${scratch}/${partition.number}`;
      await cutOut(host, file, partition, copy, sizeBytes);
      const done = await host.run({
        argv: [program, ...options, copy],
        doing: `verifying ${partition.name}`,
        okStatuses: [0, 1, 2, 4, 8, 12],
      });
      checks.push({
        what: `partition ${partition.number}, ${partition.name}`,
        tool: [program, ...options].join(" "),
        ...judged(done.status === 0, `${done.text()}\n${done.stderr}`),
      });
      host.files.unlink(copy);
    }
  } finally {
    host.files.removeTree(scratch);
  }
  return checks;
}

const CHECKERS = { ext4: ["e2fsck", "-fn"], fat: ["fsck.fat", "-n"], ufs: ["fsck_ffs", "-n"], unknown: [] } as const;

/** What nobody could read is held to what its partition says it is: a boot sector that is gone is damage, too. */
function expected({ fileSystem, typeGuid }: InspectedPartition): InspectedPartition["fileSystem"] {
  if (fileSystem !== "unknown") return fileSystem;
  if (typeGuid === PARTITION_TYPE.esp) return "fat";
  if (typeGuid === PARTITION_TYPE.freebsdUfs) return "ufs";
  return typeGuid === PARTITION_TYPE.linuxRootX86_64 || typeGuid === PARTITION_TYPE.linuxRootAarch64 ? "ext4" : "unknown";
}

function judged(good: boolean, text: string): Pick<ImageCheck, "good" | "said"> {
  return {
    good,
    said: good
      ? []
      : text
          .split("\n")
          .filter((line) => line.trim() !== "")
          .slice(0, 40),
  };
}

/** The checkers want a file of their own; holes stay holes. */
async function cutOut(
  host: Host,
  file: string,
  { firstByte, sizeBytes }: InspectedPartition,
  to: string,
  diskBytes: number,
): Promise<void> {
  const size = Math.min(sizeBytes, diskBytes - firstByte);
  const image = { sizeBytes: size, pieces: [{ at: 0, kind: "file", file, offset: firstByte, sizeBytes: size } as const] };
  await writeBlocks(host, image, to, { locate: (name) => name, digest: false });
}
