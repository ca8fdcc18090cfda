#!/usr/bin/env bash
# A lone client of Triton never stays with one instance, and priorities are shares, even where nobody competes.
#
# What surprises: a model has two instances, one client sends its next request when it has the answer to the one before,
# and waits 5 ms in between. Both instances are free then, yet the requests go to them strictly in turns: each has cold
# caches, and what one has learnt the other has not. Priorities of instances in config.pbtxt look like the remedy.
# They are accepted and do nothing, without a warning, unless the server runs with
# --rate-limit=execution_count. With it they are no order of preference: priority 2 beside 1 gets every third request
# although the instance of priority 1 is free for each of them. Only a huge number keeps a lone client on one instance.
#
# Software: tritonserver 2.51.0, from the PyPI package nvidia-pytriton 0.7.0.
# Seen, of 300 requests, first and second instance: no option: 150 and 150 in turns without priorities, and just so with
# priorities 1 and 2, and 1 and 1000. With --rate-limit=execution_count: 150 and 150 in turns without priorities, 200
# and 100 (the second gets each third) with 1 and 2, 300 and 0 with 1 and 1000.
# Source: the page "Rate Limiter" of Triton's user guide (a priority of 2 is half the chances of 1; it speaks of
# instances that compete for resources); the rest measured, 2026-11-29.
set -euo pipefail

work="$(mktemp -d)"
server=""
stop() {
    if [[ -n "$server" ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
        server=""
    fi
}
trap 'stop; rm -rf "$work"' EXIT

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

# Each model answers with the number of the instance that answers.
models="$work/models"
make_model() { # NAME [PRIORITY OF THE SECOND INSTANCE]
    mkdir -p "$models/$1/1"
    cat >"$models/$1/1/model.py" <<'END'
import numpy
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args):
        group, instance = args["model_instance_name"].split("_")[-2:]
        self.number = numpy.array([int(group) + int(instance)], numpy.int32)

    def execute(self, requests):
        return [triton.InferenceResponse([triton.Tensor("instance", self.number)]) for _ in requests]
END
    cat >"$models/$1/config.pbtxt" <<'END'
backend: "python"
input { name: "x" data_type: TYPE_INT32 dims: 1 }
output { name: "instance" data_type: TYPE_INT32 dims: 1 }
END
    if [[ -z "${2:-}" ]]; then
        echo 'instance_group { kind: KIND_CPU count: 2 }' >>"$models/$1/config.pbtxt"
    else
        for priority in 1 "$2"; do
            echo "instance_group { kind: KIND_CPU count: 1 rate_limiter { priority: $priority } }"
        done >>"$models/$1/config.pbtxt"
    fi
}
make_model no_numbers
make_model one_and_two 2
make_model one_and_1000 1000

libraries="$site/nvidia_pytriton.libs:$(python3 -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')"
start() { # OPTION…
    read -r http grpc metrics < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(each.getsockname()[1] for each in sockets))')
    PATH="$work/venv/bin:$PATH" LD_LIBRARY_PATH="$libraries" "$triton/bin/tritonserver" \
        --model-repository="$models" --backend-directory="$work/backends" --disable-auto-complete-config \
        --exit-timeout-secs=5 --http-address=127.0.0.1 --http-port="$http" --grpc-address=127.0.0.1 \
        --grpc-port="$grpc" --metrics-address=127.0.0.1 --metrics-port="$metrics" "$@" >"$work/log" 2>&1 &
    server=$!
    for _ in {1..300}; do
        if python3 -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:$http/v2/health/ready')" \
            2>/dev/null; then
            return
        fi
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    grep '^E' "$work/log" >&2
    exit 2
}

cat >"$work/ask.py" <<'END'
import http.client
import json
import sys
import time

connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
body = json.dumps({"inputs": [{"name": "x", "shape": [1], "datatype": "INT32", "data": [0]}]})
as_seen = True
for model, first, second in (line.split(":") for line in sys.argv[2:]):
    order = ""
    for _ in range(300):
        connection.request("POST", f"/v2/models/{model}/infer", body)
        order += str(json.loads(connection.getresponse().read())["outputs"][0]["data"][0])
        time.sleep(0.005)
    counts = [order.count("0"), order.count("1")]
    print(f"  {model}: {counts[0]} and {counts[1]}, as in {order[100:124]}")
    # A busy machine lets the server notice late that an instance is free: a few requests go astray.
    as_seen = as_seen and abs(counts[0] - int(first)) <= 15 and abs(counts[1] - int(second)) <= 15
sys.exit(not as_seen)
END

changed=0
start
echo "no option, 300 requests of one client, first and second instance:"
python3 "$work/ask.py" "$http" no_numbers:150:150 one_and_two:150:150 one_and_1000:150:150 || changed=1
echo "  warnings about it in the log: $(grep '^[WE]' "$work/log" | grep -ciE 'rate|priorit' || true)"
stop
start --rate-limit=execution_count
echo "--rate-limit=execution_count:"
python3 "$work/ask.py" "$http" no_numbers:150:150 one_and_two:200:100 one_and_1000:300:0 || changed=1
stop
if ((changed)); then echo "changed"; else echo "as seen"; fi
exit "$changed"
