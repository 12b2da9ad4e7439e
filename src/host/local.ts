/** This machine. */
import { Problem, type System } from "../base/index.ts";
import { connectTcp, connectUnix } from "./connect.ts";
import { localFiles } from "./files.ts";
import { identityOf, identityOfThisProcess, isAlive, signalProcess } from "./identity.ts";
import { hashBeside } from "./hasher.ts";
import { freePort } from "./libc.ts";
import { attachProcess, findProgram, launchProcess, runCommand, spawnProcess } from "./process.ts";
import type { Host } from "./types.ts";

function thisSystem(): System {
  const machine = process.arch === "x64" ? "x86_64" : process.arch === "arm64" ? "aarch64" : undefined;
  const platform: string = process.platform;
  if (machine !== undefined && (platform === "linux" || platform === "freebsd")) return `${machine}-${platform}`;
  throw new Problem({
    code: "E_UNKNOWN_SYSTEM",
    message: `Garth does not run on ${process.platform} on ${process.arch}`,
    hint: "it runs on Linux and FreeBSD, on amd64 and arm64",
    exit: 3,
  });
}

export function localHost(): Host {
  let identity: string | undefined;
  return {
    name: "local",
    system: thisSystem(),
    files: localFiles,
    isRoot: process.geteuid?.() === 0,
    // node:os says the same and costs every start 6 ms.
    processors: navigator.hardwareConcurrency,
    run: runCommand,
    spawn: spawnProcess,
    launch: (command, { outputFile }) => launchProcess(command, outputFile),
    attach: attachProcess,
    hashBeside,
    connect: connectUnix,
    connectTcp,
    freePort,
    which: (program) => findProgram(program),
    get processIdentity() {
      identity ??= identityOfThisProcess();
      return identity;
    },
    isAlive,
    identityOf,
    signal: signalProcess,
  };
}
