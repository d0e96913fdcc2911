#!/usr/bin/env bash
# Make workers/blender/.venv — or nothing, when it is there and what it depends on has not changed.
set -euo pipefail
cd "$(dirname "$0")"

say() { printf '%s\n' "$*" >&2; }

# Two that start at once: the second waits, and finds the work done.
exec 9>.lock
flock 9

wanted=$(sha256sum requirements.txt | cut -d' ' -f1)
if [[ ! -f .venv/.ready || $(<.venv/.ready) != "$wanted" ]]; then
  python=
  for name in ${MAQUETTE_PYTHON:+"$MAQUETTE_PYTHON"} ../../.venv/bin/python python3.11 python3; do
    if "$name" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      python=$(command -v "$name")
      break
    fi
  done
  [[ -n $python ]] || { say "error: Blender as a module needs Python 3.11 exactly"; exit 1; }
  say "Installing Blender as a Python module into workers/blender/.venv (about 1 GB, once) …"
  rm -rf .venv
  "$python" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --retries 2 --no-deps --requirement requirements.txt
  printf '%s\n' "$wanted" > .venv/.ready
fi
rm -f .install-failed
.venv/bin/python convert.py check
