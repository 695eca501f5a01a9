#!/usr/bin/env bash
# Writes the broker's passwords for compose.yaml into .env, at random, where they are missing; tells none of them.
#
#   deploy/compose/make-passwords.sh [FILE]     FILE is .env unless it is given
#
# To change one: delete its line, run this again, and `docker compose up --detach`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly FILE="${1:-.env}"
readonly USERS=(AGGREGATOR BRIDGE WEB OPERATOR SYSTEM)

if [ ! -e "$FILE" ]; then
  echo "$FILE does not exist; copy .env.sample to it and say which bots there are" >&2
  exit 1
fi
chmod 600 "$FILE"
# The last line of the file may have no end yet.
[ -z "$(tail -c 1 "$FILE")" ] || echo >>"$FILE"
for user in "${USERS[@]}"; do
  name="GLANCE_NATS_${user}_PASSWORD"
  if grep -qE "^[[:space:]]*(export[[:space:]]+)?$name=." "$FILE"; then
    echo "$name is there already"
  else
    # Hexadecimal digits mean nothing special, neither in this file nor in nats.conf. A letter in front keeps the broker
    # from taking it for a number.
    echo "$name=p$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >>"$FILE"
    echo "$name is made"
  fi
done
