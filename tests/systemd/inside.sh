#!/usr/bin/env bash
# What docs/systemd.md says, done and tried; run by run.sh where systemd is.
set -euo pipefail
cd /source

readonly PASSPHRASE=what-bots-send-here

# $1: what; the rest: a command that has to succeed within 30 s.
within() {
  local what="$1"
  shift
  for _ in $(seq 150); do
    if "$@" >/dev/null 2>&1; then
      echo "ok   $what"
      return
    fi
    sleep 0.2
  done
  echo "FAIL $what: $*" >&2
  exit 1
}

# $1: the page's port. Whether the page, as text, says $2.
says() {
  curl --silent --fail --max-time 5 "http://127.0.0.1:$1/plain" | grep --quiet -- "$2"
}

# $1: port; $2: shard; $3: passphrase; $4: the answer's status.
report() {
  local status
  status="$(curl --silent --max-time 5 --output /dev/null --write-out '%{http_code}' --request POST \
    --header "Authorization: $3" "http://127.0.0.1:$1/api/status/main/$2/3")"
  [ "$status" = "$4" ]
}

all_active() {
  systemctl is-active --quiet "$@"
}

none_active() {
  ! systemctl is-active "$@" | grep --quiet '^active'
}

one_leads() {
  local metrics
  metrics="$(curl --silent --max-time 5 127.0.0.1:19461/metrics 127.0.0.1:19462/metrics)"
  [ "$(grep --count '^glance_aggregator_leader 1' <<<"$metrics")" = 1 ]
}

ip link set lo up

# ---- Install.
install target/release/glance{,-aggregator,-bridge,-web} /usr/local/bin/
install nats-server /usr/local/bin/nats-server
install --mode 644 deploy/systemd/*.service deploy/systemd/*.target /etc/systemd/system/
install --directory --mode 755 /etc/glance
install --mode 600 .env.sample /etc/glance/glance.env
sed -i "s/^# GLANCE_PASSPHRASE=.*/GLANCE_PASSPHRASE=$PASSPHRASE/" /etc/glance/glance.env

# ---- All in one.
systemctl daemon-reload
systemctl enable --quiet --now glance
within 'glance serves the page' says 3000 Glance
within 'it wants the passphrase' report 3000 0 wrong 401
within 'it takes a report' report 3000 0 "$PASSPHRASE" 204
systemctl reload glance
systemctl restart glance
within 'it forgets nothing' says 3000 '1 of 17 shards is online'
systemctl disable --quiet --now glance

# ---- In parts.
units=(glance-nats glance-aggregator@1 glance-aggregator@2 glance-bridge glance-web@3010 glance-web@3011)
install --mode 644 nats.conf /etc/glance/
deploy/systemd/make-passwords.sh >/dev/null
systemctl daemon-reload
systemctl enable --quiet --now "${units[@]}" glance.target
install --mode 644 deploy/systemd/haproxy.cfg /etc/haproxy/haproxy.cfg
systemctl restart haproxy
within 'all units run' all_active "${units[@]}"
within 'both replicas serve the page' says 3010 main
within 'both replicas serve the page' says 3011 main
within 'the load balancer leads to the page' says 80 main
within 'it leads to the bridge, which wants the passphrase' report 80 0 wrong 401
within 'the bridge takes a report' report 80 0 "$PASSPHRASE" 204
within 'the page shows it' says 80 '1 of 17 shards is online'
within 'one aggregator leads' one_leads
systemctl reload glance-bridge
systemctl reload glance-nats

# ---- A file of passphrases.
printf '* one-of-many-passphrases\n' >/etc/glance/secrets/passphrases
mkdir -p /etc/systemd/system/glance-bridge.service.d
cat >/etc/systemd/system/glance-bridge.service.d/override.conf <<'END'
[Service]
LoadCredential=passphrases:/etc/glance/secrets/passphrases
Environment=GLANCE_PASSPHRASES_FILE=%d/passphrases
END
systemctl daemon-reload
systemctl restart glance-bridge
within 'a passphrase of the file is good' report 80 1 one-of-many-passphrases 204

# ---- docs/backup.md.
systemctl stop glance-nats
tar --numeric-owner -C /var/lib/private -czf /root/glance-store.tar.gz glance-nats
systemctl start glance-nats
within 'bots are served again' report 80 1 "$PASSPHRASE" 204
systemctl stop glance.target 'glance-*'
rm -rf /var/lib/private/glance-nats
tar --numeric-owner -C /var/lib/private -xzf /root/glance-store.tar.gz
systemctl start glance.target
within 'a restored store is shown' says 80 '2 of 17 shards are online'

# ---- A wrong setting ends a unit for good, and says why.
echo 'GLANCE_HEALTH_TIMEOUT=soon' >/etc/glance/aggregator.env
systemctl restart glance-aggregator@2
within 'a wrong setting ends the unit' systemctl is-failed glance-aggregator@2
journalctl --no-pager --unit glance-aggregator@2 | grep --quiet 'GLANCE_HEALTH_TIMEOUT'

systemctl stop glance.target
within 'the target stops all of them' none_active "${units[@]}"
