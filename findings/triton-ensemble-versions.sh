#!/usr/bin/env bash
# Triton counts the traffic of every version of an ensemble as version 1's, even where there is no version 1.
#
# What surprises: /metrics lists one series for each loaded version of an ensemble, so two versions served side by side
# look as if they could be watched apart. They cannot. What was asked of versions 3 and 5 is counted as requests of a
# version 1 that is not loaded; their own series stay at 0. The cache's hits and misses by model, which have no series
# for such a version, are lost: they are 0 while the cache's own counters go up. Where version 1 exists it gets
# everything, hits included. So a new version looks unused and free of errors, and an alert on its series never fires.
# The server knows better: /v2/models/NAME/versions/N/stats counts each version by itself, and so do the series of
# models that are not ensembles.
#
# Software: tritonserver 2.51.0, from the PyPI package nvidia-pytriton 0.7.0.
# Seen: search 3 and 5, asked 2 and 3 times: success {1: 5, 3: 0, 5: 0}, hits by model {3: 0, 5: 0}, hits of the cache
# 3, while the statistics have 2 and 3 requests, 1 and 2 hits. pair 1 and 2, only 2 asked, 4 times: success
# {1: 4, 2: 0}, hits by model {1: 3, 2: 0}. double 3 and 5, no ensemble, asked 1 and 2 times, and 3
# three times more by the ensembles: {3: 4, 5: 2}.
# Source: measured, 2026-11-29.
set -euo pipefail

work="$(mktemp -d)"
server=""
finish() {
    if [[ -n "$server" ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --disable-pip-version-check --no-compile --no-deps \
    nvidia-pytriton==0.7.0 numpy==1.26.4 || exit 2

# The wheel's server needs its Python backend and the stub of this Python in one folder.
site="$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
triton="$site/pytriton/tritonserver"
version="$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
mkdir "$work/backends"
cp -r "$triton/backends/python" "$work/backends/python"
cp "$triton/python_backend_stubs/$version/triton_python_backend_stub" "$work/backends/python/"
chmod 755 "$work/backends/python/triton_python_backend_stub" "$triton/bin/tritonserver"

models="$work/models"
mkdir -p "$models"/double/{3,5} "$models"/search/{3,5} "$models"/pair/{1,2}
cat >"$models/double/3/model.py" <<'END'
import triton_python_backend_utils as triton


class TritonPythonModel:
    def execute(self, requests):
        numbers = [triton.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [triton.InferenceResponse([triton.Tensor("y", x * 2)]) for x in numbers]
END
cp "$models/double/3/model.py" "$models/double/5/model.py"
cat >"$models/double/config.pbtxt" <<'END'
backend: "python"
version_policy { all {} }
input { name: "x" data_type: TYPE_FP32 dims: 1 }
output { name: "y" data_type: TYPE_FP32 dims: 1 }
instance_group { kind: KIND_CPU count: 1 }
END
cat >"$models/search/config.pbtxt" <<'END'
platform: "ensemble"
version_policy { all {} }
response_cache { enable: true }
input { name: "x" data_type: TYPE_FP32 dims: 1 }
output { name: "y" data_type: TYPE_FP32 dims: 1 }
ensemble_scheduling {
  step {
    model_name: "double" model_version: 3
    input_map { key: "x" value: "x" }
    output_map { key: "y" value: "y" }
  }
}
END
cp "$models/search/config.pbtxt" "$models/pair/config.pbtxt"

read -r http grpc metrics < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(each.getsockname()[1] for each in sockets))')
libraries="$site/nvidia_pytriton.libs:$(python3 -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')"
PATH="$work/venv/bin:$PATH" LD_LIBRARY_PATH="$libraries" "$triton/bin/tritonserver" \
    --model-repository="$models" --backend-directory="$work/backends" --disable-auto-complete-config \
    --cache-directory="$triton/caches" --cache-config=local,size=1048576 --exit-timeout-secs=5 \
    --http-address=127.0.0.1 --http-port="$http" --grpc-address=127.0.0.1 --grpc-port="$grpc" \
    --metrics-address=127.0.0.1 --metrics-port="$metrics" >"$work/log" 2>&1 &
server=$!

for _ in {1..300}; do
    if python3 -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:$http/v2/health/ready')" \
        2>/dev/null; then
        break
    fi
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done

"$work/venv/bin/python" - "$http" "$metrics" <<'END' || { grep '^E' "$work/log" >&2; exit 1; }
import json
import re
import sys
import time
import urllib.request

http, metrics = (f"http://127.0.0.1:{port}" for port in sys.argv[1:])


def ask(model, version):
    body = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [float(version)]}]}
    url = f"{http}/v2/models/{model}/versions/{version}/infer"
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode())) as answer:
        assert json.load(answer)["model_version"] == str(version)


def counted(name, model):
    series = re.findall(rf'^{name}{{model="{model}",version="(\d+)"}} (\d+)$', text, re.MULTILINE)
    return {int(version): int(count) for version, count in sorted(series)}


def statistics(model, version, kind):
    with urllib.request.urlopen(f"{http}/v2/models/{model}/versions/{version}/stats") as answer:
        return json.load(answer)["model_stats"][0]["inference_stats"][kind]["count"]


def read_metrics():
    time.sleep(2.5)  # the server writes them down every two seconds
    with urllib.request.urlopen(f"{metrics}/metrics") as answer:
        return answer.read().decode()


for version, times in ((3, 2), (5, 3)):
    for _ in range(times):
        ask("search", version)
text = read_metrics()
search = {
    "requests": counted("nv_inference_request_success", "search"),
    "hits": counted("nv_cache_num_hits_per_model", "search"),
    "cache": int(re.search(r"^nv_cache_num_hits (\d+)$", text, re.MULTILINE)[1]),
    "asked": {version: statistics("search", version, "success") for version in (3, 5)},
    "hit": {version: statistics("search", version, "cache_hit") for version in (3, 5)},
}
print("search, versions 3 and 5, asked 2 and 3 times:")
print("  /metrics: requests by version", search["requests"], "hits by version", search["hits"])
print("  /metrics: hits of the cache", search["cache"])
print("  statistics: requests by version", search["asked"], "hits by version", search["hit"])

for _ in range(4):
    ask("pair", 2)
for version, times in ((3, 1), (5, 2)):
    before = statistics("double", version, "success")
    for _ in range(times):
        ask("double", version)
text = read_metrics()
pair = {
    "requests": counted("nv_inference_request_success", "pair"),
    "hits": counted("nv_cache_num_hits_per_model", "pair"),
    "asked": {version: statistics("pair", version, "success") for version in (1, 2)},
}
print("pair, versions 1 and 2, only 2 asked, 4 times:")
print("  /metrics: requests by version", pair["requests"], "hits by version", pair["hits"])
print("  statistics: requests by version", pair["asked"])
double = counted("nv_inference_request_success", "double")
print("double, no ensemble, 3 asked once and thrice by ensembles, 5 twice:")
print("  /metrics: requests by version", double)

as_seen = (
    search["requests"] == {1: 5, 3: 0, 5: 0}
    and search["hits"] == {3: 0, 5: 0}
    and search["cache"] == 3
    and search["asked"] == {3: 2, 5: 3}
    and search["hit"] == {3: 1, 5: 2}
    and pair["requests"] == {1: 4, 2: 0}
    and pair["hits"] == {1: 3, 2: 0}
    and pair["asked"] == {1: 0, 2: 4}
    and double == {3: 4, 5: 2}
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
