/**
 * Services of a FreeBSD system: a script of rc.d for each that has a command, and the ones of Garth itself. Pure.
 *
 *     garth_activate   in /etc/rc.d, when the file systems of fstab are there and before anything that reads /etc; of a system on trial
 *                      it starts the watch, which restarts a machine that is not ready in time
 *     <services>       by daemon(8): what a script of rc(8) leaves running without it ends with the session of rc(8)
 *     garth_before_*   no program: an order for a service whose own script cannot be changed
 *     garth_ready      waits beside rc(8), says `garth: KEY=VALUE` and `garth: ready <closure>` on the console
 *
 * Sources: rc.subr(8), rcorder(8), daemon(8), chroot(8).
 */
import { type Accounts } from "./accounts.ts";
import { nobody } from "./against-base.ts";
import { invalid, RC_DIRECTORY, rcName } from "./freebsd-conf.ts";
import { STAMP } from "./linux-activate.ts";
import { shellWord } from "./sh.ts";
import type { ServiceSpec, SystemSpec } from "./types.ts";

/** Path in the system item -> text of a program. */
export type Scripts = ReadonlyMap<string, string>;

const READY_DIRECTORY = "/var/lib/garth";
/** Marks of one-shots that ended well. rc(8) empties /var/run at every start. */
const DONE_DIRECTORY = "/var/run/garth";
/** Another call may have the lock. */
const CONFIRM_TRIES = 12;
const CONFIRM_SECONDS = 5;
const PATH = "/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin";

/** @throws Problem E_SYSTEM_INVALID for names that rc(8) takes for one, and a user that nobody knows */
export function freebsdScripts(spec: SystemSpec, accounts: Accounts): Scripts {
  const scripts = new Map<string, string>([["etc/rc.d/garth_activate", ACTIVATE]]);
  const names = new Map<string, string>();
  spec.services.forEach((service, index) => {
    const { name, command, after } = service;
    const other = names.get(rcName(name));
    if (other !== undefined)
      throw invalid(spec, `services[${index}].name`, `rc(8) calls ${name} and ${other} both ${rcName(name)}`);
    names.set(rcName(name), name);
    if (command !== undefined) {
      scripts.set(`${RC_DIRECTORY}/${name}`, serviceScript(spec, accounts, service, command, index));
      if (service.restart === "on-failure" && !service.oneShot) scripts.set("etc/garth/on-failure", ON_FAILURE);
    } else if (after.length > 0) {
      scripts.set(`${RC_DIRECTORY}/garth_before_${rcName(name)}`, orderScript(service));
    }
  });
  scripts.set("etc/garth/ready", readyProgram(spec));
  scripts.set(`${RC_DIRECTORY}/garth_ready`, readyScript(spec));
  return scripts;
}

function head(provide: string, require: readonly string[], more: readonly string[] = []): readonly string[] {
  return ["#!/bin/sh", "#", `# PROVIDE: ${provide}`, `# REQUIRE: ${require.join(" ")}`, ...more.map((line) => `# ${line}`), ""];
}

function serviceScript(
  spec: SystemSpec,
  accounts: Accounts,
  service: ServiceSpec,
  command: readonly string[],
  index: number,
): string {
  const name = rcName(service.name);
  const { prepare } = service;
  // A script of the base that comes after this one may be one that LOGIN waits for.
  const isEarly = spec.services.some((other) => other.command === undefined && other.after.includes(service.name));
  const require = service.after.length > 0 ? service.after.map(rcName) : [isEarly ? "NETWORKING" : "LOGIN"];
  const body = service.oneShot
    ? oneShotBody(name, service, command, identity(spec, accounts, service, index))
    : daemonBody(name, service, command);
  return [
    ...head(name, require, service.oneShot ? [] : ["KEYWORD: shutdown"]),
    ". /etc/rc.subr",
    "",
    `name=${name}`,
    `desc=${shellWord(`${service.name} of the system ${spec.name}`)}`,
    `rcvar=${name}_enable`,
    ...body.variables,
    `start_cmd=${name}_start`,
    ...(prepare.length > 0 ? [`start_precmd=${name}_prepare`] : []),
    "",
    `export PATH=${PATH}`,
    "",
    ...(prepare.length > 0
      ? [`${name}_prepare()`, "{", ...prepare.map((line) => `\t${line.map(shellWord).join(" ")} || return`), "}", ""]
      : []),
    ...body.functions,
    'load_rc_config "$name"',
    `: "\${${name}_enable:=NO}"`,
    'run_rc_command "$1"',
    "",
  ].join("\n");
}

interface Body {
  readonly variables: readonly string[];
  readonly functions: readonly string[];
}

/** daemon(8) writes its own process id, and hands on the SIGTERM by which rc.subr(8) stops it. */
function daemonBody(name: string, { user, restart, environment }: ServiceSpec, command: readonly string[]): Body {
  const options = [
    "-c",
    ...(restart === "always" ? ["-r", "-R", "1"] : []),
    `-P "$pidfile" -t ${name} -S -T ${name}`,
    ...(user === "root" ? [] : ["-u", user]),
  ];
  const run = [...(restart === "on-failure" ? ["/etc/garth/on-failure"] : []), ...command];
  return {
    variables: [`pidfile=/var/run/${name}.pid`, "procname=/usr/sbin/daemon"],
    functions: [
      `${name}_start()`,
      "{",
      '\techo "Starting ${name}."',
      `\t/usr/sbin/daemon ${options.join(" ")} \\`,
      `\t    ${[...environmentWords(environment), ...run.map(shellWord)].join(" ")}`,
      "}",
      "",
    ],
  };
}

/** rc(8) waits for it. It counts as reached when it ended with status 0, which `status` tells. */
function oneShotBody(name: string, { environment }: ServiceSpec, command: readonly string[], drop: readonly string[]): Body {
  const mark = `${DONE_DIRECTORY}/${name}.done`;
  const words = [...drop, ...environmentWords(environment), ...command.map(shellWord)];
  return {
    variables: [`stop_cmd=:`, `status_cmd="test -e ${mark}"`, "extra_commands=status"],
    functions: [
      `${name}_start()`,
      "{",
      `\tmkdir -p ${DONE_DIRECTORY} && rm -f ${mark} || return`,
      '\techo "Starting ${name}."',
      `\t${words.join(" ")} || {`,
      `\t\techo "garth: service ${name} failed with status $?" >/dev/console`,
      "\t\treturn 1",
      "\t}",
      `\ttouch ${mark}`,
      "}",
      "",
    ],
  };
}

function environmentWords(environment: ServiceSpec["environment"]): readonly string[] {
  const values = Object.entries(environment);
  return values.length === 0 ? [] : ["/usr/bin/env", ...values.map(([key, value]) => shellWord(`${key}=${value}`))];
}

/**
 * Numbers, by chroot(8): daemon(8) does not wait for what it runs, and su(1) needs a PAM that a small system lacks. Without -G the
 * process would keep the groups of root.
 */
function identity(spec: SystemSpec, accounts: Accounts, { user }: ServiceSpec, index: number): readonly string[] {
  if (user === "root") return [];
  const account = accounts.users.find(({ name }) => name === user);
  if (account === undefined) throw nobody(spec, `services[${index}].user`, user, "user");
  const groups = accounts.groups.filter(({ members }) => members.includes(user)).map(({ gid }) => gid);
  const all = [...new Set([account.gid, ...groups])];
  return ["/usr/sbin/chroot", "-u", String(account.uid), "-g", String(account.gid), "-G", all.join(","), "/"];
}

function orderScript({ name, after }: ServiceSpec): string {
  return [
    ...head(`garth_before_${rcName(name)}`, after.map(rcName), [`BEFORE: ${rcName(name)}`]),
    "# Starts nothing: rcorder(8) reads the order from it.",
    "",
  ].join("\n");
}

/** Starts the program that waits: rc(8) itself goes on, so that there is a login when something is never reached. */
function readyScript(spec: SystemSpec): string {
  return [
    ...head("garth_ready", ["LOGIN", ...spec.readiness.map(rcName)].filter(unique)),
    ". /etc/rc.subr",
    "",
    "name=garth_ready",
    "desc='Say that the system is ready'",
    "start_cmd=garth_ready_start",
    "stop_cmd=:",
    "",
    "garth_ready_start()",
    "{",
    "\t/usr/sbin/daemon -f -t garth_ready /etc/garth/ready",
    "}",
    "",
    'load_rc_config "$name"',
    'run_rc_command "$1"',
    "",
  ].join("\n");
}

function readyProgram(spec: SystemSpec): string {
  // What has only capitals is a place in the order of rc(8), and no service.
  const services = spec.readiness.filter((name) => /[a-z]/.test(name));
  const ports = spec.services.filter(({ name, listens }) => listens !== undefined && spec.readiness.includes(name));
  return [
    "#!/bin/sh",
    "# Waits until every service that the declaration names has been reached, then says so on the console.",
    "PATH=/sbin:/bin:/usr/sbin:/usr/bin",
    "reached() {",
    '\tsaid=$(service "$1" onestatus 2>&1) && return',
    "\t# A script that leaves nothing running knows no status; it has been run, or rc(8) would not be here.",
    '\tcase $said in *"unknown directive"*) return 0 ;; esac',
    "\treturn 1",
    "}",
    "listens() {",
    '\t[ -n "$(sockstat -46 -l -q -P tcp -p "$1")" ]',
    "}",
    ...services.map((name) => `until reached ${name}; do sleep 0.2; done`),
    ...ports.map(({ listens }) => `until listens ${listens}; do sleep 0.2; done`),
    "system=$(readlink /run/current-system)",
    ...CONFIRM.trimEnd().split("\n"),
    `mkdir -p ${READY_DIRECTORY}`,
    `echo ready >${READY_DIRECTORY}/ready`,
    "{",
    '\techo "garth: run_current_system_target=$system"',
    '\techo "garth: pid1_command=$(ps -o comm= -p 1)"',
    ...services.map((name) => `\techo "garth: ${rcName(name).toLowerCase()}_status=running"`),
    '\techo "garth: ready $system"',
    "} >/dev/console",
    "",
  ].join("\n");
}

function unique<Item>(item: Item, index: number, all: readonly Item[]): boolean {
  return all.indexOf(item) === index;
}

/**
 * The loader says which system was started; a machine that was started otherwise goes on with the one it had. Until here rc(8) went by the
 * settings, and mounted the file systems, of the system that was in /etc: those of another one are read and mounted now, so that what a
 * system on trial says of itself is tried before it is confirmed.
 */
const ACTIVATE = `#!/bin/sh
#
# PROVIDE: garth_activate
# REQUIRE: mountcritlocal
# BEFORE: FILESYSTEMS

. /etc/rc.subr

name=garth_activate
desc='Make /etc and /run/current-system those of the system that was started'
start_cmd=garth_activate_start
stop_cmd=:

garth_activate_start()
{
	rm -f ${READY_DIRECTORY}/ready
	garth_system=$(kenv -q garth.system 2>/dev/null) || garth_system=$(readlink /run/current-system) || return
	# Before the activation, which may be what does not come to an end.
	if garth_trial=$(kenv -q garth.trial 2>/dev/null); then
		/usr/sbin/daemon -f -o /dev/console -t garth_watch "$garth_system/generations" watch "$garth_trial"
	fi
	garth_before=$(cat /etc/${STAMP} 2>/dev/null)
	"$garth_system/activate" "$garth_system" || return
	[ "$garth_before" != "$garth_system" ] || return 0
	# Its file systems, and its settings in place of those that rc(8) has read: that is what SIGALRM tells it.
	/etc/rc.d/mountcritlocal start
	[ -z "\${autoboot:-}" ] || kill -ALRM "\${RC_PID:-$$}"
}

load_rc_config "$name"
run_rc_command "$1"
`;

/** A system on trial is ready when it is what was started, and when the loader starts it from now on. */
const CONFIRM = `if kenv -q garth.trial >/dev/null 2>&1 && [ "$(kenv -q garth.system)" != "$system" ]; then
	echo "garth: $(kenv -q garth.system) was started, and not activated" >/dev/console
	exit 1
fi
tries=0
until "$system/generations" confirm 2>/dev/console; do
	tries=$((tries + 1))
	if [ "$tries" = ${CONFIRM_TRIES} ]; then
		echo "garth: the generation is not confirmed" >/dev/console
		! kenv -q garth.trial >/dev/null 2>&1 || exit 1
		break
	fi
	sleep ${CONFIRM_SECONDS}
done
`;

/** Under daemon(8), which by itself runs a program again however it ended. */
const ON_FAILURE = `#!/bin/sh
# on-failure COMMAND...: runs it again when it fails, until it ends well or is told to stop.
told=
child=
trap 'told=yes; [ -z "$child" ] || kill "$child"' TERM INT
while [ -z "$told" ]; do
	"$@" &
	child=$!
	[ -z "$told" ] || kill "$child"
	wait "$child" && exit 0
	[ -n "$told" ] || sleep 1
done
wait "$child"
`;
