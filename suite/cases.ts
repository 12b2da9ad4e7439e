/** All cases, in their order: what is larger comes behind what it stands on. */
import type { Case } from "./case.ts";
import { baseCases } from "./cases/base.ts";
import { checkCases } from "./cases/check.ts";
import { jailCases } from "./cases/jails.ts";
import { shellCases } from "./cases/shell.ts";
import { storeCases } from "./cases/store.ts";
import { transportCases } from "./cases/transport.ts";

export const allCases: readonly Case[] = [
  ...shellCases,
  ...baseCases,
  ...jailCases,
  ...transportCases,
  ...checkCases,
  ...storeCases,
];
