#!/usr/bin/env bash
# The environment of the servers that bench/peers.py compares with, in .venv-peers; called by `make peers`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

requirements=bench/peer_servers/requirements.txt
stamp=.venv-peers/.installed
[[ "$stamp" -nt "$requirements" ]] && exit
[[ -x .venv-peers/bin/python ]] || "${PYTHON:-python3}" -m venv .venv-peers
.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r "$requirements"
touch "$stamp"
