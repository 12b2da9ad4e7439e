/**
 * Services of a Linux system, for each process 1 it may have: what they have in common. Pure.
 *
 *   systemd   a unit a service with a command, links that enable it, networkd for addresses (linux-systemd.ts)
 *   busybox   an inittab, and a script a service that runs it again when it ends (linux-busybox.ts)
 *
 * Both say on the console when everything the declaration waits for has been reached: `garth: ready <closure>`, after lines
 * `garth: KEY=VALUE` with facts for receipts.
 */
import { GENERATIONS, GENERATIONS_PROGRAM } from "./generations.ts";
import type { SystemSpec } from "./types.ts";

/** Path below etc/ -> text or symlink. */
export type EtcTree = Map<string, { readonly text: string; readonly executable?: boolean } | { readonly link: string }>;

const READY_DIRECTORY = "/var/lib/garth";

/**
 * What the system says of itself when it is ready, and that it is. While it waits it starts no programs but sleep(1): under emulation
 * they would take the time of those that are waited for.
 */
export function readyScript(spec: SystemSpec, shell: string, reached: readonly string[]): string {
  const ports = spec.services.filter(({ name, listens }) => listens !== undefined && spec.readiness.includes(name));
  const waits = ports.map(
    ({ listens = 0 }) => `until listens ${listens.toString(16).toUpperCase().padStart(4, "0")}; do sleep 0.1; done`,
  );
  const states = spec.readiness.map((name) => `echo "garth: ${factName(name)}_status=running"`);
  return [
    `#!${shell}`,
    "# Waits until every service that the declaration names has been reached, then says so on the console.",
    "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    "listens() {",
    "    for table in /proc/net/tcp /proc/net/tcp6; do",
    '        [ -e "$table" ] || continue',
    "        while read -r _ address _ state _; do",
    '            case $address:$state in *:"$1":0A) return 0 ;; esac',
    '        done <"$table"',
    "    done",
    "    return 1",
    "}",
    ...reached,
    ...waits,
    "# What was on trial, or was tried and is not what runs, is settled; where nothing was there is no such link.",
    `[ ! -h /${GENERATIONS}/next ] || /run/current-system/${GENERATIONS_PROGRAM} confirm 2>/dev/console || exit 1`,
    "system=$(readlink /run/current-system)",
    `mkdir -p ${READY_DIRECTORY}`,
    `echo ready >${READY_DIRECTORY}/ready`,
    // On a line of its own: a getty may have asked for a name, and waits behind its question.
    "{",
    "    echo",
    '    echo "garth: run_current_system_target=$system"',
    '    echo "garth: pid1_command=$(cat /proc/1/comm)"',
    "    addresses=$(/usr/bin/hostname -I 2>/dev/null)",
    '    [ -z "$addresses" ] || echo "garth: guest_ip=${addresses%% *}"',
    ...states.map((line) => `    ${line}`),
    '    echo "garth: ready $system"',
    "} >/dev/console",
    "",
  ].join("\n");
}

/** Services to wait for that do not say so by listening. */
export function withoutPort({ services, readiness }: SystemSpec): readonly string[] {
  return services.flatMap(({ name, listens }) => (listens === undefined && readiness.includes(name) ? [name] : []));
}

/** Keys of receipts are lower case with underscores. */
function factName(service: string): string {
  return service.toLowerCase().replaceAll(/[^a-z0-9]+/g, "_");
}
