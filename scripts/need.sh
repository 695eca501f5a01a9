#!/usr/bin/env bash
# Makes sure that commands are there: need.sh chromium npm pip
#
# What is missing is installed from Debian's packages, as root or with a sudo that asks for no password. Otherwise one
# sentence on stderr says what to install, exit code 1. Silent when everything is there. A package that brings a service too,
# such as haproxy, does not start it: only the command is wanted.
set -euo pipefail

# Where Debian has haproxy; only root has it on PATH.
PATH="$PATH:/usr/sbin:/sbin"

readonly POLICY=/usr/sbin/policy-rc.d

fail() {
  echo "$1" >&2
  exit 1
}

is_there() {
  case "$1" in
    pip) python3 -m pip --version ;;
    *) command -v "$1" ;;
  esac >/dev/null 2>&1
}

package_of() {
  case "$1" in
    pip) echo python3-pip ;;
    node) echo nodejs ;;
    promtool) echo prometheus ;;
    *) echo "$1" ;;
  esac
}

# Debian 12 has an older one in its packages, so this is no matter of installing.
check_node() {
  node -e 'process.exit(Number.parseInt(process.versions.node) >= 20 ? 0 : 1)' ||
    fail "please install Node.js 20 or newer (this is $(node --version))"
}

apt() {
  # Debconf would ask questions otherwise; what apt prints is of interest only when it fails.
  "${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" </dev/null 2>&1
}

# What Debian asks before it starts a service: no. Where there is such a file already, it knows better.
forbid_services() {
  [ ! -e "$POLICY" ] || return 0
  trap '"${become[@]}" rm -f "$POLICY"' EXIT
  printf '#!/bin/sh\nexit 101\n' | "${become[@]}" tee "$POLICY" >/dev/null
  "${become[@]}" chmod 755 "$POLICY"
}

# And none of those that came is started with the machine.
disable_services() {
  command -v systemctl >/dev/null || return 0
  local units
  units="$(dpkg -L "${missing[@]}" | sed -nE 's#^(/usr)?/lib/systemd/system/([^/@]+\.service)$#\2#p')"
  [ -n "$units" ] || return 0
  mapfile -t units <<<"$units"
  "${become[@]}" systemctl --quiet disable "${units[@]}" >&2 ||
    echo "please see that none of these starts with the machine: ${units[*]}" >&2
}

install() {
  command -v apt-get >/dev/null || fail "please install ${missing[*]}"
  become=()
  if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || fail "please install ${missing[*]} (sudo apt-get install ${missing[*]})"
    become=(sudo -n)
  fi
  echo "installing ${missing[*]} ..." >&2
  local log
  forbid_services
  { log="$(apt update)" && log="$(apt install -y --no-install-recommends "${missing[@]}")"; } ||
    fail "apt-get could not install ${missing[*]}: $log"
  disable_services
}

missing=()
for command in "$@"; do
  is_there "$command" || missing+=("$(package_of "$command")")
done
[ "${#missing[@]}" -eq 0 ] || install
for command in "$@"; do
  is_there "$command" || fail "$command is still not there, with the package $(package_of "$command")"
done
if [[ " $* " == *" node "* ]]; then
  check_node
fi
