/**
 * image: from the plan of a root to the bytes of a disk, and what is on a disk.
 *
 *     RootPlan + DiskSpec ──planImage──► pieces ──writeBlocks──► raw disk, a store item ──convertImage──► qcow2, VHD
 *                                             │                          └──inspectImage, verifyImage──► what is on it
 *                                             └──writeDevice──► a disk, or a file, that had other contents
 *
 * An image is a function of the system it is of: numbers that are random elsewhere are derived, every file has one time, owners and
 * modes are those of the plan. It is written in one pass, and hashed in the same.
 *
 * Limits: GPT with an EFI system partition (FAT) and a root: ext4 for Linux, UFS2 for FreeBSD, or ZFS where makefs(8) of the host makes it.
 */
export { diskDigest, type DiskKind, diskKind, makeRaw } from "./container.ts";
export { type DeviceEvent, type DeviceOptions, writeDevice, type WrittenDevice } from "./device.ts";
export { type Container, CONTAINERS, type Converted, convertImage, type ConvertRequest } from "./convert.ts";
export { type InspectedImage, type InspectedPartition, inspectImage } from "./inspect.ts";
export { type IsoWish, type MadeIso, makeIso } from "./iso.ts";
export { locateIn, type MadeImage, makeImage } from "./make.ts";
export { installTarget } from "../system/index.ts";
export { derivedUuid, type ImagePlan, type ImageWish, imageWishOf, LAYOUT, planImage } from "./plan.ts";
export { readAtOfDisk } from "./sectors.ts";
export { type ImageCheck, verifyImage } from "./verify.ts";
export { writeBlocks } from "./write.ts";
export { type FileEntry, planZfsRoot, ZFS_TARGET_MAX_BYTES, type ZfsRootPlan, type ZfsWish } from "./zfs-plan.ts";
