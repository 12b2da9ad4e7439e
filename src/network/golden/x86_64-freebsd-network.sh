#!/bin/sh
# The network of the pool debian-12.
#   make                              the bridge, its address, the rules
#   add INTERFACE MAC ADDRESS         a tap, down, with no rules: it reaches nothing
#   up INTERFACE MAC ADDRESS          its machine has its own address
#   policy INTERFACE ADDRESS          what the machine may reach, read from standard input; what it may not any more is cut
#   drop INTERFACE                    the tap, its rules and states
#   ports                             the taps there are
#   remove                            everything, whatever state it is in
# Status 0: done, or there was nothing to do. 3: this host cannot.
set -eu
PATH=/sbin:/bin:/usr/sbin:/usr/bin
export PATH

bridge=gthy9di0lmakdur
anchor=garth/debian-12
subnet=10.77.0.0/24

cannot() {
  printf 'garth-network: %s\n' "$*" >&2
  exit 3
}

exists() {
  ifconfig "$1" >/dev/null 2>&1
}

# Every interface of this pool has its name in its description: also one that never came to the bridge.
ours() {
  for interface in $(ifconfig -l); do
    case $interface in
    gth*)
      if [ "$interface" != "$bridge" ] && ifconfig "$interface" | grep -qxF "	description: $anchor"; then
        printf '%s\n' "$interface"
      fi
      ;;
    esac
  done
}

# The interface of the default route. Where that is a member of a bridge, the bridge: pf never sees NAT on a member.
outward() {
  found=$(route -n get -inet default 2>/dev/null | awk '$1 == "interface:" { print $2 }')
  [ -n "$found" ] || cannot "there is no default route for machines to leave by"
  for candidate in $(ifconfig -g bridge 2>/dev/null); do
    if ifconfig "$candidate" | awk -v name="$found" '$1 == "member:" && $2 == name { found = 1 } END { exit !found }'; then
      found=$candidate
      break
    fi
  done
  printf '%s\n' "$found"
}

require() {
  [ "$(id -u)" -eq 0 ] || cannot "this needs root"
  kldload -n if_bridge if_tuntap pf || cannot "a kernel module is missing"
  pfctl -si 2>/dev/null | grep -q '^Status: Enabled' || cannot "pf is not enabled: sysrc pf_enable=YES && service pf start"
  main=$(pfctl -sr 2>/dev/null; pfctl -sn 2>/dev/null)
  for wanted in 'nat-anchor "garth/*"' 'anchor "garth/*"'; do
    printf '%s\n' "$main" | awk -v wanted="$wanted" 'index($0, wanted) == 1 { found = 1 } END { exit !found }' ||
      cannot "/etc/pf.conf has no line: $wanted all"
  done
  [ "$(sysctl -n net.inet.ip.forwarding)" = 1 ] || cannot "this host does not forward: sysrc gateway_enable=YES && sysctl net.inet.ip.forwarding=1"
}

# Of the whole host; what is right already is left alone.
settings() {
  [ "$(sysctl -n net.link.bridge.pfil_onlyip)" = 1 ] || sysctl net.link.bridge.pfil_onlyip=1 >/dev/null
  [ "$(sysctl -n net.link.bridge.pfil_member)" = 1 ] || sysctl net.link.bridge.pfil_member=1 >/dev/null
  [ "$(sysctl -n net.link.bridge.pfil_bridge)" = 0 ] || sysctl net.link.bridge.pfil_bridge=0 >/dev/null
  [ "$(sysctl -n net.link.bridge.pfil_local_phys)" = 1 ] || sysctl net.link.bridge.pfil_local_phys=1 >/dev/null
  echo 'set limit anchors 4096' | pfctl -q -m -O -f -
}

load() {
  outward=$(outward)
  pfctl -q -a "$anchor" -f - <<RULES
nat on $outward inet from 10.77.0.0/24 to any tag "garth/debian-12" -> ($outward)
anchor "*"
pass out quick on gthy9di0lmakdur inet from 10.77.0.1 to 10.77.0.0/24 keep state
pass out quick on $outward inet all tagged "garth/debian-12" keep state
block return quick on gthy9di0lmakdur inet all
block quick on gthy9di0lmakdur all
RULES
}

# Rules of a machine, then the states that they made: those outlive them.
forget() {
  pfctl -q -a "$anchor/$1" -F rules 2>/dev/null || :
  pfctl -q -a "$anchor/$1" -F Tables 2>/dev/null || :
}

cut() {
  pfctl -q -k "$1"
  pfctl -q -k 0.0.0.0/0 -k "$1"
}

drop() {
  forget "$1"
  ! exists "$1" || ifconfig "$1" destroy
}

remove() {
  for interface in $(ours); do
    drop "$interface"
  done
  for name in $(pfctl -a "$anchor" -s Anchors 2>/dev/null); do
    forget "${name##*/}"
  done
  ! exists "$bridge" || ifconfig "$bridge" destroy
  pfctl -q -a "$anchor" -F nat 2>/dev/null || :
  pfctl -q -a "$anchor" -F rules 2>/dev/null || :
  cut "$subnet"
}

case "${1-}" in
make)
  require
  if ! exists "$bridge"; then
    settings
    trap 'remove' EXIT
    load
    ifconfig bridge create name "$bridge" description "$anchor" ether 02:67:fd:6e:ba:ee >/dev/null
    ifconfig "$bridge" inet 10.77.0.1/24 up
    trap - EXIT
  fi
  ;;
add)
  exists "$bridge" || cannot "the network is not made"
  exists "$2" || ifconfig tap create name "$2" description "$anchor" >/dev/null
  ifconfig "$2" down
  # A tap that is opened comes up by itself where net.link.tap.up_on_open is set.
  sysctl net.link.tap.up_on_open=0 >/dev/null
  ifconfig "$bridge" | awk -v name="$2" '$1 == "member:" && $2 == name { found = 1 } END { exit !found }' ||
    ifconfig "$bridge" addm "$2"
  # It reaches no other port, teaches the bridge nothing, and gets nothing that is not for it.
  ifconfig "$bridge" private "$2" -learn "$2" -discover "$2"
  ifconfig "$bridge" static "$2" "$3"
  ;;
up)
  arp -S "$4" "$3" >/dev/null
  ifconfig "$2" up
  ;;
policy)
  pfctl -q -a "$anchor/$2" -f -
  cut "$3"
  ;;
drop)
  drop "$2"
  ;;
ports)
  ours
  ;;
remove)
  remove
  ;;
*)
  echo "usage: sh $0 make | add INTERFACE MAC ADDRESS | up INTERFACE MAC ADDRESS | policy INTERFACE ADDRESS | drop INTERFACE | ports | remove" >&2
  exit 2
  ;;
esac
