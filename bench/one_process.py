"""The ensemble of three models beside one model that does all of it, in one run: what the layout costs.

    python bench/one_process.py --queries pairs.csv --generations generations --clients 1,8,32  # extra bench

The one model (``bench/one_process_server``) runs the same tokenizer, graph, index and code under the same tritonserver,
batched by Triton as well. It has no knobs, no promotion and no ``embed``: it is there to be measured. Prints the
tables of ``trident bench``; --out writes JSON.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from trident.bench.measurement import Subject
from trident.bench.perf_analyzer import Target, find_perf_analyzer
from trident.bench.queries import write_tensor_input
from trident.bench.run import BenchConfig, run_bench
from trident.commands.bench import print_report
from trident.commands.output import say
from trident.errors import TridentError
from trident.generation import Generation
from trident.server import ServerConfig, TritonServer, free_ports

MODEL = Path(__file__).resolve().parent / "one_process_server"
NAME = "one process"


def lay_out(models: Path, generation: Generation) -> Path:
    """Return a model repository of the one model over a generation."""
    version = models / "search" / "1"
    version.mkdir(parents=True)
    (models / "search" / "config.pbtxt").symlink_to(MODEL / "config.pbtxt")
    (version / "model.py").symlink_to(MODEL / "model.py")
    (version / "generation").symlink_to(generation.folder.resolve())
    (version / "__pycache__").touch()  # a file, so that Python leaves no byte code there
    return models


@contextmanager
def one_process(generation: Generation, queries: Sequence[str], scratch: Path) -> Iterator[list[Subject]]:
    """Yield the one model, served on free ports, and stop it at the end."""
    http_port, grpc_port, metrics_port = free_ports(3)
    config = ServerConfig(
        model_repository=lay_out(scratch / "models", generation),
        load_models=("search",),
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
    )
    input_file = write_tensor_input(queries, scratch / "one_process.json")
    with TritonServer(config) as server:
        target = Target(url=server.urls.grpc, protocol="grpc")
        statistics_url = server.urls.http
        yield [Subject(name=NAME, target=target, input_file=input_file, pid=server.pid, statistics_url=statistics_url)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--generations", type=Path, default=Path("generations"))
    parser.add_argument("--generation")
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--window", type=float, default=5.0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    config = BenchConfig(
        queries=arguments.queries,
        generations=arguments.generations,
        generation=arguments.generation,
        clients=tuple(map(int, arguments.clients.split(","))),
        rounds=arguments.rounds,
        window_s=arguments.window,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers are stopped then too
    try:
        report = run_bench(find_perf_analyzer(), config, say=say, peers=one_process)
    except TridentError as error:
        sys.exit(f"one_process: {error}")
    if arguments.out is not None:
        report.save(arguments.out)
    print_report(report)


if __name__ == "__main__":
    main()
