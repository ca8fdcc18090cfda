#!/usr/bin/env bash
# What only a GPU can answer, in one go of about ten minutes: which plans run on it, the table of engines, and a whole
# generation served by PyTorch with a promotion under way. Every step's figures and last lines land in DIR.
# Usage: scripts/gpu_check.sh [DIR]
#   DIR   where everything is written, default gpu-output
# Needs `make install`. Without a GPU PyTorch computes in float32 on the
# CPU and the plan is compiled only: that proves that the steps run. A step that fails is told; the others go on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dir="${1:-gpu-output}"
sample_dir="$dir/sample"
generations_dir="$dir/generations"
seconds=0.7       # of measuring, an engine and shape
step_limit_s=240  # of a step
ready_timeout_s=180
model=() # e5-large-v2's shape where a GPU computes it
export HF_HUB_OFFLINE=1
export TOKENIZERS_PARALLELISM=false
PATH="$PWD/.venv/bin:$PATH"
server_pid=""
failed=0

stop_server() {
    [[ -n "$server_pid" ]] || return 0
    kill -TERM "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
    server_pid=""
}
trap stop_server EXIT

# step NAME COMMAND...: runs it within its limit, keeps what it says, and tells how it ended and when.
step() {
    local name="$1" started="$SECONDS" status=0
    shift
    timeout "$step_limit_s" "$@" >"$dir/$name.txt" 2>"$dir/$name.err" || status=$?
    echo "== $name: status $status, $((SECONDS - started)) s"
    tail -n 40 "$dir/$name.txt"
    if ((status != 0)); then
        tail -n 5 "$dir/$name.err"
        failed=$((failed + 1))
    fi
}

# Ids of the generations, the oldest first.
ids() {
    python -c 'import json, pathlib, sys
found = [json.loads(path.read_text()) for path in pathlib.Path(sys.argv[1]).glob("*/manifest.json")]
print(*(each["id"] for each in sorted(found, key=lambda each: each["serial"])))' "$generations_dir"
}

mkdir -p "$dir"
if command -v nvidia-smi >/dev/null; then
    step gpu nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv
else
    echo "== gpu: none, PyTorch computes on the CPU"
    seconds=0.5
    model=(here)
fi

if [[ ! -d "$generations_dir" ]]; then
    step sample trident sample --out "$sample_dir"
    head -n 1001 "$sample_dir/products.csv" >"$dir/fewer.csv"
    step run trident train train/recipes/demo.toml --out "$dir/run" --overwrite --set method=none \
        --set "data.pairs=$sample_dir/pairs.csv"
    for catalogue in "$dir/fewer.csv" "$sample_dir/products.csv"; do
        step "export-$(basename "$catalogue" .csv)" trident export "$dir/run" --catalogue "$catalogue" \
            --out "$generations_dir" --set 'precision.made=["fp16"]'
    done
fi
read -r before after < <(ids)
[[ ${#model[@]} -eq 0 ]] || model=(--model "$generations_dir/$before/encoder")

step plan-rtx trident engine "$generations_dir/$before" --library tensorrt_rtx --json
if python -c 'import tensorrt' 2>/dev/null; then
    step plan trident engine "$generations_dir/$before" --library tensorrt --json
else
    echo "== plan: none, NVIDIA's own wheel of tensorrt is not here"
fi
step engines python bench/engines.py --seconds "$seconds" "${model[@]}"

read -r http grpc metrics < <(python -c 'import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(held.getsockname()[1] for held in sockets))')
rm -f "$dir/server.json"
trident serve --generations "$generations_dir" --generation "$before" --variant torch --json \
    --http-port "$http" --grpc-port "$grpc" --metrics-port "$metrics" >"$dir/server.json" 2>"$dir/server.log" &
server_pid=$!
for ((tenths = 0; tenths < ready_timeout_s * 10; tenths++)); do
    [[ -s "$dir/server.json" ]] && break
    kill -0 "$server_pid" 2>/dev/null || break
    sleep 0.1
done
head -n 501 "$sample_dir/products.csv" | tail -n +2 | cut -d, -f2 | tr -d '"' >"$dir/queries.txt"
step verify-before trident verify --url "127.0.0.1:$http" --generations "$generations_dir"
trident search - --url "127.0.0.1:$grpc" --json <"$dir/queries.txt" >"$dir/under-way.txt" 2>"$dir/under-way.err" &
asking=$!
step promote trident promote "$after" --generations "$generations_dir" --http-port "$http"
wait "$asking" || { echo "== a search failed while the generation was promoted"; failed=$((failed + 1)); }
step verify-after trident verify --url "127.0.0.1:$http" --generations "$generations_dir"
stop_server

step encoder python bench/gpu_encoder.py --queries "$sample_dir/pairs.csv" --seconds "$seconds" --clients 1,32 "${model[@]}"
echo "== $failed steps failed, $SECONDS s; everything lies in $dir"
exit "$((failed > 0))"
