#!/usr/bin/env bash
# Invents the broker's passwords for the units, where they are missing; tells none of them. As root.
#
#   make-passwords.sh [FOLDER]      FOLDER is /etc/glance unless it is given
#
# FOLDER/secrets/<user> is what a service gives (LoadCredential of its unit), FOLDER/nats.env what the broker expects. To change
# one: remove its file, run this again, and restart the broker and that service.
set -euo pipefail

readonly FOLDER="${1:-/etc/glance}"
readonly USERS=(aggregator bridge web operator system)

# nats-server reads nats.conf in it, as a user of its own. The secrets are for root alone.
install -d -m 755 "$FOLDER"
umask 077
install -d -m 700 "$FOLDER/secrets"
for user in "${USERS[@]}"; do
  file="$FOLDER/secrets/$user"
  if [ ! -s "$file" ]; then
    # A letter in front keeps the broker from taking it for a number.
    printf 'p%s' "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >"$file"
    echo "$file is made"
  fi
done
for user in "${USERS[@]}"; do
  echo "GLANCE_NATS_${user^^}_PASSWORD=$(<"$FOLDER/secrets/$user")"
done >"$FOLDER/nats.env.new"
# Bots have passwords of their own, which were written by hand.
if [ -e "$FOLDER/nats.env" ]; then
  grep '^GLANCE_NATS_BOT_' "$FOLDER/nats.env" >>"$FOLDER/nats.env.new" || true
fi
mv "$FOLDER/nats.env.new" "$FOLDER/nats.env"
