#!/usr/bin/env bash
# Prints the secret of the deployment with passwords at random, for the first start:
#
#   GLANCE_PASSPHRASE=what-bots-send deploy/kubernetes/make-secret.sh | kubectl apply --filename -
#
# Without GLANCE_PASSPHRASE anyone may report. Who runs this again changes the passwords: restart the broker and then all pods.
set -euo pipefail

password() {
  echo "p$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"
}

cat <<END
apiVersion: v1
kind: Secret
metadata:
  name: glance-secrets
  namespace: glance
type: Opaque
data:
  nats-aggregator: $(password | tr -d '\n' | base64 -w 0)
  nats-bridge: $(password | tr -d '\n' | base64 -w 0)
  nats-web: $(password | tr -d '\n' | base64 -w 0)
  nats-operator: $(password | tr -d '\n' | base64 -w 0)
  nats-system: $(password | tr -d '\n' | base64 -w 0)
  passphrase: $(printf '%s' "${GLANCE_PASSPHRASE:-}" | base64 -w 0)
END
