#!/usr/bin/env bash
# Checks the dependencies, also those of the fuzz targets: licences, bans and sources, and known vulnerabilities.
#
#   check-dependencies.sh            without the vulnerabilities where their list cannot be fetched: it is on GitHub
#   check-dependencies.sh --strict   fails without that list
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! deny="$(scripts/cargo-deny.sh)"; then
  [ "${1:-}" != --strict ] || exit 1
  echo 'the dependencies are not checked'
  exit 0
fi

checks=(licenses bans sources)
# Fetched by itself, so that a list that cannot be had is told from one in which something was found.
if log="$("$deny" --log-level error fetch db 2>&1)"; then
  checks+=(advisories)
elif [ "${1:-}" = --strict ]; then
  echo "$log" >&2
  exit 1
else
  echo "known vulnerabilities are not looked for: $(grep -v '^ *$' <<<"$log" | tail -n 1)"
fi

for manifest in Cargo.toml fuzz/Cargo.toml; do
  "$deny" --locked --manifest-path "$manifest" --config deny.toml --log-level error check "${checks[@]}"
done
