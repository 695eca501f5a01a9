#!/usr/bin/env bash
# Builds and starts `glance` together with a simulated fleet. Both end together, and nothing is kept.
#
# GLANCE_PORT, GLANCE_PASSPHRASE and the like are taken from the environment, but not from .env, and GLANCE_NATS_URL from
# neither: a demo must not publish its invented shards to the broker of real bots. Arguments go to the simulator.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

GLANCE_NATS_SERVER="$(scripts/nats-server.sh)"
cargo build --release -p glance-standalone -p glance-simulator
programs="$(realpath "${CARGO_TARGET_DIR:-target}")/release"

folder="$(mktemp -d "${TMPDIR:-/tmp}/glance-demo.XXXXXX")"
unset GLANCE_NATS_URL
export GLANCE_NATS_SERVER GLANCE_BOTS="main:1056;canary:16" GLANCE_DATA_DIR="$folder/data"
# No .env is there.
cd "$folder"

case "${GLANCE_HOST:-}" in
  '' | 0.0.0.0 | ::) host=127.0.0.1 ;;
  *:*) host="[$GLANCE_HOST]" ;;
  *) host="$GLANCE_HOST" ;;
esac

pids=()
finish() {
  trap '' INT TERM HUP
  # One that has ended already cannot be signalled.
  kill -TERM "${pids[@]}" 2>/dev/null || true
  wait
  cd /
  rm -rf "$folder"
}
trap finish EXIT
trap 'exit 0' INT TERM HUP

# Each in a process group of its own: Ctrl-C then reaches this script only, which ends them in an orderly way.
set -m
"$programs/glance" &
pids+=($!)
# The address for metrics is that of the first.
GLANCE_METRICS_ADDRESS="" "$programs/glance-simulator" --http "http://$host:${GLANCE_PORT:-3000}" "$@" &
pids+=($!)
# Whichever ends first, the other is of no use without it.
wait -n "${pids[@]}"
