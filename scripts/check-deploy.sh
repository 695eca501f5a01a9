#!/usr/bin/env bash
# Checks what deploy/ holds for Prometheus and Grafana, with promtool: the sample configuration, the alerts and their
# tests, and each query of the dashboard. (tests/tests/metrics.rs checks that the programs tell what is asked for.)
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v promtool >/dev/null; then
  echo 'promtool is not installed: the alerts and the dashboard are not checked (Debian: apt install prometheus)'
  exit 0
fi

prometheus=deploy/prometheus
promtool check config --syntax-only "$prometheus/prometheus.yml"
promtool check rules "$prometheus/alerts.yml"
promtool test rules "$prometheus/alerts_test.yml"

# Each alert names what to do, under a heading of its own.
missing=0
while read -r file anchor; do
  # The file is written in Markdown; the anchor is the heading in lower case.
  if ! grep -qix "#\+ $anchor" "$file"; then
    echo "$prometheus/alerts.yml: $file has no heading for $anchor" >&2
    missing=1
  fi
done < <(sed -nE 's/^ +runbook: ([^#]+)#(.+)$/\1 \2/p' "$prometheus/alerts.yml")
[ "$missing" = 0 ]

# A query of the dashboard is checked as a rule that records it.
rules="$(mktemp --suffix .yml)"
trap 'rm -f "$rules"' EXIT
python3 - deploy/grafana/glance.json >"$rules" <<'PYTHON'
import json, sys

dashboard = json.load(open(sys.argv[1]))
panels = dashboard["panels"]
assert len({panel["id"] for panel in panels}) == len(panels), "two panels have one id"
values = {"$__rate_interval": "5m", "$job": "glance", "$cluster": "main"}
rules = []
for panel in panels:
    for target in panel.get("targets", []):
        assert target["datasource"]["uid"] == "${datasource}", panel["title"]
        query = target["expr"]
        for name, value in values.items():
            query = query.replace(name, value)
        rules.append({"record": f"panel:{panel['id']}_{target['refId']}", "expr": query})
print(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
PYTHON
promtool check rules "$rules"
