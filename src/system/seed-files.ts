/**
 * What a machine carries so that it learns who it is from its seed disk: the settings that make cloud-init look there and nowhere else,
 * and a service that does the same where cloud-init is missing or stays out. Pure texts, for systems made here and images made elsewhere.
 *
 *     seed disk ──► cloud-init (NoCloud)          network, users, keys
 *          └──────► garth-seed ──cloud-init has taken this instance──► leaves the network alone, and finds the rest done
 *                              └─else──► name, address by whoever manages the network here, name servers, keys, host key
 *
 * garth-seed runs under systemd before the network and sshd, or under any other process 1 that starts it before sshd. It needs a
 * POSIX shell and either the usual tools or busybox; the kernel must know vfat.
 */

/** Where a system made by Garth has it: below /usr there is nothing but what packages bring. */
export const SEED_SCRIPT_PATH = "/etc/garth/seed";
export const SEED_UNIT = "garth-seed.service";
export const CLOUD_CONFIG_PATH = "/etc/cloud/cloud.cfg.d/90_garth_nocloud.cfg";

/**
 * With one datasource alone cloud-init does not probe for others. `None` is for a start without a seed, such as the boot that a gate
 * looks at.
 */
export const CLOUD_CONFIG = `# A clone's seed is a disk labelled CIDATA. Nothing else is asked.
datasource_list: [NoCloud, None]
datasource:
  NoCloud:
    fs_label: CIDATA
`;

/** `command` runs garth-seed. */
export function seedUnit(command: string): string {
  return `[Unit]
Description=Learn who this machine is from its seed disk
DefaultDependencies=no
After=local-fs.target systemd-udev-trigger.service cloud-init-local.service
Wants=network-pre.target
Before=network-pre.target NetworkManager.service systemd-networkd.service networking.service systemd-resolved.service
Before=ssh.service sshd.service ssh.socket sshd.socket
Before=shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=60
ExecStart=${command}

[Install]
WantedBy=multi-user.target
`;
}

export const SEED_SCRIPT = `#!/bin/sh
# garth-seed [DIRECTORY]
#
# Tells this machine who it is, from the disk labelled CIDATA that came with it, or from a directory with the same files: its name,
# address and name servers, who may log in, and its SSH host key. For machines without cloud-init, and where that stays out.
#
# What is kept on the machine's disk is written once for each instance, the rest at each start. Without a seed nothing happens.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
LC_ALL=C
export LC_ALL
umask 022

state=/var/lib/garth-seed
place=/run/garth-seed
status=0

# Small systems have busybox and no links to it.
run() {
    if command -v "$1" >/dev/null 2>&1; then "$@"; else busybox "$@"; fi
}
complain() {
    echo "garth-seed: $*" >&2
    status=1
}

# ---- the seed

# Udev knows labels. Elsewhere each disk is looked at: FAT12 and FAT16 have theirs at byte 43.
labelled() {
    for name in CIDATA cidata; do
        [ -e "/dev/disk/by-label/$name" ] || continue
        echo "/dev/disk/by-label/$name"
        return 0
    done
    for block in /sys/class/block/*; do
        name=\${block##*/}
        case $name in loop* | ram* | zram* | dm-* | md* | fd* | sr* | nbd*) continue ;; esac
        [ -b "/dev/$name" ] || continue
        case $(run dd if="/dev/$name" bs=1 skip=43 count=6 2>/dev/null | run tr -d '\\000') in
        CIDATA | cidata)
            echo "/dev/$name"
            return 0
            ;;
        esac
    done
    return 1
}

# A disk is there as soon as its driver is. Without a seed the machine waits for half a second, and no longer.
find_seed() {
    labelled && return 0
    if command -v udevadm >/dev/null 2>&1; then
        udevadm settle --timeout=10
        labelled
        return
    fi
    for _ in 1 2 3 4 5; do
        run sleep 0.1
        labelled && return 0
    done
    return 1
}

attach() {
    run mount -t vfat -o ro,nosuid,nodev,noexec,umask=077 "$1" "$2" 2>/dev/null && return 0
    # A kernel that cannot call for a driver by itself.
    for module in vfat nls_cp437 nls_ascii nls_iso8859-1 nls_utf8; do run modprobe "$module" 2>/dev/null; done
    run mount -t vfat -o ro,nosuid,nodev,noexec,umask=077 "$1" "$2"
}

# KEY='value' lines, read and never executed.
read_environment() {
    while IFS='=' read -r key value || [ -n "$key" ]; do
        value=\${value#\\'}
        value=\${value%\\'}
        case $value in
        *[!A-Za-z0-9\\ ._:/+=@-]*)
            complain "$key has a value that cannot be used"
            continue
            ;;
        esac
        case $key in
        COPPICE_INSTANCE_ID) instance=$value ;;
        COPPICE_HOSTNAME) hostname=$value ;;
        COPPICE_ADDRESS) address=$value ;;
        COPPICE_PREFIX_LENGTH) prefix=$value ;;
        COPPICE_GATEWAY) gateway=$value ;;
        COPPICE_NAME_SERVERS) servers=$value ;;
        COPPICE_MAC) mac=$value ;;
        COPPICE_USER) user=$value ;;
        COPPICE_HOST_PUBLIC_KEY) host_public=$value ;;
        COPPICE_HOST_KEY_BASE64) host_private=$value ;;
        esac
    done
}

read_seed() {
    if ! [ -r "$1/coppice-instance.env" ]; then
        complain "$1 has no coppice-instance.env"
        return 1
    fi
    read_environment <"$1/coppice-instance.env"
    IFS= read -r authorized <"$1/coppice-authorized-key.pub" || :
    if [ -z "$instance" ] || [ -z "$hostname" ] || [ -z "$address" ] || [ -z "$prefix" ] || [ -z "$gateway" ] || [ -z "$mac" ]; then
        complain "the seed says too little: an instance, a name, an address, a prefix, a gateway and a MAC address are needed"
        return 1
    fi
}

# ---- name

set_name() {
    [ "$(cat /proc/sys/kernel/hostname)" = "$hostname" ] && return 0
    echo "$hostname" >/proc/sys/kernel/hostname || complain "the name cannot be set"
}

keep_name() {
    echo "$hostname" >/etc/hostname || complain "/etc/hostname cannot be written"
    others=$(run grep -v '^127\\.0\\.1\\.1[[:space:]]' /etc/hosts 2>/dev/null)
    printf '%s\\n127.0.1.1 %s\\n' "\${others:-127.0.0.1 localhost}" "$hostname" >/etc/hosts || complain "/etc/hosts cannot be written"
}

# ---- network

# systemd.unit(5): a unit is enabled by links, and a mask takes all of them away.
enabled() {
    [ -d /run/systemd/system ] || return 1
    [ "$(run readlink "/etc/systemd/system/$1")" != /dev/null ] || return 1
    for link in /etc/systemd/system/*.wants/"$1" /run/systemd/system/*.wants/"$1" /usr/lib/systemd/system/*.wants/"$1"; do
        if [ -e "$link" ] || [ -L "$link" ]; then return 0; fi
    done
    return 1
}

# At this start cloud-init has read this seed, or one of its own that was added to it, and the address stands in what it wrote for
# whoever manages the network. Where it fell back to asking for an address, there is a file, too.
taken_by_cloud_init() {
    [ -d /run/cloud-init ] || return 1
    read_here=$(cat /var/lib/cloud/data/instance-id 2>/dev/null)
    for file in /etc/network/interfaces.d/50-cloud-init* /etc/netplan/*cloud-init* /etc/systemd/network/*cloud-init* \\
        /etc/NetworkManager/system-connections/cloud-init* /etc/sysconfig/network-scripts/ifcfg-*; do
        run grep -qswF "$address" "$file" || continue
        if [ "$read_here" = "$instance" ] || run grep -qsiF "$mac" "$file"; then return 0; fi
    done
    return 1
}

# netplan starts networkd when it has written for it, enabled or not.
netplan_wrote() {
    for file in /run/systemd/network/*.network; do [ ! -e "$file" ] || return 0; done
    return 1
}

manager() {
    if taken_by_cloud_init; then
        echo cloud-init
    elif enabled NetworkManager.service; then
        echo NetworkManager
    elif enabled systemd-networkd.service || netplan_wrote; then
        echo networkd
    elif enabled networking.service && [ -e /etc/network/interfaces ]; then
        echo ifupdown
    else
        echo nobody
    fi
}

# The name of the interface with the address of the seed, when its driver and its name have come.
find_interface() {
    if command -v udevadm >/dev/null 2>&1; then udevadm settle --timeout=10; fi
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        for link in /sys/class/net/*; do
            [ "$(cat "$link/address" 2>/dev/null)" = "$mac" ] || continue
            echo "\${link##*/}"
            return 0
        done
        run sleep 0.1
    done
    return 1
}

keep_network() {
    case $1 in
    networkd)
        # It takes the first file that matches, in the order of their names.
        mkdir -p /etc/systemd/network
        {
            printf '[Match]\\nMACAddress=%s\\n\\n[Network]\\nAddress=%s/%s\\nGateway=%s\\n' "$mac" "$address" "$prefix" "$gateway"
            for server in $servers; do printf 'DNS=%s\\n' "$server"; done
        } >/etc/systemd/network/05-garth-seed.network || complain "networkd's file cannot be written"
        ;;
    NetworkManager)
        list=
        for server in $servers; do list=$list$server\\;; done
        (
            umask 077
            printf '[connection]\\nid=garth-seed\\ntype=ethernet\\nautoconnect-priority=100\\n\\n[ethernet]\\nmac-address=%s\\n\\n' "$mac"
            printf '[ipv4]\\nmethod=manual\\naddress1=%s/%s,%s\\ndns=%s\\n\\n[ipv6]\\nmethod=disabled\\n' "$address" "$prefix" "$gateway" "$list"
        ) >/etc/NetworkManager/system-connections/garth-seed.nmconnection || complain "NetworkManager's file cannot be written"
        chmod 0600 /etc/NetworkManager/system-connections/garth-seed.nmconnection
        ;;
    ifupdown)
        if ! interface=$(find_interface); then
            complain "no interface has the address $mac"
            return
        fi
        # Stanzas for one interface add up: another file's DHCP would go on asking.
        [ -e /etc/network/interfaces.before-garth-seed ] || mv /etc/network/interfaces /etc/network/interfaces.before-garth-seed
        printf 'auto lo\\niface lo inet loopback\\n\\nauto %s\\niface %s inet static\\n    address %s/%s\\n    gateway %s\\n%s' \\
            "$interface" "$interface" "$address" "$prefix" "$gateway" "\${servers:+    dns-nameservers $servers
}" >/etc/network/interfaces || complain "/etc/network/interfaces cannot be written"
        ;;
    esac
}

# Where nobody else does it.
set_network() {
    [ "$1" = nobody ] || return 0
    if ! interface=$(find_interface); then
        complain "no interface has the address $mac"
        return
    fi
    run ip link set lo up
    run ip link set "$interface" up
    # Whatever else manages the link waits for its own address there, which comes when the link comes up and not again.
    run ip -4 addr flush dev "$interface"
    run ip addr add "$address/$prefix" dev "$interface" || complain "$interface did not take $address/$prefix"
    run ip route add default via "$gateway" dev "$interface" || complain "$gateway did not become the gateway"
}

keep_name_servers() {
    [ -n "$servers" ] || return 0
    if enabled systemd-resolved.service; then
        mkdir -p /etc/systemd/resolved.conf.d
        printf '[Resolve]\\nDNS=%s\\n' "$servers" >/etc/systemd/resolved.conf.d/garth-seed.conf || complain "resolved's file cannot be written"
        [ ! -L /etc/resolv.conf ] || return 0
    fi
    [ "$1" != NetworkManager ] || return 0
    # cloud-init tells whoever manages the network. networkd tells resolved, and nobody where that is not.
    if [ "$1" = cloud-init ] && ! enabled systemd-networkd.service; then return 0; fi
    # A link leads to whoever wrote it the last time.
    [ ! -L /etc/resolv.conf ] || rm -f /etc/resolv.conf
    for server in $servers; do printf 'nameserver %s\\n' "$server"; done >/etc/resolv.conf || complain "/etc/resolv.conf cannot be written"
}

# ---- keys

# name:password:uid:gid:comment:home:shell
home_of() {
    while IFS=: read -r name _ uid gid _ home _; do
        [ "$name" = "$1" ] || continue
        echo "$uid:$gid $home"
        return 0
    done </etc/passwd
    return 1
}

make_user() {
    if command -v useradd >/dev/null 2>&1; then
        shell=/bin/sh
        [ ! -x /bin/bash ] || shell=/bin/bash
        # "*" is no password; "!" would be an account that sshd refuses without PAM.
        useradd --create-home --shell "$shell" --password '*' "$1"
    else
        run adduser -D "$1"
    fi
}

authorize() {
    home_of "$1" >/dev/null || make_user "$1"
    if ! found=$(home_of "$1"); then
        complain "there is no user $1"
        return
    fi
    owner=\${found%% *}
    home=\${found#* }
    directory=$home/.ssh
    [ -d "$home" ] || { mkdir -p "$home" && run chown "$owner" "$home"; }
    mkdir -p "$directory" && chmod 0700 "$directory"
    run grep -qxF "$authorized" "$directory/authorized_keys" 2>/dev/null || printf '%s\\n' "$authorized" >>"$directory/authorized_keys" ||
        complain "$directory/authorized_keys cannot be written"
    chmod 0600 "$directory/authorized_keys"
    run chown "$owner" "$directory" "$directory/authorized_keys" || complain "$directory cannot be given to $1"
}

# The keys of the image are everybody's who has the image.
keep_host_key() {
    mkdir -p /etc/ssh
    if [ -z "$host_private" ]; then
        rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
        ssh-keygen -q -t ed25519 -N '' -C '' -f /etc/ssh/ssh_host_ed25519_key || complain "no host key was made"
        return
    fi
    (umask 077 && printf %s "$host_private" | run base64 -d >/etc/ssh/garth-seed.key) || {
        complain "the host key cannot be written"
        rm -f /etc/ssh/garth-seed.key
        return
    }
    rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
    mv /etc/ssh/garth-seed.key /etc/ssh/ssh_host_ed25519_key
    printf '%s\\n' "$host_public" >/etc/ssh/ssh_host_ed25519_key.pub
}

# ---- all of it

instance='' hostname='' address='' prefix='' gateway='' servers='' mac='' user='' host_public='' host_private='' authorized=''
mkdir -p "$place" && chmod 0700 "$place"
if [ $# -gt 0 ]; then
    read_seed "$1" || exit 1
else
    device=$(find_seed) || exit 0
    mkdir -p "$place/disk"
    if ! attach "$device" "$place/disk"; then
        complain "$device cannot be mounted"
        exit 1
    fi
    read_seed "$place/disk"
    understood=$?
    run umount "$place/disk"
    rmdir "$place/disk"
    [ "$understood" -eq 0 ] || exit 1
fi

by=$(manager)
set_name
if [ "$(cat "$state/instance-id" 2>/dev/null)" != "$instance" ]; then
    keep_name
    keep_host_key
    if [ -n "$authorized" ]; then
        authorize root
        [ "\${user:-root}" = root ] || authorize "$user"
    fi
    keep_network "$by"
    keep_name_servers "$by"
    # Half done is done again at the next start.
    if [ "$status" -eq 0 ]; then mkdir -p "$state" && echo "$instance" >"$state/instance-id"; fi
fi
set_network "$by"
echo "garth-seed: $hostname is $address/$prefix, its network is kept by $by"
exit "$status"
`;
