#!/usr/bin/env bash
# Writes constraints.txt anew: every extra in one fresh virtual environment, newest versions that fit together.
# Usage: PYTHON=python3.11 scripts/constraints.sh        (called by `make constraints`)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python="${PYTHON:-python3.11}"
torch_pin="torch==2.13.0" # this very version has a CPU build; moving it means gigabytes of CUDA, so it is moved by hand
work_dir="$(mktemp -d)"
trap 'rm -rf "$work_dir"' EXIT

extras="$("$python" -c 'import pathlib, tomllib
print(",".join(sorted(tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]["optional-dependencies"])))')"
echo "installing .[$extras] into a fresh environment ..." >&2
"$python" -m venv "$work_dir/venv"
"$work_dir/venv/bin/python" -m pip uninstall --quiet --yes setuptools # what Python 3.11 ships is old, and not asked for by us
"$work_dir/venv/bin/python" -m pip install --quiet "$torch_pin" ./client ".[$extras]"
{
    echo "# Exact versions of everything that the extras of pyproject.toml bring, for Python 3.11 and 3.12."
    echo "# Written by \`make constraints\`; do not edit by hand."
    # Names in one spelling; a local version such as +cpu names one index's build, without it the pin fits every index.
    "$work_dir/venv/bin/python" -m pip freeze --all --exclude trident-search --exclude trident-client --exclude pip --exclude wheel |
        awk -F== '{ name = tolower($1); gsub(/[-_.]+/, "-", name); sub(/[+].*/, "", $2); print name "==" $2 }' |
        LC_ALL=C sort --field-separator== --key=1,1
} >"$work_dir/constraints.txt"
mv "$work_dir/constraints.txt" constraints.txt
echo "constraints.txt: $(grep -c == constraints.txt) versions" >&2
