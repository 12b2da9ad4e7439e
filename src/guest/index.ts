/** guest: a guest reached over SSH. */
export { openGuest } from "./open.ts";
export { endMasters, type Master, mastersOf, sshOptions, sshWords } from "./ssh.ts";
export type * from "./types.ts";
