/** What the figures were taken on. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, release, totalmem } from "node:os";

function firstLine(program: string, ...args: readonly string[]): string {
  try {
    return execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).split("\n")[0] ?? "";
  } catch {
    return "not there";
  }
}

function distribution(): string {
  try {
    return /^PRETTY_NAME="?([^"\n]*)/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? process.platform;
  } catch {
    return process.platform;
  }
}

/** With them SHA-256 is several times as fast, so figures of images differ between machines that are alike otherwise. */
export function shaInstructions(): "present" | "none" | "unknown" {
  try {
    const flags = /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1]?.split(" ") ?? [];
    return flags.includes("sha_ni") || flags.includes("sha2") ? "present" : "none";
  } catch {
    return "unknown";
  }
}

export function machine(): readonly (readonly [string, string])[] {
  return [
    ["processor", `${cpus()[0]?.model.trim() ?? "?"}, ${availableParallelism()} usable`],
    ["SHA instructions", shaInstructions()],
    ["memory", `${Math.round(totalmem() / 1024 ** 3)} GiB`],
    ["system", `${distribution()}, kernel ${release()}`],
    ["Bun", Bun.version],
    ["Nix", firstLine("nix-store", "--version")],
    ["bubblewrap", firstLine("bwrap", "--version")],
    ["QEMU", firstLine("qemu-system-x86_64", "--version")],
    ["Garth", firstLine("git", "-C", import.meta.dir, "rev-parse", "--short=12", "HEAD")],
  ];
}
