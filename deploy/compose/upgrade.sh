#!/usr/bin/env bash
# Brings the services of compose.yaml to the version of this folder, so that bots and viewers notice as little as can be:
# the aggregator that follows, then the one that leads, then the bridge and the web replicas, new ones beside the old ones
# before those are stopped. Broker and balancer stay as they are; docs/upgrade.md says when and how to change them.
#
#   git pull && deploy/compose/upgrade.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly WAIT=(up --detach --no-build --no-deps --wait --wait-timeout 120)

leads() {
  local metrics
  # Not through a pipe: grep ends at the first match, and then the whole would count as failed.
  metrics="$(docker compose exec -T nats wget -q -O - "http://$1:9464/metrics")" || return 1
  grep -q '^glance_aggregator_leader 1' <<<"$metrics"
}

# $1: a service that may have several replicas. The new ones get their part before the old ones go.
replace() {
  local running old count container
  # A statement of its own, so that the script ends when it fails: with no old ones, the scale would be 0.
  running="$(docker compose ps --quiet "$1")"
  if [ -z "$running" ]; then
    echo "$1: none runs"
    docker compose "${WAIT[@]}" "$1"
    return
  fi
  mapfile -t old <<<"$running"
  count="${#old[@]}"
  echo "$1: $count new beside $count old"
  docker compose "${WAIT[@]}" --no-recreate --scale "$1=$((2 * count))" "$1"
  # The balancer finds the new ones by their name, and asks each whether it is well.
  sleep 5
  for container in "${old[@]}"; do
    docker stop "$container" >/dev/null
    docker rm "$container" >/dev/null
    # Until the balancer knows that it is gone: one at a time, so that the next try of a request meets another one.
    sleep 3
  done
}

[ "${1:-}" = --no-build ] || docker compose build
order=(aggregator-a aggregator-b)
if leads aggregator-a; then
  order=(aggregator-b aggregator-a)
fi
for service in "${order[@]}"; do
  echo "$service"
  docker compose "${WAIT[@]}" "$service"
done
replace bridge
replace web
docker compose ps
