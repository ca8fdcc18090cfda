#!/usr/bin/env bash
# The whole road on the bundled sample: train, export, serve, search, verify; the server is stopped at the end.
# Usage: scripts/demo.sh [DIR [EXPORT OPTION...]]
#   DIR             where everything is written, default demo-output
#   EXPORT OPTION   for trident export, such as --set 'precision.made=["fp16","int8"]'; the demo makes what it serves,
#                   which is float32
# Called by `make demo` (EXPORT_ARGS='...' are the options of the export).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dir="${1:-demo-output}"
export_options=("${@:2}")
sample_dir="$dir/sample"
run_dir="$dir/runs/demo"
generations_dir="$dir/generations"
ready_file="$dir/server.json"
server_log="$dir/server.log"
ready_timeout_s=120
stop_timeout_s=30
export HF_HUB_OFFLINE=1
export TOKENIZERS_PARALLELISM=false
server_pid=""

# Says what comes next and how long it takes on two cores, and how long everything took so far.
heading() { printf '\n\033[1m== %s\033[0m (%d:%02d so far)\n' "$*" $((SECONDS / 60)) $((SECONDS % 60)); }

fail() {
    echo "demo: $*" >&2
    exit 1
}

running() { [[ -n "$server_pid" ]] && kill -0 "$server_pid" 2>/dev/null; }

stop_server() {
    running || return 0
    kill -TERM "$server_pid" 2>/dev/null || true
    for ((tenths = 0; tenths < stop_timeout_s * 10; tenths++)); do
        running || break
        sleep 0.1
    done
    if running; then
        echo "demo: the server did not stop within $stop_timeout_s s, killing process $server_pid" >&2
        kill -KILL "$server_pid" 2>/dev/null || true
    fi
    wait "$server_pid" 2>/dev/null || true
    server_pid=""
}
trap stop_server EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Three free ports of 127.0.0.1, held at once so that they differ.
free_ports() {
    python -c 'import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(held.getsockname()[1] for held in sockets))'
}

show_server_log() {
    # The server names its errors in lines that begin with E; its last lines say only that something failed.
    grep -E '^(E[0-9]|trident|error|Error)' "$server_log" | tail -n 20 >&2 || tail -n 20 "$server_log" >&2
}

wait_until_ready() {
    for ((tenths = 0; tenths < ready_timeout_s * 10; tenths++)); do
        [[ -s "$ready_file" ]] && return 0
        running || { show_server_log; fail "the server died while starting (whole log: $server_log)"; }
        sleep 0.1
    done
    show_server_log
    fail "the server was not ready within $ready_timeout_s s (whole log: $server_log)"
}

command -v trident >/dev/null || fail "the trident command is not on PATH: run 'make demo', or activate .venv first"
mkdir -p "$dir"

heading "1/6 A sample shop: products, queries and which product answers which query"
trident sample --out "$sample_dir"

SCRIPT_STARTED=$(($(date +%s) - SECONDS)) python scripts/in_turn.py \
    "2/6 Fine-tune the packaged MiniLM with LoRA, then pretrained against LoRA on held-out queries: a minute" \
    train train/recipes/demo.toml --out "$run_dir" --overwrite --set "data.pairs=$sample_dir/pairs.csv" \
    --then "3/6 Export a generation: merged encoder, ONNX graph, HNSW index, Triton model repository: half a minute" \
    export "$run_dir" --catalogue "$sample_dir/products.csv" --out "$generations_dir" \
    --set 'precision.made=[]' "${export_options[@]}"

heading "4/6 Start a Triton Inference Server in front of it: some seconds"
read -r http_port grpc_port metrics_port < <(free_ports)
rm -f "$ready_file"
trident serve --generations "$generations_dir" --json \
    --http-port "$http_port" --grpc-port "$grpc_port" --metrics-port "$metrics_port" \
    >"$ready_file" 2>"$server_log" &
server_pid=$!
wait_until_ready
cat "$ready_file"

heading "5/6 Search"
queries=(
    "deep learning books"
    "wireless headphones for running"
    "something to keep coffee hot on the way to work"
    "warm sleeping bag for winter camping"
    "toy for a curious toddler"
    "stainles steel frying pan"
)
for query in "${queries[@]}"; do
    echo
    trident search "$query" -k 5 --url "127.0.0.1:$grpc_port"
done

heading "6/6 Verify: golden queries get the answers that they got when the generation was exported"
trident verify --url "127.0.0.1:$http_port" --generations "$generations_dir"

stop_server
heading "Done: the server is stopped; everything lies in $dir"
cat <<END
Serve it again:    .venv/bin/trident serve --generations $generations_dir
Ask it:            .venv/bin/trident search "deep learning books"
Your own pairs:    .venv/bin/trident train train/recipes/demo.toml --out runs/mine --set data.pairs=PAIRS.csv
END
