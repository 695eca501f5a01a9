#!/usr/bin/env bash
# Starts the units of deploy/systemd on a systemd of their own, as docs/systemd.md says it, and tries them (inside.sh).
#
# That systemd runs in new namespaces, on a Debian 12 made with debootstrap and kept in .tools/: nothing of it is seen on
# this machine, and its ports are not this machine's. The programs are those of target/debug, or of GLANCE_BIN_DIR.
# Exit code 77: it cannot be done here (needs root, on Linux), so that nothing was tried.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly MIRROR="${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
readonly PROGRAMS="${GLANCE_BIN_DIR:-target/debug}"
readonly TREE="$PWD/.tools/systemd/bookworm"

skip() {
  echo "not tried: $1" >&2
  exit 77
}

[ "$(id -u)" -eq 0 ] || skip 'this needs root, for debootstrap and namespaces'
unshare --mount --pid --net --uts --ipc --fork true 2>/dev/null || skip 'new namespaces are not allowed here'
scripts/need.sh debootstrap

if [ ! -e "$TREE.done" ]; then
  mkdir -p "${TREE%/*}"
  rm -rf "$TREE"
  echo 'fetching Debian 12 with systemd and HAProxy ...' >&2
  debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,libnss-systemd,haproxy,curl,iproute2,procps bookworm "$TREE" "$MIRROR" \
    >"$TREE.log" 2>&1 || skip "debootstrap failed: $(tail -n 3 "$TREE.log")"
  touch "$TREE.done"
fi

work="$(mktemp -d "${TMPDIR:-/tmp}/glance-systemd.XXXXXX")"
init=''
finish() {
  local status=$?
  # Its end is the end of all in its namespace, and of its mounts.
  [ -z "$init" ] || kill -KILL "$init" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

cp -a "$TREE" "$work/root"
mkdir -p "$work/root/source"
cp -a deploy nats.conf .env.sample tests/systemd/inside.sh "$work/root/source/"
# Where docs/systemd.md has them from.
mkdir -p "$work/root/source/target/release"
cp "$PROGRAMS"/glance{,-aggregator,-bridge,-web} "$work/root/source/target/release/"
cp "$(scripts/nats-server.sh newest)" "$work/root/source/nats-server"

unshare --mount --pid --net --uts --ipc --fork tests/systemd/boot.sh "$work/root" >"$work/log" 2>&1 &
enter=()
# Degraded: a unit that this machine does not allow has failed, and none of ours is there yet.
booted() {
  init="$(pgrep --parent "$1")" || return 1
  enter=(nsenter --target "$init" --mount --pid --net --uts --ipc --root --wd)
  [[ "$("${enter[@]}" systemctl is-system-running 2>/dev/null)" =~ ^(running|degraded)$ ]]
}
for _ in $(seq 150); do
  ! booted $! || break
  sleep 0.2
done
booted $! || skip "systemd does not start here: $(tail -n 3 "$work/log")"

"${enter[@]}" /source/inside.sh || {
  "${enter[@]}" journalctl --no-pager --lines 60 --unit 'glance*' --unit haproxy >&2 || true
  exit 1
}
