#!/usr/bin/env bash
# Sets up the environment and runs the tests: bash scripts/test.sh [pytest's arguments]
# bash scripts/test.sh oldest [pytest's arguments]   the same with the oldest versions that pyproject.toml allows
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" = oldest ]; then
  shift
  export VENV=.venv-oldest CONSTRAINTS=tests/oldest.txt PYTHON="${PYTHON:-python3.10}"
  # Not the page, which wants newer packages, nor the API pages, whose tools for Python 3.10 don't fit together.
  export EXTRAS=motion,clip,train,figures,evaluate,lora,foundation,notebook,test
fi
bash scripts/setup.sh

export HF_HUB_OFFLINE=1 # nothing is fetched; without it every look-up would be tried again for a minute
export OMP_NUM_THREADS=1
export PYTHONUNBUFFERED=1
unset PYTHONDONTWRITEBYTECODE # else each of some hundred processes compiles the package anew
"${VENV:-.venv}/bin/ruff" check .
exec "${VENV:-.venv}/bin/python" -m pytest -n "${TEST_WORKERS:-2}" --dist worksteal "$@"
