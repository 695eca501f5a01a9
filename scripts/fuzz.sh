#!/usr/bin/env bash
# Runs the fuzz targets of fuzz/, each for a bounded time: fuzz.sh [target...]
#
# FUZZ_SECONDS says for how long each (20). What was tried is kept in target/fuzz-corpus and goes on from there the next
# time. An input that breaks something ends the run with exit code 1; it is kept in fuzz/artifacts, and cargo-fuzz prints
# how to run it again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly CARGO_FUZZ=0.13.2
readonly SECONDS_EACH="${FUZZ_SECONDS:-20}"
# More memory than this for one input is a finding as well.
readonly RSS_LIMIT_MB=1024
readonly GOLDEN=shared/protocol/golden
TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
readonly CORPUS="$TARGET_DIR/fuzz-corpus"

# The harness is libFuzzer, which is C++.
scripts/need.sh g++
if ! cargo fuzz --version 2>/dev/null | grep -q "cargo-fuzz $CARGO_FUZZ"; then
  tools="$PWD/.tools/cargo-fuzz-$CARGO_FUZZ"
  [ -x "$tools/bin/cargo-fuzz" ] || cargo install --quiet --locked --root "$tools" "cargo-fuzz@$CARGO_FUZZ"
  PATH="$tools/bin:$PATH"
fi

# No sanitizer: none of our code is unsafe, and without one the stable compiler does.
readonly FLAGS=(--sanitizer none --target-dir "$TARGET_DIR/fuzz")

# The golden files of the formats, and where a target has them, its own seeds.
seeds_of() {
  case "$1" in
    subject) echo "$GOLDEN/subjects.json" ;;
    bodies) echo "$GOLDEN/state_bodies.json $GOLDEN/health_bodies.json" ;;
    table_block) echo "$GOLDEN/table_block.json" ;;
    pulse) echo "$GOLDEN/pulse.json" ;;
    clusters) echo "$GOLDEN/clusters.json $GOLDEN/lease.json" ;;
    notice) echo "$GOLDEN/notice.json $GOLDEN/notice_bodies.json" ;;
  esac
}

# How long an input may be: what the services take at most, or somewhat more than makes a difference.
longest_of() {
  case "$1" in
    table_block | pulse | bridge_report | web_session) echo 65536 ;;
    *) echo 4096 ;;
  esac
}

run() {
  local target="$1" seeds
  mkdir -p "$CORPUS/$target"
  for seeds in $(seeds_of "$target") fuzz/seeds/"$target"/*; do
    [ ! -e "$seeds" ] || cp -n "$seeds" "$CORPUS/$target/seed-$(basename "$seeds")"
  done
  echo "fuzzing $target for $SECONDS_EACH s"
  if ! cargo fuzz run "${FLAGS[@]}" "$target" "$CORPUS/$target" -- -max_total_time="$SECONDS_EACH" -max_len="$(longest_of "$target")" \
    -rss_limit_mb="$RSS_LIMIT_MB" -timeout=10 -print_final_stats=1 -verbosity=0 >"$TARGET_DIR/fuzz-$target.log" 2>&1; then
    tail -n 40 "$TARGET_DIR/fuzz-$target.log"
    echo "$target failed; the above says how to run that input again" >&2
    return 1
  fi
  sed -nE 's/^stat::number_of_executed_units: *(.*)/  inputs: \1/p; s/^stat::peak_rss_mb: *(.*)/  memory: \1 MiB at most/p' \
    "$TARGET_DIR/fuzz-$target.log"
}

if [ $# -eq 0 ]; then
  list="$(cargo fuzz list)"
  if [ -z "$list" ]; then
    echo 'cargo fuzz list names no target' >&2
    exit 1
  fi
  mapfile -t targets <<<"$list"
else
  targets=("$@")
fi
for target in "${targets[@]}"; do
  cargo fuzz build "${FLAGS[@]}" "$target"
done
failed=0
for target in "${targets[@]}"; do
  run "$target" || failed=1
done
exit "$failed"
