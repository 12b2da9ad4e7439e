/**
 * A signal for a command and everything that it started: `tree.sh` with its words. Pure.
 *
 * Who belongs to it: the leader, children of whoever belongs to it, members of sessions that one of them leads, and every process that has
 * the command's mark in its environment, which a daemon that left its parents, its session and its group still has. A daemon that emptied
 * its environment as well is not found, nor is what another user's process hides from a login that is not root's.
 */
import type { GuestProcess } from "./types.ts";
import program from "./tree.sh" with { type: "text" };

export interface TreeFacts {
  readonly signal: Parameters<GuestProcess["signal"]>[0];
  readonly pid: number;
  readonly mark: string;
  /** It has ended: its number may be another's by now, unless a session still has it. */
  readonly leaderGone: boolean;
}

/** Prints how many it was sent to. Needs grep(1) and tr(1), and ps(1) where there is no /proc. */
export function treeWords({ signal, pid, mark, leaderGone }: TreeFacts): readonly [string, ...string[]] {
  const half = mark.length / 2;
  const words = [signal.slice("SIG".length), String(pid), leaderGone ? "gone" : "there", mark.slice(0, half), mark.slice(half)];
  return ["/bin/sh", "-c", program, "tree", ...words];
}
