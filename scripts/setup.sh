#!/usr/bin/env bash
# Makes the environment in .venv, once; a second call costs seconds. Interrupted, it goes on where it was.
# PYTHON=python3.12 bash scripts/setup.sh                                chooses the interpreter;
# VENV=.venv-oldest CONSTRAINTS=tests/oldest.txt bash scripts/setup.sh   makes another one, of these versions.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${VENV:-.venv}
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
  echo "error: '$python' isn't Python 3.10 or newer; install one and call: PYTHON=python3.12 bash scripts/setup.sh" >&2
  exit 2
fi

# The environment is what pyproject.toml asks for; when that changes, it is brought up to date.
stamp=$venv/.ready
wanted=$(cat pyproject.toml ${CONSTRAINTS:+"$CONSTRAINTS"} | cksum)
if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
  exit 0
fi

if ! "$venv/bin/python" -m pip --version > /dev/null 2>&1; then
  echo "setup: making the environment $venv with $("$python" --version)"
  if ! "$python" -m venv --clear "$venv"; then
    echo "error: python can't make environments; on Debian and Ubuntu: apt-get install python3-venv" >&2
    exit 2
  fi
fi
echo "setup: installing the packages into $venv (torch is large: minutes on a slow line)"
install() { "$venv/bin/python" -m pip install -q --disable-pip-version-check "$@"; }
install -U pip "setuptools>=77" wheel
# sam2 is a source package that asks for torch to be built; without isolation it uses the one installed here.
# Its CUDA extension only serves hole filling, which nothing here uses.
SAM2_BUILD_CUDA=0 install --no-build-isolation ${CONSTRAINTS:+-c "$CONSTRAINTS"} -e ".[${EXTRAS:-dev}]"
"$venv/bin/python" -c 'import torch, torchvision, sam2, samwise' # fails here rather than later
echo "$wanted" > "$stamp"
echo "setup: done"
