/**
 * What the examples are built in: a compiler and its tools, and nothing else of your machine.
 *
 * On Linux that is a tree of Debian packages. `debian.lock`, beside this file, pins each of them by version and SHA-256. With "refresh",
 * a version that the mirrors no longer have is replaced by the new one: the difference is shown and the lock written. A project of your
 * own better says "strict", which refuses instead.
 *
 * On FreeBSD it is the compiler and the tools of the base system, read-only.
 */
import { debianWorld, hostView } from "garth";

export const world = debianWorld({
  name: "build",
  suite: "bookworm",
  packages: ["binutils", "cmake", "g++", "gcc", "libc6-dev", "make", "patch", "pkgconf", "xz-utils"],
  lock: "./debian.lock",
  policy: "refresh",
});

/** `...buildRoot` in a recipe gives it the right one on each system. */
export const buildRoot = { buildRoot: world, perSystem: { freebsd: { buildRoot: hostView() } } } as const;
