#!/usr/bin/env bash
# Run every check and name those that fail; end with 1 if any did.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PWD/node_modules/.bin:$PATH"
export PYTHONPATH="$PWD"

failed=()

check() {
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then
    printf '  ok      %s\n' "$name"
  else
    printf '  FAILED  %s\n%s\n' "$name" "$output"
    failed+=("$name")
  fi
}

check "ruff check" ruff check .
check "ruff format" ruff format --check .
check "mypy" mypy
check "import arrows" lint-imports
check "buf lint" buf lint protos
check "buf breaking" scripts/breaking.sh
check "stubs are what protos say" python scripts/protos.py --check
check "documents are what the code says" python scripts/docs.py --check
check "licences are those installed" python scripts/licences.py --check
check "no machine paths, no registry hosts" python scripts/lint_places.py

if ((${#failed[@]})); then
  printf 'lint failed: %s\n' "${failed[*]}"
  exit 1
fi
