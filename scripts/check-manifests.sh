#!/usr/bin/env bash
# Checks what deploy/ and compose.yaml say, as far as that can be done without running it:
#
# - deploy/kubernetes, and what kustomize makes of it and of the example in docs/kubernetes.md: against the schemas of the
#   oldest and the newest Kubernetes that it is written for, and what the files say of each other (check_manifests.py)
# - deploy/systemd with systemd-analyze, and that each unit stays below an exposure of 2 of 10
# - the configuration of HAProxy with haproxy, and compose.yaml with docker compose
#
# kustomize (or kubectl, which has it too), systemd-analyze, haproxy or docker compose, where missing, is said and passed over.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Where Debian has haproxy; only root has it on PATH.
PATH="$PATH:/usr/sbin:/sbin"
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

# The manifests as they are, the example in docs/kubernetes.md beside a checkout, and the example with what it has as remarks.
build_kubernetes() {
  local kustomize=(kustomize build) example
  command -v kustomize >/dev/null || kustomize=(kubectl kustomize)
  command -v "${kustomize[0]}" >/dev/null || { passed_over kustomize 'the kustomization is, by the tool itself,'; return; }
  "${kustomize[@]}" deploy/kubernetes >"$work/built-plain.yaml"
  mkdir "$work/beside"
  ln -s "$PWD" "$work/beside/glance"
  for example in my-glance my-glance-in-full; do
    mkdir "$work/beside/$example"
    # shellcheck disable=SC2016 # marks of Markdown, which the shell has nothing to do with
    sed -n '/^```yaml/,/^```/{/^```/!p}' docs/kubernetes.md >"$work/beside/$example/kustomization.yaml"
  done
  sed -i 's/^# //' "$work/beside/my-glance-in-full/kustomization.yaml"
  for example in my-glance my-glance-in-full; do
    "${kustomize[@]}" "$work/beside/$example" >"$work/built-$example.yaml"
  done
}

check_kubernetes() {
  local files version
  install_packages
  build_kubernetes
  # There is no schema for a kustomization: check_manifests.py looks at it.
  mapfile -t files < <(find deploy/kubernetes "$work" -maxdepth 3 -name '*.yaml' ! -path '*/beside/*' ! -name kustomization.yaml)
  for version in "${KUBERNETES[@]}"; do
    PYTHONPATH="$PACKAGES" python3 -m kubernetes_validate --strict --quiet --no-warn --kubernetes-version "$version" "${files[@]}"
  done
  mapfile -t files < <(find "$work" -maxdepth 1 -name 'built-*.yaml')
  PYTHONPATH="$PACKAGES" python3 scripts/check_manifests.py "${files[@]}"
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
    haproxy -c -q -f deploy/compose/balancer/haproxy.cfg
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
