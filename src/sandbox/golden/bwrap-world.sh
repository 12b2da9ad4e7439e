#!/bin/sh
# The sandbox garth-hello-1a2b3c4d.
#   enter   opens a shell in it, as the build user, with the same mounts and limits on files
#   run     what Garth does: the builder, with control groups, ended by Garth when a limit is reached;
#           descriptor 4 is the user namespace, 3 takes bwrap's status documents
# shellcheck disable=SC3045 # Not of POSIX, but every sh of Linux has these options of ulimit.
set -eu
umask 022
case "${1-}" in
run)
  exec 2>&1
  echo 0 >/sys/fs/cgroup/memory/garth-1-2-35001-abcdefabcdef/tasks
  echo 0 >/sys/fs/cgroup/pids/garth-1-2-35001-abcdefabcdef/tasks
  set -- --new-session --json-status-fd 3 -- \
    /bin/sh -c 'make install'
  ;;
enter)
  unshare --user --keep-caps sh -c 'echo 0 >/proc/sys/user/max_user_namespaces; exec sleep 10' &
  holder=$!
  until [ "$(cat "/proc/$holder/comm")" = sleep ]; do :; done
  for map in uid_map gid_map; do
    cat >"/proc/$holder/$map" <<MAP
1 1 65533
65534 0 1
65535 65535 4294901760
MAP
  done
  exec 4<"/proc/$holder/ns/user"
  kill "$holder"
  set -- -- /bin/sh -i
  ;;
*)
  echo "usage: sh $0 enter" >&2
  exit 2
  ;;
esac
exec 5<<'EOF'
root:x:0:0:root:/root:/bin/sh
garth:x:35001:35001:build user:/homeless:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
EOF
exec 6<<'EOF'
root:x:0:
garth:x:35001:
nogroup:x:65534:
EOF
ulimit -c 0
ulimit -f 67108864
# Without the right to raise it, the limit stays at what this process has.
ulimit -n 16384 2>/dev/null || :
exec setpriv --clear-groups bwrap \
  --userns 4 --sync-fd 4 \
  --uid 35001 --gid 35001 \
  --cap-drop ALL \
  --unshare-pid --unshare-ipc --unshare-uts --unshare-cgroup \
  --unshare-net \
  --hostname garth-hello-1a2b3c4d \
  --die-with-parent \
  --clearenv \
  --setenv CFLAGS '-O2 -g' \
  --setenv HOME /homeless \
  --setenv LC_ALL C.UTF-8 \
  --setenv PATH /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  --setenv SOURCE_DATE_EPOCH 1 \
  --setenv TMPDIR /tmp \
  --setenv out /frx/store/0000000000000000000000000000000000000000000000000000000000000000-hello-1.0 \
  --dir /frx \
  --dir /frx/store \
  --symlink usr/bin /bin \
  --ro-bind /r/frx/store/c/etc /etc \
  --ro-bind /r/frx/store/c/usr /usr \
  --ro-bind-data 5 /etc/passwd \
  --ro-bind-data 6 /etc/group \
  --proc /proc \
  --dev /dev \
  --perms 1777 --size 8589934592 --tmpfs /dev/shm \
  --remount-ro /dev \
  --ro-bind '/r/frx/store/a zlib' /frx/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-zlib-1.3 \
  --ro-bind /r/frx/store/b /frx/store/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-hello.tar.gz \
  --bind /r/frx/var/garth/tmp/1/out /frx/store/0000000000000000000000000000000000000000000000000000000000000000-hello-1.0 \
  --bind /r/frx/var/garth/tmp/1/sandbox/build /build \
  --bind /r/frx/var/garth/tmp/1/sandbox/tmp /tmp \
  --remount-ro / \
  --chdir /build \
  "$@"
