#!/usr/bin/env bash
# Triton: a configuration given with a load outlives later loads, and goes when somebody loads another model.
#
# What surprises: a load can carry a configuration ("config", one more instance, another parameter) that is used instead
# of the file's. One expects the next load without it to bring the file's back, since a load is what makes the server
# hold what is on disk. It answers 200 and changes nothing: no file is newer, so nothing is read. The configuration goes
# at another time, when any file of the model gets newer, a touch or a copy is enough, and then with the load of any
# ensemble above it: a model that nobody named falls back to its file. So a setting that was tried stays after it was
# taken back, and one that was meant to stay is lost by a deployment next door. /v2/models/NAME/config tells which is in
# use. Remedy: write the file and load; to go back, unload and load.
#
# Software: tritonserver 2.51.0, from the PyPI package nvidia-pytriton 0.7.0.
# Seen, a model that adds its parameter, asked 3: by its file 13, loaded with 100 given 103, loaded without 103, the
# ensemble above it loaded 103; its file touched and the ensemble loaded 13; given again 103, unloaded and loaded 13.
# Source: triton-inference-server/server pull request 3946 (what the parameter is for); how long it lasts measured,
# 2026-11-30.
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
mkdir -p "$models"/{boost,search}/1
cat >"$models/boost/1/model.py" <<'END'
import json

import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, arguments):
        self.added = float(json.loads(arguments["model_config"])["parameters"]["added"]["string_value"])

    def execute(self, requests):
        numbers = [triton.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [triton.InferenceResponse([triton.Tensor("y", x + self.added)]) for x in numbers]
END
cat >"$models/boost/config.pbtxt" <<'END'
backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: 1 }
output { name: "y" data_type: TYPE_FP32 dims: 1 }
instance_group { kind: KIND_CPU count: 1 }
parameters { key: "added" value { string_value: "10" } }
END
cat >"$models/search/config.pbtxt" <<'END'
platform: "ensemble"
input { name: "x" data_type: TYPE_FP32 dims: 1 }
output { name: "y" data_type: TYPE_FP32 dims: 1 }
ensemble_scheduling {
  step {
    model_name: "boost" model_version: 1
    input_map { key: "x" value: "x" }
    output_map { key: "y" value: "y" }
  }
}
END

read -r http grpc metrics < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(each.getsockname()[1] for each in sockets))')
libraries="$site/nvidia_pytriton.libs:$(python3 -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')"
PATH="$work/venv/bin:$PATH" LD_LIBRARY_PATH="$libraries" PYTHONDONTWRITEBYTECODE=1 "$triton/bin/tritonserver" \
    --model-repository="$models" --backend-directory="$work/backends" --disable-auto-complete-config \
    --model-control-mode=explicit --load-model=search --exit-timeout-secs=5 \
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

"$work/venv/bin/python" - "$http" "$models" <<'END' || { grep '^E' "$work/log" >&2; exit 1; }
import json
import os
import sys
import time
import urllib.request
from pathlib import Path

http, models = f"http://127.0.0.1:{sys.argv[1]}", Path(sys.argv[2])


def post(path, body):
    with urllib.request.urlopen(urllib.request.Request(http + path, json.dumps(body).encode(), method="POST")) as got:
        text = got.read()
    return json.loads(text) if text else None


def repository(model, action, **parameters):
    post(f"/v2/repository/models/{model}/{action}", {"parameters": parameters})
    time.sleep(1)  # the old one goes when the new one is there


def ask():
    body = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [3.0]}]}
    return post("/v2/models/boost/infer", body)["outputs"][0]["data"][0]


with urllib.request.urlopen(f"{http}/v2/models/boost/config") as got:
    given = json.load(got)
given["parameters"]["added"]["string_value"] = "100"

seen = {"by its file": ask()}
repository("boost", "load", config=json.dumps(given))
seen["loaded with 100 given"] = ask()
repository("boost", "load")
seen["loaded without"] = ask()
repository("search", "load")
seen["the ensemble above it loaded"] = ask()
os.utime(models / "boost" / "1" / "model.py")
repository("search", "load")
seen["its file touched, the ensemble loaded"] = ask()
repository("boost", "load", config=json.dumps(given))
seen["given again"] = ask()
repository("boost", "unload")
repository("boost", "load")
seen["unloaded and loaded"] = ask()
print("what a model that adds 10, by its file, answers to 3")
for what, value in seen.items():
    print(f"  {what}: {value:g}")
as_seen = list(seen.values()) == [13, 103, 103, 103, 13, 103, 13]
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
