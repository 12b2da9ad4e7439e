/** The machines a derivation can be for. Every plan type carries one; no plan is for "the current machine". */
export const SYSTEMS = ["x86_64-linux", "aarch64-linux", "x86_64-freebsd", "aarch64-freebsd"] as const;
export type System = (typeof SYSTEMS)[number];
export type OperatingSystem = "linux" | "freebsd";

export function operatingSystemOf(system: System): OperatingSystem {
  return system.endsWith("-linux") ? "linux" : "freebsd";
}
