#!/usr/bin/env bash
# Fails if a source file still holds what was meant for a moment only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly LEFTOVERS='\b(dbg|todo|unimplemented)!\(|\bFIXME\b|\bXXX\b|^[[:space:]]*debugger;|^(<{7}|>{7}) '

# Files that are not committed yet count too.
status=0
git grep --untracked --line-number --extended-regexp "$LEFTOVERS" -- '*.rs' '*.js' '*.css' '*.html' || status=$?
case "$status" in
  0)
    echo "please remove the above before committing" >&2
    exit 1
    ;;
  1) ;;
  *) exit "$status" ;;
esac
