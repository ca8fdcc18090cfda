#!/usr/bin/env bash
# Triton's response cache gives one client's answer to another who asked with other parameters or for other outputs.
#
# What surprises: a request may carry parameters beside its tensors, and a Python model reads them (how many products,
# which language, whose tenant), so one expects them to be part of what the cache knows a request by. The cache knows
# a request by model, version and inputs alone. Who asks for the same text with another parameter gets the first one's
# answer, as a success and in microseconds; without the cache, or with another text in each test, everything is right.
# Statistics count a hit. The outputs that were asked for are no part of it either: once somebody has asked for one of
# two, whoever asks for both gets that one alone, as a success, until the answer is evicted. Remedy: what changes an
# answer is an input tensor, and the cached model is asked for all of its outputs, by an ensemble above it.
# In Trident both is so.
#
# Software: tritonserver 2.51.0, from the PyPI package nvidia-pytriton 0.7.0.
# Seen, a model that multiplies by the parameter "factor", asked for 3 with factor 2, 10 and none: cached 6, 6, 6, and 2
# hits; the same model without the cache 6, 30, 3. Of its outputs x_times and x_plus, 7 asked for x_times and then for
# all: cached x_times, x_times; without the cache x_times, both.
# Source: the documentation of the response cache names model, version and inputs as its key; what that does to
# parameters measured, 2026-12-01.
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
mkdir -p "$models"/cached/1 "$models"/plain/1
cat >"$models/plain/1/model.py" <<'END'
import json

import triton_python_backend_utils as triton


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            factor = json.loads(request.parameters() or "{}").get("factor", 1)
            x = triton.get_input_tensor_by_name(request, "x").as_numpy()
            times = triton.Tensor("x_times", x * x.dtype.type(factor))
            answers.append(triton.InferenceResponse([times, triton.Tensor("x_plus", x + x.dtype.type(1))]))
        return answers
END
cp "$models/plain/1/model.py" "$models/cached/1/model.py"
cat >"$models/plain/config.pbtxt" <<'END'
backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: 1 }
output { name: "x_times" data_type: TYPE_FP32 dims: 1 }
output { name: "x_plus" data_type: TYPE_FP32 dims: 1 }
instance_group { kind: KIND_CPU count: 1 }
END
cp "$models/plain/config.pbtxt" "$models/cached/config.pbtxt"
echo 'response_cache { enable: true }' >>"$models/cached/config.pbtxt"

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

"$work/venv/bin/python" - "$http" <<'END' || { grep '^E' "$work/log" >&2; exit 1; }
import json
import sys
import urllib.request

http = f"http://127.0.0.1:{sys.argv[1]}"


def ask(model, x, outputs=(), **parameters):
    """Return the outputs of a model by their names; none named: all."""
    body = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [x]}], "parameters": parameters}
    if outputs:
        body["outputs"] = [{"name": name} for name in outputs]
    request = urllib.request.Request(f"{http}/v2/models/{model}/infer", json.dumps(body).encode())
    with urllib.request.urlopen(request) as answer:
        return {output["name"]: output["data"][0] for output in json.load(answer)["outputs"]}


def hits(model):
    with urllib.request.urlopen(f"{http}/v2/models/{model}/stats") as answer:
        return json.load(answer)["model_stats"][0]["inference_stats"]["cache_hit"]["count"]


MODELS = ("cached", "plain")
factors = {}
for model in MODELS:
    answers = (ask(model, 3.0, factor=2), ask(model, 3.0, factor=10), ask(model, 3.0))
    factors[model] = [answer["x_times"] for answer in answers]
counted = hits("cached")
outputs = {model: [sorted(ask(model, 7.0, ["x_times"])), sorted(ask(model, 7.0))] for model in MODELS}
print("3 with the parameter factor 2, with 10, and without it")
for model in MODELS:
    print(f"  {model}: {factors[model]}")
print(f"  hits of the cache: {counted}")
print("7, asked for x_times, then for all outputs")
for model in MODELS:
    print(f"  {model}: {outputs[model]}")

as_seen = (
    factors == {"cached": [6, 6, 6], "plain": [6, 30, 3]}
    and counted == 2
    and outputs == {"cached": [["x_times"], ["x_times"]], "plain": [["x_times"], ["x_plus", "x_times"]]}
)
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
