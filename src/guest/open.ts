/** One guest: its connection, its commands, its files, put together. */
import { randomBytes } from "node:crypto";
import type { Host } from "../host/index.ts";
import { openFiles } from "./files.ts";
import { linkTo } from "./link.ts";
import { connectTo } from "./port.ts";
import { runIn } from "./run.ts";
import { type Runner, spawnIn } from "./process.ts";
import { endMasters } from "./ssh.ts";
import type { Guest, GuestAddress } from "./types.ts";
import { watchIn } from "./watch.ts";

const MARK_BYTES = 16;

/** Nothing is opened yet: the first call does, or `connect`. */
export function openGuest(host: Host, address: GuestAddress): Guest {
  const link = linkTo(host, address);
  const runner: Runner = { address, link, newMark: () => randomBytes(MARK_BYTES).toString("hex"), shell: "any" };
  const files = openFiles(runner);
  const close = (): void => {
    files.close();
    link.end();
  };
  return {
    address,
    connect: (options) => link.open(options),
    spawn: (command, onOutput) => spawnIn(runner, command, onOutput),
    run: (command) => runIn(runner, command),
    files: files.files,
    watch: (path, options, onEvent) => watchIn(runner, files, path, options, onEvent),
    connectTo: (port, onData) => connectTo(address, link, port, onData),
    user: (name) => files.users.find(name ?? address.user),
    close,
    disconnect: async () => {
      close();
      await endMasters(host, address);
    },
  };
}
