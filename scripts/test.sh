#!/usr/bin/env bash
# Sets up the environment and runs the tests: bash scripts/test.sh [pytest's arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh

export HF_HUB_OFFLINE=1 # nothing is fetched; without it every look-up would be tried again for a minute
export OMP_NUM_THREADS=1
export PYTHONUNBUFFERED=1
.venv/bin/ruff check .
exec .venv/bin/python -m pytest -n "${TEST_WORKERS:-2}" --dist worksteal "$@"
