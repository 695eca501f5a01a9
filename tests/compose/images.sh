#!/usr/bin/env bash
# Makes stand-ins for the base images of Dockerfile and compose.yaml, where a Docker engine runs but no image registry can
# be reached: from Debian's packages, this machine's Rust toolchain, and the pinned nats-server. Needs root.
#
# They are tagged glance-stand-in/..., so that they are never taken for the real ones; tests/compose/stand-in.yaml puts
# them in their places, and Dockerfile and compose.yaml are used as they are. What differs from the real images: HAProxy
# is Debian's, and nats and haproxy lie on Debian instead of Alpine. Crates are copied from cargo's cache, so that a
# build needs no network either.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly MIRROR="${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
readonly CACHE="$PWD/.tools/stand-in"
readonly LABEL='LABEL glance.stand-in=1'

fail() {
  echo "$1" >&2
  exit 1
}

[ "$(id -u)" -eq 0 ] || fail 'tests/compose/images.sh needs root, for debootstrap'
docker version >/dev/null 2>&1 || fail 'tests/compose/images.sh needs a Docker engine that runs'
scripts/need.sh debootstrap pip
mkdir -p "$CACHE"
work="$(mktemp -d "${TMPDIR:-/tmp}/glance-images.XXXXXX")"
trap 'rm -rf "$work"' EXIT

# $1: release of Debian; $2: packages; prints the path of a tree with them. Made once.
debian() {
  local tree="$CACHE/$1"
  if [ ! -e "$tree.done" ]; then
    rm -rf "$tree"
    debootstrap --variant=minbase --include="$2" "$1" "$tree" "$MIRROR" >"$tree.log" 2>&1 ||
      fail "debootstrap failed: $(tail -n 3 "$tree.log")"
    rm -rf "${tree:?}"/var/cache/apt/* "${tree:?}"/var/lib/apt/lists/* "${tree:?}"/dev/*
    touch "$tree.done"
  fi
  echo "$tree"
}

# $1: a tree; $2: the name; the rest: what the image's configuration shall be.
import() {
  local tree="$1" name="glance-stand-in/$2" changes=()
  shift 2
  for change in "$LABEL" "$@"; do
    changes+=(--change "$change")
  done
  tar -C "$tree" --numeric-owner -c . | docker import "${changes[@]}" - "$name" >/dev/null
  echo "$name"
}

# The compiler: Debian 12 as in the real image, and what a build of these crates asks of the machine.
rust() {
  local tree sysroot
  tree="$(debian bookworm ca-certificates,gcc,libc6-dev,make)"
  sysroot="$(rustc --print sysroot)"
  cargo fetch --locked --quiet
  mkdir -p "$work/rust/usr/local/rust" "$work/rust/usr/local/cargo/registry"
  cp -a "$tree/." "$work/rust/"
  cp -a "$sysroot/bin" "$sysroot/lib" "$work/rust/usr/local/rust/"
  cp -a "${CARGO_HOME:-$HOME/.cargo}"/registry/{index,cache} "$work/rust/usr/local/cargo/registry/"
  import "$work/rust" rust 'ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    'ENV CARGO_HOME=/usr/local/cargo' 'ENV CARGO_NET_OFFLINE=true'
  rm -rf "$work/rust"
}

# What programs run on: the same few packages of Debian 12 that the real image is put together from; no shell.
runtime() {
  local tree packages="$work/packages"
  tree="$(debian bookworm ca-certificates,gcc,libc6-dev,make)"
  mkdir -p "$packages" "$work/runtime"/{etc/ssl/certs,home/nonroot,tmp,proc,sys,dev}
  (cd "$packages" && apt-get download --quiet base-files libc6 libgcc-s1 libstdc++6 netbase tzdata >/dev/null 2>&1) ||
    fail 'apt-get download failed; is this Debian 12, and apt-get update done?'
  for package in "$packages"/*.deb; do
    dpkg-deb --extract "$package" "$work/runtime"
  done
  cp "$tree/etc/ssl/certs/ca-certificates.crt" "$work/runtime/etc/ssl/certs/"
  echo 'root:x:0:0:root:/root:/sbin/nologin
nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' >"$work/runtime/etc/passwd"
  echo 'root:x:0:
nonroot:x:65532:' >"$work/runtime/etc/group"
  echo 'hosts: files dns' >"$work/runtime/etc/nsswitch.conf"
  chmod 1777 "$work/runtime/tmp"
  rm -rf "$work"/runtime/usr/share/{doc,man,locale,lintian}
  import "$work/runtime" cc-debian12 'USER 65532' 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' \
    'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
}

# The broker: its program is linked statically, and Alpine's tools are BusyBox.
nats() {
  mkdir -p "$work/busybox" "$work/nats"/{bin,usr/local/bin,tmp,etc,proc,sys,dev}
  (cd "$work/busybox" && apt-get download --quiet busybox-static >/dev/null 2>&1) || fail 'apt-get download busybox-static failed'
  dpkg-deb --extract "$work"/busybox/*.deb "$work/busybox"
  cp "$work/busybox/bin/busybox" "$work/nats/bin/"
  chroot "$work/nats" /bin/busybox --install -s /bin
  cp "$(scripts/nats-server.sh newest)" "$work/nats/usr/local/bin/nats-server"
  chmod 1777 "$work/nats/tmp"
  import "$work/nats" nats 'ENV PATH=/usr/local/bin:/bin'
}

# The balancer: Debian 13 has HAProxy 3.0. The health check of compose.yaml wants wget, which is BusyBox's on Alpine.
haproxy() {
  local tree
  tree="$(debian trixie busybox,haproxy)"
  ln -sf /usr/bin/busybox "$tree/usr/bin/wget"
  import "$tree" haproxy 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' 'USER 99'
}

rust
runtime
nats
haproxy
