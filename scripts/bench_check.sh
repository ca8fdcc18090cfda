#!/usr/bin/env bash
# The bundled sample served and held against bench/budget.toml; called by `make bench-check`.
# Usage: scripts/bench_check.sh [DIR] [OPTION OF trident bench…]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dir="${1:-bench-output}"
export HF_HUB_OFFLINE=1

if ! compgen -G "$dir/generations/*/manifest.json" >/dev/null; then # the pretrained encoder: speed does not ask for more
    trident sample --out "$dir/sample"
    trident train train/recipes/demo.toml --out "$dir/run" --overwrite --set method=none \
        --set "data.pairs=$dir/sample/pairs.csv"
    trident export "$dir/run" --catalogue "$dir/sample/products.csv" --out "$dir/generations"
fi
trident bench --queries "$dir/sample/pairs.csv" --generations "$dir/generations" --clients 1,32 \
    --budget bench/budget.toml --out "$dir/report.json" "${@:2}"
