#!/usr/bin/env bash
# A model that is loaded over HTTP keeps other HTTP clients of Triton waiting until it is loaded; over gRPC it does not.
#
# What surprises: a load comes back when the model is ready, and the server has several HTTP threads (--http-thread-count,
# 8), so one would expect that everybody else is answered meanwhile. But most of the clients that keep their HTTP
# connections wait for the whole of the load, even those who ask for nothing but /v2/health/live. A deployment that loads
# new versions while it serves stalls those who ask over HTTP; asked for over gRPC the same load holds up nobody.
#
# Software: tritonserver 2.51.0, from the PyPI package nvidia-pytriton 0.7.0; grpcio 1.85.3.
# Seen: a model that takes 3 s to load; asked for over HTTP 14 of 16 HTTP connections waited up to 3.6 s, asked for over
# gRPC none of them waited for 0.1 s.
# Source: measured, 2026-11-30.
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
    nvidia-pytriton==0.7.0 numpy==1.26.4 grpcio==1.85.3 typing-extensions==4.15.0 || exit 2

# The wheel's server needs its Python backend and the stub of this Python in one folder.
site="$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
triton="$site/pytriton/tritonserver"
version="$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
mkdir "$work/backends"
cp -r "$triton/backends/python" "$work/backends/python"
cp "$triton/python_backend_stubs/$version/triton_python_backend_stub" "$work/backends/python/"
chmod 755 "$work/backends/python/triton_python_backend_stub" "$triton/bin/tritonserver"

models="$work/models"
mkdir -p "$models/slow/1"
cat >"$models/slow/1/model.py" <<'END'
import time

import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args):
        time.sleep(3)

    def execute(self, requests):
        numbers = [triton.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [triton.InferenceResponse([triton.Tensor("y", x)]) for x in numbers]
END
cat >"$models/slow/config.pbtxt" <<'END'
backend: "python"
input { name: "x" data_type: TYPE_FP32 dims: 1 }
output { name: "y" data_type: TYPE_FP32 dims: 1 }
instance_group { kind: KIND_CPU count: 1 }
END

read -r http grpc metrics < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(each.getsockname()[1] for each in sockets))')
libraries="$site/nvidia_pytriton.libs:$(python3 -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')"
PATH="$work/venv/bin:$PATH" LD_LIBRARY_PATH="$libraries" "$triton/bin/tritonserver" \
    --model-repository="$models" --backend-directory="$work/backends" --disable-auto-complete-config \
    --model-control-mode=explicit --exit-timeout-secs=5 \
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

"$work/venv/bin/python" - "$http" "$grpc" <<'END' || { grep '^E' "$work/log" >&2; exit 1; }
import http.client
import sys
import threading
import time

import grpc

HTTP, GRPC = f"127.0.0.1:{sys.argv[1]}", f"127.0.0.1:{sys.argv[2]}"
CONNECTIONS, LOADS_S = 16, 3


def post(path):
    connection = http.client.HTTPConnection(HTTP, timeout=60)
    connection.request("POST", path, body=b"{}")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == 200, answer.status


def load_by_grpc():
    name = b"slow"  # the request's field 2 is the name of the model
    with grpc.insecure_channel(GRPC, options=(("grpc.enable_http_proxy", 0),)) as channel:
        channel.unary_unary("/inference.GRPCInferenceService/RepositoryModelLoad")(b"\x12" + bytes([len(name)]) + name)


def longest_waits(load):
    """Return the longest wait of each connection while a model is loaded, in seconds."""
    ending, waits = threading.Event(), []

    def ask():
        connection, longest = http.client.HTTPConnection(HTTP, timeout=60), 0.0
        while not ending.is_set():
            began = time.monotonic()
            connection.request("GET", "/v2/health/live")
            connection.getresponse().read()
            longest = max(longest, time.monotonic() - began)
            time.sleep(0.01)
        connection.close()
        waits.append(longest)

    threads = [threading.Thread(target=ask) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    load()
    ending.set()
    for thread in threads:
        thread.join()
    post("/v2/repository/models/slow/unload")
    time.sleep(2)
    return sorted(waits)


held = {}
for what, load in {"HTTP": lambda: post("/v2/repository/models/slow/load"), "gRPC": load_by_grpc}.items():
    waits = longest_waits(load)
    held[what] = sum(wait > LOADS_S / 2 for wait in waits)
    print(
        f"a load of {LOADS_S} s over {what}: {held[what]} of {CONNECTIONS} HTTP connections waited for most of it, "
        f"the longest {waits[-1]:.1f} s, the shortest {waits[0]:.2f} s"
    )
as_seen = held["HTTP"] > CONNECTIONS / 4 and held["gRPC"] == 0
print("as seen" if as_seen else "changed")
sys.exit(not as_seen)
END
