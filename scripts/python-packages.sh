#!/usr/bin/env bash
# Installs the packages of tests/requirements.txt into .tools/python, unless they are there: a folder for PYTHONPATH
# rather than a virtual environment, which Debian's python3 alone cannot make.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly TARGET=.tools/python
if cmp -s tests/requirements.txt "$TARGET/requirements.txt"; then
  exit 0
fi
rm -rf "$TARGET" "$TARGET.new"
python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --require-hashes \
  --requirement tests/requirements.txt --target "$TARGET.new"
# Says what is installed; written last, so that an interrupted run counts as none.
cp tests/requirements.txt "$TARGET.new/requirements.txt"
mv "$TARGET.new" "$TARGET"
