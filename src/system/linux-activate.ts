/**
 * The activation of a Linux system: run as root in the new root before process 1, at every start. Pure.
 *
 * It makes /etc agree with the system that was started, when another one was there before; makes homes; takes the credentials that
 * the machine was given (SMBIOS OEM strings, as systemd.system-credentials(7) has them) and puts secrets where they were declared to
 * be. In an image everything but the last has been done already, and the activation finds nothing to do.
 */
import type { Accounts } from "./accounts.ts";
import { hasHome } from "./places.ts";
import { shellWord } from "./sh.ts";
import type { SystemSpec } from "./types.ts";

/** Says which system the files of /etc are of. */
export const STAMP = ".garth-system";
export const CREDENTIALS = "/run/credentials/@system";

export function linuxActivation(spec: SystemSpec, accounts: Accounts, busybox: string): string {
  const homes = homesOf(spec, accounts);
  return `#!${busybox} sh
# activate SYSTEM
b=${busybox}
system=$1
umask 022

before=$($b cat /etc/${STAMP} 2>/dev/null)
if [ "$before" != "$system" ]; then
    $b mkdir -p /etc
    # What the system before brought, and this one does not. What somebody else put there stays.
    [ -z "$before" ] || ! [ -d "$before/etc" ] || (cd "$before/etc" && $b find . ! -type d) | while IFS= read -r path; do
        [ -e "$system/etc/$path" ] || [ -L "$system/etc/$path" ] || $b rm -f "/etc/$path"
    done
    # Which machine it is does not change with the system that it runs.
    machine=$($b cat /etc/machine-id 2>/dev/null)
    (cd "$system/etc" && $b tar -c -f - .) | (cd /etc && $b tar -x -f - -o) || exit
    [ -z "$machine" ] || echo "$machine" >/etc/machine-id
    (cd "$system/etc" && $b find . ! -type l -print0) | (cd /etc && $b xargs -0 "$b" chmod u+w) || exit
    # In this order: a change of the owner takes set-id bits away.
    while read -r mode uid gid path; do
        $b chown "$uid:$gid" "/etc/$path" && $b chmod "$mode" "/etc/$path" || exit
    done <"$system/metadata/etc-owners"
${homes.map((line) => `    ${line}\n`).join("")}    echo "$system" >/etc/${STAMP}
fi

# What the machine was given: io.systemd.credential[.binary]:NAME=VALUE
for raw in /sys/firmware/dmi/entries/11-*/raw; do
    [ -r "$raw" ] || continue
    $b mkdir -p -m 0700 ${CREDENTIALS}
    $b strings -n 8 "$raw" | while IFS= read -r line; do
        name=\${line%%=*}
        value=\${line#*=}
        case $name in
        */*) ;;
        io.systemd.credential.binary:*) printf %s "$value" | $b base64 -d >"${CREDENTIALS}/\${name#*:}" ;;
        io.systemd.credential:*) printf %s "$value" >"${CREDENTIALS}/\${name#*:}" ;;
        esac
    done
done
if [ -e ${CREDENTIALS}/ssh.authorized_keys.root ] && ! [ -e /root/.ssh/authorized_keys ]; then
    $b mkdir -p -m 0700 /root/.ssh
    $b cat ${CREDENTIALS}/ssh.authorized_keys.root >/root/.ssh/authorized_keys
    $b chmod 0600 /root/.ssh/authorized_keys
fi
${secretLines(spec, accounts)}
exit 0
`;
}

function homesOf(spec: SystemSpec, accounts: Accounts): readonly string[] {
  return spec.users.flatMap(({ name, home, authorizedKeys }) => {
    const user = accounts.users.find((each) => each.name === name);
    if (user === undefined || !hasHome(home)) return [];
    const place = shellWord(home);
    const owner = `${user.uid}:${user.gid}`;
    const keys = `${home}/.ssh/authorized_keys`;
    return [
      `[ -d ${place} ] || { $b mkdir -p -m ${name === "root" ? "0700" : "0755"} ${place} && $b chown ${owner} ${place}; }`,
      ...(authorizedKeys.length === 0
        ? []
        : [
            `$b mkdir -p -m 0700 ${shellWord(`${home}/.ssh`)}`,
            `printf '%s\\n' ${authorizedKeys.map(shellWord).join(" ")} >${shellWord(keys)}`,
            `$b chmod 0600 ${shellWord(keys)}`,
            `$b chown ${owner} ${shellWord(`${home}/.ssh`)} ${shellWord(keys)}`,
          ]),
    ];
  });
}

function secretLines(spec: SystemSpec, accounts: Accounts): string {
  const put = spec.secrets.map(({ name, path, user, group, mode }) => {
    const uid = accounts.users.find((each) => each.name === user)?.uid ?? 0;
    const gid = accounts.groups.find((each) => each.name === group)?.gid ?? 0;
    return `secret ${shellWord(name)} ${shellWord(path)} ${uid}:${gid} 0${mode.toString(8)}`;
  });
  const passwords = spec.users.flatMap(({ name, passwordSecret }) =>
    passwordSecret === undefined ? [] : [`password ${name} ${shellWord(passwordSecret)}`],
  );
  if (put.length + passwords.length === 0) return "";
  return `
secret() {
    [ -e "${CREDENTIALS}/$1" ] || { echo "garth: the secret $1 was not given to this machine" >/dev/console; return; }
    $b mkdir -p "\${2%/*}"
    (umask 077 && $b cat "${CREDENTIALS}/$1" >"$2") && $b chown "$3" "$2" && $b chmod "$4" "$2"
}
password() {
    [ -e "${CREDENTIALS}/$2" ] || return
    hash=$($b cat "${CREDENTIALS}/$2")
    (umask 077 && $b awk -F: -v OFS=: -v name="$1" -v hash="$hash" '$1 == name { $2 = hash } { print }' /etc/shadow >/etc/shadow.new)
    $b cat /etc/shadow.new >/etc/shadow
    $b rm /etc/shadow.new
}
${[...put, ...passwords].join("\n")}`;
}
