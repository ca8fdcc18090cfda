#!/usr/bin/env bash
# Proves that the client alone is thin, nothing but numpy, tritonclient and what these two require; and that
# trident-search without extras is the client and a command that says what is missing.
# Usage: PYTHON=python3.11 scripts/thin_client.sh [HOST:PORT]   (the gRPC address of a running server is asked too)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

url="${1:-}"
repository="$PWD"
work_dir="$(mktemp -d)"
trap 'rm -rf "$work_dir"' EXIT
bin="$work_dir/venv/bin"

"${PYTHON:-python3}" -m venv "$work_dir/venv"
"$bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt ./client
cd "$work_dir" # away from the sources: what is imported is what was installed

"$bin/python" -I - <<'END'
"""Everything installed is reached from the requirements of trident-client, or came with the environment."""
import importlib.metadata
import re
import sys

BROUGHT_BY_VENV = {"pip", "setuptools", "wheel"}
HEAVY = {"torch", "transformers", "tokenizers", "hnswlib", "onnxruntime", "pyarrow", "typer", "rich", "nvidia-pytriton"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required_by(name: str, extras: frozenset[str]) -> set[tuple[str, frozenset[str]]]:
    found = set()
    for line in importlib.metadata.requires(name) or []:
        spec, _, marker = line.partition(";")
        asked = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
        if asked and normal(asked[1]) not in extras:
            continue
        match = re.match(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?", spec)
        wanted = frozenset(normal(extra) for extra in (match[2] or "").split(",") if extra.strip())
        found.add((normal(match[1]), wanted))
    return found


installed = {normal(dist.metadata["Name"]) for dist in importlib.metadata.distributions()} - BROUGHT_BY_VENV
direct = {name for name, _ in required_by("trident-client", frozenset())}
if direct != {"numpy", "tritonclient"}:
    sys.exit(f"the client must require numpy and tritonclient only, got {sorted(direct)} (client/pyproject.toml)")
reached, open_ends = set(), {("trident-client", frozenset())}
while open_ends:
    name, extras = node = open_ends.pop()
    reached.add(node)
    if name in installed:
        open_ends |= required_by(name, extras) - reached
allowed = {name for name, _ in reached}
surplus = sorted((installed - allowed) | (installed & HEAVY))
if surplus:
    sys.exit(f"the client's install must hold only numpy, tritonclient and their own requirements, got also {surplus}")
print("installed:", *sorted(installed - {"trident-client"}))
END

"$bin/python" -I -c 'from trident_client import SearchClient; print("imported:", SearchClient.__module__ + "." + SearchClient.__qualname__)'

"$bin/python" -m pip install --quiet --disable-pip-version-check "$repository" # its one requirement is there
status=0
said="$("$bin/trident" search "deep learning books" 2>&1)" || status=$?
if [[ "$status" -eq 0 || "$(wc -l <<<"$said")" -ne 1 || "$said" != *serve* ]]; then
    echo "trident in a bare install must name the extra to add in one line and exit non-zero, got status $status and:" >&2
    echo "$said" >&2
    exit 1
fi
echo "trident says: $said"

if [[ -n "$url" ]]; then
    "$bin/python" -I - "$url" <<'END'
"""One search through the thin client."""
import sys

from trident_client import SearchClient

with SearchClient(sys.argv[1]) as client:
    print("answered:", client.search("deep learning books", k=3))
END
fi
echo "thin client: passed"
