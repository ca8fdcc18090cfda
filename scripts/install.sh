#!/usr/bin/env bash
# Installs extras of Trident, its kernels and its client into an environment; called by `make install` and `make demo`.
# The kernels are compiled while the rest is fetched. Bytecode is left to whoever imports a file: most nobody imports.
# Usage: PYTHON=.venv/bin/python scripts/install.sh EXTRA,EXTRA…
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

extras="$1"
python="${PYTHON:-python3}"
kernels_dir="$(mktemp -d)"
compiling=""

clean_up() {
    [[ -z "$compiling" ]] || kill "$compiling" 2>/dev/null || true
    rm -rf "$kernels_dir"
}
trap clean_up EXIT

pip() { "$python" -m pip "$1" --quiet --disable-pip-version-check "${@:2}"; }

pip wheel --no-deps --wheel-dir "$kernels_dir" ./kernels &
compiling=$!
pip install --no-compile -c constraints.txt -e ".[$extras]"
wait "$compiling" # its failure is ours
compiling=""
pip install --no-compile --no-deps --force-reinstall "$kernels_dir"/*.whl
pip install --no-compile --no-deps -e ./client # the line before the last brought a copy; whoever works on it wants the folder
