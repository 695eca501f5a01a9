#!/usr/bin/env bash
# Builds the images, starts compose.yaml with them on ports of 127.0.0.1, tries it (*.test.js), and takes it down. Later
# parts lay over it what an operator does, by lines of .env: a proxy in front, HTTPS, passphrases in a file.
#
#   tests/compose/run.sh [registry|stand-in]    where the base images are from; stand-in: see images.sh
#
# Exit code 77: no Docker engine or no Compose is there, so that nothing was tried. Nothing that runs on the engine already
# is touched: names and volumes belong to a project of this run alone. The built images stay, so that the next run is quicker.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

skip() {
  echo "not tried: $1" >&2
  exit 77
}

images="${1:-registry}"
docker version >/dev/null 2>&1 || skip 'no Docker engine answers (docker version); start one and run this again'
docker compose version >/dev/null 2>&1 || skip 'the docker program has no Compose; install docker-compose-plugin (version 2)'
scripts/need.sh node npm openssl

COMPOSE_FILE="$PWD/compose.yaml:$PWD/deploy/compose/nats-port.yaml:$PWD/tests/compose/overlay.yaml"
if [ "$images" = stand-in ]; then
  tests/compose/images.sh
  COMPOSE_FILE+=":$PWD/tests/compose/stand-in.yaml"
fi

work="$(mktemp -d "${TMPDIR:-/tmp}/glance-compose.XXXXXX")"
finish() {
  local status=$?
  # What the containers said is of interest only if something went wrong.
  [ "$status" -eq 0 ] || docker compose logs --no-color --tail 40 >&2 || true
  docker compose down --volumes --remove-orphans --timeout 15 >/dev/null 2>&1 || true
  docker image rm "$GLANCE_TEST_NEXT_IMAGE" >/dev/null 2>&1 || true
  rm -rf "$work"
  exit "$status"
}

# None of these come from the caller's .env.
cat >"$work/env" <<END
GLANCE_BOTS=main:16;demo:1
GLANCE_PASSPHRASE=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
GLANCE_HEALTH_TIMEOUT=600
GLANCE_HOST=127.0.0.1
GLANCE_PORT=0
GLANCE_NATS_CONF=$work/nats.conf
GLANCE_NATS_BOTS_ENV=$work/bots.env
GLANCE_NATS_HOST=127.0.0.1
GLANCE_NATS_PORT=0
GLANCE_IMAGE=glance:compose-test
GLANCE_BROKER_IMAGE=glance-broker:compose-test
GLANCE_TEST_WORK=$work
GLANCE_OPEN_FILES=$(ulimit -Hn | sed 's/unlimited/131072/')
END
deploy/compose/make-passwords.sh "$work/env" >/dev/null
# With the bot that nats.conf shows in its comments.
sed 's/^\( *\)#bot /\1/' nats.conf >"$work/nats.conf"
echo "GLANCE_NATS_BOT_MAIN_PASSWORD=p$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >"$work/bots.env"
# What the tests change while it runs.
cp -r deploy/compose/balancer "$work/balancer"
mkdir "$work/certificates" "$work/passphrases"
chmod 755 "$work" "$work"/*/
chmod 644 "$work/nats.conf"
while IFS= read -r line; do
  export "${line?}"
done <"$work/env"
GLANCE_NATS_BOT_MAIN_PASSWORD="$(sed 's/.*=//' "$work/bots.env")"
export GLANCE_NATS_BOT_MAIN_PASSWORD
export COMPOSE_FILE COMPOSE_PROJECT_NAME="glance-test-$$" COMPOSE_ENV_FILES="$work/env"
export COMPOSE_PROGRESS=plain

# What upgrade.sh brings.
export GLANCE_TEST_NEXT_IMAGE="glance:$COMPOSE_PROJECT_NAME"

run_tests() {
  node --experimental-websocket --no-warnings --test "$@"
}

trap finish EXIT
trap 'exit 130' INT TERM
docker compose build
docker compose up --detach --no-build --wait --wait-timeout 180
[ -d tests/node_modules ] || npm ci --prefix tests --no-audit --no-fund --loglevel=error
run_tests tests/compose/compose.test.js
run_tests tests/compose/operations.test.js
run_tests tests/compose/clients.test.js

# The last part speaks HTTPS, with two certificates that one follows on the other.
for name in first second; do
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$name" \
    -addext subjectAltName=IP:127.0.0.1 -keyout "$work/key.pem" -out "$work/$name.crt" 2>/dev/null
  cat "$work/$name.crt" "$work/key.pem" >"$work/$name.pem"
done
cat "$work/first.crt" "$work/second.crt" >"$work/authorities.pem"
export NODE_EXTRA_CA_CERTS="$work/authorities.pem"
run_tests tests/compose/overlays.test.js
