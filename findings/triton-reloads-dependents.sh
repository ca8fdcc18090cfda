#!/usr/bin/env bash
# Loading one model in Triton reloads ensembles that nobody named, with a configuration that is no longer on disk.
#
# What surprises: a repository under explicit control changes only what is asked for, so one would prepare a new version
# of an ensemble on disk and load it when all is ready. But a load looks at all models below the named one; where the
# files of one of those are newer, it is read again and so is every ensemble that stands on it, named or not. Such an
# ensemble comes back with the version folders that lie on disk by then and with the steps of the configuration that
# the server read before: a new version that answers by the old steps, ready for whoever asks for the latest. The
# version in the answer is the new one. It lasts until the ensemble is loaded by its own name.
#
# Software: tritonserver 2.51.0, from the PyPI package nvidia-pytriton 0.7.0.
# Seen: search 1 stands on double; on disk it is changed to version 2, which stands on triple. A file of double gets
# newer, and other, which stands on double too, is loaded. Now search 2 is ready and answers 3 with 6, by double; after
# search itself is loaded it answers 9.
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
mkdir -p "$models"/{double,triple,other,search}/1
for name in double triple; do
    factor="$([[ $name == double ]] && echo 2 || echo 3)"
    cat >"$models/$name/1/model.py" <<END
import triton_python_backend_utils as triton


class TritonPythonModel:
    def execute(self, requests):
        numbers = [triton.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [triton.InferenceResponse([triton.Tensor("y", x * $factor)]) for x in numbers]
END
    cat >"$models/$name/config.pbtxt" <<'END'
backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: 1 }
output { name: "y" data_type: TYPE_FP32 dims: 1 }
instance_group { kind: KIND_CPU count: 1 }
END
done
for name in search other; do
    cat >"$models/$name/config.pbtxt" <<'END'
platform: "ensemble"
input { name: "x" data_type: TYPE_FP32 dims: 1 }
output { name: "y" data_type: TYPE_FP32 dims: 1 }
ensemble_scheduling {
  step {
    model_name: "double" model_version: 1
    input_map { key: "x" value: "x" }
    output_map { key: "y" value: "y" }
  }
}
END
done

read -r http grpc metrics < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(each.getsockname()[1] for each in sockets))')
libraries="$site/nvidia_pytriton.libs:$(python3 -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')"
PATH="$work/venv/bin:$PATH" LD_LIBRARY_PATH="$libraries" "$triton/bin/tritonserver" \
    --model-repository="$models" --backend-directory="$work/backends" --disable-auto-complete-config \
    --model-control-mode=explicit --load-model=search --load-model=triple --exit-timeout-secs=5 \
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


def load(model):
    post(f"/v2/repository/models/{model}/load", {})
    time.sleep(1)  # the old version goes when the new one is there


def ask():
    body = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [3.0]}]}
    answer = post("/v2/models/search/infer", body)
    return answer["model_version"], answer["outputs"][0]["data"][0]


seen = {"at the start": ask()}
config = models / "search" / "config.pbtxt"
config.write_text(config.read_text().replace('"double"', '"triple"'))
(models / "search" / "1").rename(models / "search" / "2")
seen["search changed on disk"] = ask()
os.utime(models / "double" / "1" / "model.py")
load("other")
seen["other loaded"] = ask()
load("search")
seen["search loaded"] = ask()
for what, (version, value) in seen.items():
    print(f"{what}: version {version} answers {value}")
as_seen = list(seen.values()) == [("1", 6.0), ("1", 6.0), ("2", 6.0), ("2", 9.0)]
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
