#!/usr/bin/env bash
# Make .venv (and, for `dev`, node_modules) — or nothing, when nothing they depend on has changed.
#
#   scripts/setup.sh run    what the mesh needs
#   scripts/setup.sh dev    that, and what tests and lint need
set -euo pipefail
cd "$(dirname "$0")/.."

kind=${1:?run or dev}

say() { printf '%s\n' "$*" >&2; }

die() { say "error: $*"; exit 1; }

find_python() {
  local name
  for name in python3.11 python3 python; do
    if "$name" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  die "Maquette needs Python 3.11; found $(python3 --version 2>/dev/null || echo none)." \
      "Install it (Debian 12: apt install python3.11 python3.11-venv) and run make again."
}

set_up_python() {
  local wanted extras
  wanted=$(cat pyproject.toml constraints.txt | sha256sum | cut -d' ' -f1)
  # The larger set-up serves for the smaller one too.
  if [[ -f .venv/.ready-dev && $(<.venv/.ready-dev) == "$wanted" ]]; then return; fi
  if [[ $kind == run && -f .venv/.ready-run && $(<.venv/.ready-run) == "$wanted" ]]; then return; fi
  extras=all
  [[ $kind == dev ]] && extras=all,dev

  if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
    local python
    python=$(find_python)
    say "Making .venv with $("$python" --version) …"
    rm -rf .venv
    "$python" -m venv .venv ||
      die "python -m venv failed; on Debian and Ubuntu: apt install python3.11-venv"
  fi
  say "Installing wheels into .venv (once; a minute or two) …"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
    --constraint constraints.txt --editable ".[$extras]" || die "pip could not install Maquette (see above)"
  rm -f .venv/.ready-*
  printf '%s\n' "$wanted" > ".venv/.ready-$kind"
}

set_up_node() {
  local wanted
  wanted=$(sha256sum package-lock.json | cut -d' ' -f1)
  if [[ -f node_modules/.ready && $(<node_modules/.ready) == "$wanted" ]]; then return; fi
  command -v npm >/dev/null || die "tests and lint need Node 20 with npm (the mesh itself does not)"
  say "Installing the tools in package-lock.json …"
  # Not `npm ci`: it wants the packages of every other platform in the lock file too.
  npm install --no-save --no-audit --no-fund --loglevel=error || die "npm install failed (see above)"
  printf '%s\n' "$wanted" > node_modules/.ready
}

set_up_python
if [[ $kind == dev ]]; then set_up_node; fi
