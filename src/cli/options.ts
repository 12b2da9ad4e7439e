/** Options that several commands take. */
import type { OptionSpec } from "./command.ts";

export const RECEIPT: OptionSpec = {
  name: "receipt",
  value: "FILE",
  help: "write the receipt there, and FILE.json (also METADATA_OUT=FILE)",
};
export const JOBS: OptionSpec = { name: "jobs", short: "j", value: "N", help: "builds at one time on this machine" };
export const ON: OptionSpec = { name: "on", value: "HOST", help: "the host that builds, and no other; here is this machine" };
export const SYSTEM: OptionSpec = {
  name: "system",
  value: "SYSTEM",
  help: "what is built for (default: the system of the host, else this machine's)",
};
export const KEEP_FAILED: OptionSpec = { name: "keep-failed", help: "keep a failed build's sandbox and say how to enter it" };
export const KEEP_GOING: OptionSpec = { name: "keep-going", short: "k", help: "after a failure, build what does not need it" };

export const KEY: OptionSpec = { name: "key", value: "FILE", help: "the signing key (default: the setting repository.key)" };
