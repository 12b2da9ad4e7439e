#!/bin/sh
# The sandbox garth-hello-1a2b3c4d.
#   enter   opens a shell in it, as the build user, with the same mounts and limits on files
#   run     what Garth does: the builder, with control groups, ended by Garth when a limit is reached;
#           descriptor 3 takes bwrap's status documents
# shellcheck disable=SC3045 # Not of POSIX, but every sh of Linux has these options of ulimit.
set -eu
umask 022
case "${1-}" in
run)
  exec 2>&1
  set -- --new-session --json-status-fd 3 -- \
    /bin/sh -c 'make install'
  ;;
enter)
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
ulimit -c 0
ulimit -f 67108864
# Without the right to raise it, the limit stays at what this process has.
ulimit -n 16384 2>/dev/null || :
exec prlimit --nproc=5000 bwrap \
  --unshare-user --disable-userns \
  --uid 35001 --gid 35001 \
  --cap-drop ALL \
  --unshare-pid --unshare-ipc --unshare-uts --unshare-cgroup \
  --hostname garth-hello-1a2b3c4d \
  --die-with-parent \
  --clearenv \
  --setenv HOME /homeless \
  --setenv LC_ALL C.UTF-8 \
  --setenv PATH /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  --setenv SOURCE_DATE_EPOCH 1 \
  --setenv TMPDIR /tmp \
  --setenv out /frx/store/0000000000000000000000000000000000000000000000000000000000000000-hello-1.0 \
  --dir /etc \
  --dir /frx \
  --dir /frx/store \
  --ro-bind /usr /usr \
  --perms 0444 --file 5 /etc/passwd \
  --proc /proc \
  --dev /dev \
  --perms 1777 --size 8589934592 --tmpfs /dev/shm \
  --remount-ro /dev \
  --bind /r/frx/var/garth/tmp/1/out /frx/store/0000000000000000000000000000000000000000000000000000000000000000-hello-1.0 \
  --bind /r/frx/var/garth/tmp/1/sandbox/build /build \
  --bind /r/frx/var/garth/tmp/1/sandbox/tmp /tmp \
  --remount-ro / \
  --chdir /build \
  "$@"
