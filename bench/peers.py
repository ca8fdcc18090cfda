"""Trident and other servers of the same model and index, measured in turns by perf_analyzer in one run.

    make peers                      # an environment of their own: .venv-peers
    python bench/peers.py --queries ../shared/data/esci/pairs.csv --generations generations --clients 1,8,32

| server | is |
| --- | --- |
| trident grpc, trident http | `trident serve` |
| infinity | infinity-emb's own server, torch engine: embeddings only, no retrieval |
| infinity-search | infinity-emb's engine and the index behind one FastAPI route |
| fastapi | sentence-transformers and the index behind one FastAPI route, as people write it |
| pytriton | sentence-transformers and the index bound by pytriton, dynamic batching, gRPC |

All get the generation's merged model and, where they search, its index by the same code; raw queries get the text
contract's query template beforehand. perf_analyzer posts JSON to servers that are not Triton (its service kind `openai`
sends any JSON to any path). Servers that are not asked wait. Prints the tables of `trident bench`; --out writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from trident.bench.measurement import Subject
from trident.bench.perf_analyzer import Target, find_perf_analyzer
from trident.bench.plot import save_plot
from trident.bench.queries import write_rest_input, write_tensor_input
from trident.bench.run import BenchConfig, run_bench
from trident.commands.bench import print_report
from trident.commands.output import say
from trident.errors import BenchError, TridentError
from trident.generation.generation import ENCODER_FOLDER, Generation
from trident.server.server import free_ports

REPOSITORY = Path(__file__).resolve().parents[1]
SERVERS = REPOSITORY / "bench" / "peer_servers"
ENVIRONMENT = REPOSITORY / ".venv-peers"
MODEL = "model"
TOKENIZER_CONFIG = "tokenizer_config.json"
START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Peer:
    """How a peer is started and asked."""

    command: Callable[[Generation, Path, list[int]], list[str]]  # with the model's folder and three free ports
    ready: str  # path that answers 200 on the first port when it is ready
    protocol: str
    endpoint: str = "search"
    field: str = "query"  # of its JSON


def _script(name: str, ports: int) -> Callable[[Generation, Path, list[int]], list[str]]:
    def command(generation: Generation, model: Path, free: list[int]) -> list[str]:
        return ["python", str(SERVERS / name), str(generation.folder.resolve()), str(model), *map(str, free[:ports])]

    return command


def _infinity(_: Generation, model: Path, free: list[int]) -> list[str]:
    named = ["--model-id", str(model), "--served-model-name", "search"]
    engine = ["--engine", "torch", "--device", "cpu", "--no-model-warmup", "--no-bettertransformer"]
    return ["infinity_emb", "v2", *named, *engine, "--host", "127.0.0.1", "--port", str(free[0])]


PEERS = {
    "infinity": Peer(command=_infinity, ready="/health", protocol="rest", endpoint="embeddings", field="input"),
    "infinity-search": Peer(command=_script("infinity_server.py", 1), ready="/docs", protocol="rest"),
    "fastapi": Peer(command=_script("fastapi_server.py", 1), ready="/docs", protocol="rest"),
    "pytriton": Peer(command=_script("pytriton_server.py", 3), ready="/v2/models/search/ready", protocol="grpc"),
}


@contextmanager
def running_peers(
    names: Sequence[str], environment: Path, generation: Generation, queries: Sequence[str], scratch: Path
) -> Iterator[list[Subject]]:
    """Yield the named peers, ready to be asked, and stop them at the end."""
    link_model(generation.folder / ENCODER_FOLDER, scratch / MODEL)
    contract = generation.text_contract()
    texts = [contract.render(query, "query") for query in queries]
    with ExitStack() as stack:
        yield [stack.enter_context(_running(name, environment / "bin", generation, texts, scratch)) for name in names]


def link_model(source: Path, target: Path) -> None:
    """Make a folder of the same model whose tokenizer the peers' older transformers loads.

    transformers 5 names the tokenizer's class in a way that 4 does not know; tokenizer.json, which says what it does,
    is the same file.
    """
    target.mkdir()
    for path in source.resolve().iterdir():
        if path.name != TOKENIZER_CONFIG:
            (target / path.name).symlink_to(path)
    config = json.loads((source / TOKENIZER_CONFIG).read_text("utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    (target / TOKENIZER_CONFIG).write_text(json.dumps(config), encoding="utf-8")


@contextmanager
def _running(name: str, programs: Path, generation: Generation, texts: list[str], scratch: Path) -> Iterator[Subject]:
    peer, ports = PEERS[name], free_ports(3)
    program, *arguments = peer.command(generation, scratch / MODEL, ports)
    if not (programs / program).is_file():
        raise BenchError(f"{name} did not start: no program {programs / program}, run make peers")
    environment = os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY / "core"),
        # pytriton's stub takes the first libpython it finds, which has to be that of its Python
        "LD_LIBRARY_PATH": f"{sysconfig.get_config_var('LIBDIR')}:{os.environ.get('LD_LIBRARY_PATH', '')}",
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "INFINITY_ANONYMOUS_USAGE_STATS": "0",
    }
    is_triton = peer.protocol == "grpc"
    input_file = scratch / f"{name}.json"
    if is_triton:
        write_tensor_input(texts, input_file)
    else:
        write_rest_input(texts, input_file, field=peer.field, fixed={"model": "search"})
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            [str(programs / program), *arguments],
            env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=scratch,
        ) as process,
    ):  # fmt: skip
        try:
            _wait_until_ready(process, f"http://127.0.0.1:{ports[0]}{peer.ready}", name, log)
            port = ports[1] if is_triton else ports[0]
            target = Target(url=f"127.0.0.1:{port}", protocol="grpc" if is_triton else "rest", endpoint=peer.endpoint)
            url = f"127.0.0.1:{ports[0]}" if is_triton else None
            yield Subject(name=name, target=target, input_file=input_file, pid=process.pid, statistics_url=url)
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, name: str, log: object) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with opener.open(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    log.seek(0)  # type: ignore[attr-defined]
    raise BenchError(f"{name} did not start: {log.read()[-1500:]}")  # type: ignore[attr-defined]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--generations", type=Path, default=Path("generations"))
    parser.add_argument("--generation")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT, help="a virtual environment with the peers")
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--window", type=float, default=5.0)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    names = [name for name in arguments.peers.split(",") if name]
    unknown = sorted(set(names) - PEERS.keys())
    if unknown:
        parser.error(f"--peers must be of {', '.join(PEERS)}, got '{unknown[0]}'")
    if not (arguments.environment / "bin" / "python").is_file():
        parser.error(f"the peers' environment {arguments.environment} is missing: run make peers")
    config = BenchConfig(
        queries=arguments.queries,
        generations=arguments.generations,
        generation=arguments.generation,
        protocols=("grpc", "http"),
        clients=tuple(map(int, arguments.clients.split(","))),
        rounds=arguments.rounds,
        window_s=arguments.window,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers are stopped then too
    try:
        report = run_bench(
            find_perf_analyzer(),
            config,
            say=say,
            peers=lambda *given: running_peers(names, arguments.environment.absolute(), *given),
        )
    except TridentError as error:
        sys.exit(f"peers: {error}")
    if arguments.out is not None:
        report.save(arguments.out)
    if arguments.plot is not None:
        save_plot(report.rows, report.yardstick, arguments.plot, title=f"{report.products:,} products")
    print_report(report)


if __name__ == "__main__":
    main()
