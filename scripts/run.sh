#!/usr/bin/env bash
# Builds and starts `glance` with the settings of .env, on a nats-server of its own unless GLANCE_NATS_URL is set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[ -e .env ] || cp .env.sample .env

if [ -z "${GLANCE_NATS_URL:-}" ] && ! grep -qE '^[[:space:]]*(export[[:space:]]+)?GLANCE_NATS_URL=.' .env; then
  GLANCE_NATS_SERVER="$(scripts/nats-server.sh)"
  export GLANCE_NATS_SERVER
fi
cargo build --release -p glance-standalone
exec "${CARGO_TARGET_DIR:-target}/release/glance" "$@"
