#!/usr/bin/env bash
# Collects the wheels that a GPU machine without a network is likely to lack, beside its own torch:
#   bash tools/vendor_wheels.sh FOLDER [PYTHON_VERSION]     (3.12 by default; Linux, x86-64)
# There: python -m pip install --no-index --no-deps --target SITE FOLDER/*.whl; export PYTHONPATH=SITE
set -euo pipefail
folder=${1:?usage: bash tools/vendor_wheels.sh FOLDER [PYTHON_VERSION]}
version=${2:-3.12}
mkdir -p "$folder"
# The versions are those of this environment.
here=$(mktemp)
trap 'rm -f "$here"' EXIT
python -m pip freeze --exclude-editable --exclude torch --exclude torchvision >"$here"
# sam2 and antlr4 come as sources; both are pure Python without sam2's CUDA extension.
SAM2_BUILD_CUDA=0 python -m pip wheel -q --no-deps -c "$here" --no-build-isolation -w "$folder" \
  sam2 antlr4-python3-runtime hydra-core omegaconf iopath portalocker \
  open_clip_torch ftfy wcwidth hydra-submitit-launcher submitit cloudpickle
platforms=()
for glibc in 2_28 2_27 2_26 2_24 2_17; do platforms+=(--platform "manylinux_${glibc}_x86_64"); done
python -m pip download -q --no-deps -c "$here" --only-binary=:all: --python-version "$version" --implementation cp \
  "${platforms[@]}" --platform manylinux2014_x86_64 -d "$folder" av pycocotools
echo "$(ls "$folder"/*.whl | wc -l) wheels in $folder, $(du -sh "$folder" | cut -f1)"
