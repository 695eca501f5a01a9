#!/usr/bin/env bash
# Checks what deploy/ and compose.yaml say, as far as that can be done without running it:
#
# - deploy/kubernetes against the schemas of the oldest and the newest Kubernetes that it is written for, and what the
#   files say of each other (check_manifests.py)
# - deploy/systemd with systemd-analyze, and that each unit stays below an exposure of 2 of 10
# - the configuration of HAProxy with haproxy, and compose.yaml with docker compose
#
# kustomize, systemd-analyze, haproxy or docker compose, where missing, is said and passed over.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly KUBERNETES=(1.30 1.37)
readonly EXPOSURE_MAX=2.0
readonly PACKAGES=.tools/manifests REQUIREMENTS=deploy/kubernetes/requirements.txt

work="$(mktemp -d "${TMPDIR:-/tmp}/glance-manifests.XXXXXX")"
trap 'rm -rf "$work"' EXIT

passed_over() {
  echo "$1 is not installed: $2 not checked" >&2
}

install_packages() {
  scripts/need.sh pip
  cmp -s "$REQUIREMENTS" "$PACKAGES/requirements.txt" && return
  rm -rf "$PACKAGES" "$PACKAGES.new"
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --require-hashes \
    --requirement "$REQUIREMENTS" --target "$PACKAGES.new"
  cp "$REQUIREMENTS" "$PACKAGES.new/requirements.txt"
  mv "$PACKAGES.new" "$PACKAGES"
}

check_kubernetes() {
  local files version
  install_packages
  files=(deploy/kubernetes/*.yaml deploy/kubernetes/optional/*.yaml)
  for version in "${KUBERNETES[@]}"; do
    # There is no schema for the kustomization: check_manifests.py looks at it.
    PYTHONPATH="$PACKAGES" python3 -m kubernetes_validate --strict --quiet --no-warn --kubernetes-version "$version" \
      "${files[@]/deploy\/kubernetes\/kustomization.yaml/deploy\/kubernetes\/namespace.yaml}"
  done
  PYTHONPATH="$PACKAGES" python3 scripts/check_manifests.py
  if command -v kustomize >/dev/null; then
    kustomize build deploy/kubernetes >/dev/null
  else
    passed_over kustomize 'the kustomization is, by the tool itself,'
  fi
}

check_systemd() {
  local unit exposure
  command -v systemd-analyze >/dev/null || { passed_over systemd-analyze 'deploy/systemd is'; return; }
  for unit in deploy/systemd/*.service deploy/systemd/*.target; do
    # The programs need not be installed here.
    sed -E 's#^ExecStart=/usr/local/bin/[a-z-]+#ExecStart=/bin/true#' "$unit" >"$work/${unit##*/}"
  done
  for unit in "$work"/*.service; do
    systemd-analyze verify --man=no "$unit"
    exposure="$(systemd-analyze security --offline=true --no-pager "$unit" | sed -nE 's/.*Overall exposure level.*: ([0-9.]+) .*/\1/p')"
    awk -v is="$exposure" -v most="$EXPOSURE_MAX" 'BEGIN { exit !(is != "" && is <= most) }' || {
      echo "${unit##*/}: an exposure of '$exposure', and at most $EXPOSURE_MAX is wanted (systemd-analyze security)" >&2
      exit 1
    }
  done
}

check_compose() {
  if command -v haproxy >/dev/null; then
    haproxy -c -q -f deploy/compose/haproxy.cfg
    haproxy -c -q -f deploy/systemd/haproxy.cfg
  else
    passed_over haproxy 'its configuration is'
  fi
  docker compose version >/dev/null 2>&1 || { passed_over 'docker compose' 'compose.yaml is'; return; }
  echo 'GLANCE_BOTS=main:1' >"$work/env"
  deploy/compose/make-passwords.sh "$work/env" >/dev/null
  docker compose --env-file "$work/env" config --quiet
  for file in deploy/compose/*.yaml; do
    GLANCE_TLS_DIR="$work" GLANCE_PASSPHRASES_DIR="$work" GLANCE_NATS_BOTS_ENV="$work/env" \
      docker compose --env-file "$work/env" --file compose.yaml --file "$file" config --quiet
  done
}

check_kubernetes
check_systemd
check_compose
echo 'the manifests are in order'
