/** All cases, in their order: what is larger comes behind what it stands on. */
import type { Case } from "./case.ts";
import { baseCases } from "./cases/base.ts";
import { checkCases } from "./cases/check.ts";
import { diskCases } from "./cases/disk.ts";
import { imageCases } from "./cases/image.ts";
import { installCases } from "./cases/install.ts";
import { isolationCases } from "./cases/isolation.ts";
import { limitCases } from "./cases/limits.ts";
import { packageCases } from "./cases/packages.ts";
import { jailCases } from "./cases/jails.ts";
import { programCases } from "./cases/program.ts";
import { shellCases } from "./cases/shell.ts";
import { storeCases } from "./cases/store.ts";
import { transportCases } from "./cases/transport.ts";
import { troubleCases } from "./cases/trouble.ts";
import { worldCases } from "./cases/world.ts";
import { zfsCases } from "./cases/zfs.ts";

export const allCases: readonly Case[] = [
  ...shellCases,
  ...baseCases,
  ...jailCases,
  ...transportCases,
  ...checkCases,
  ...storeCases,
  ...isolationCases,
  ...limitCases,
  ...troubleCases,
  ...programCases,
  ...packageCases,
  ...diskCases,
  ...zfsCases,
  ...worldCases,
  ...imageCases,
  ...installCases,
];
