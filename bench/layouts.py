"""One process beside three stages, under the same tritonserver in one run: what the layout of an ensemble costs.

    python bench/layouts.py --queries pairs.csv --generations generations --clients 1,8,32  # extra bench

``trident serve --variant cpu`` runs tokenizer, encoder and index in one model, ``--variant stages`` each in its own.
Same generation, graph, index and code. Prints the tables of ``trident bench``; --out writes JSON.
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
from trident.bench.served import started
from trident.commands.bench import print_report
from trident.commands.output import say
from trident.errors import TridentError
from trident.generation.generation import Generation

STAGES = "stages"


@contextmanager
def stages(generation: Generation, queries: Sequence[str], scratch: Path) -> Iterator[list[Subject]]:
    """Yield the server of three stages on free ports, and stop it at the end."""
    input_file = write_tensor_input(queries, scratch / "stages.json")
    with started(generation.folder.parent, generation.id, ("--variant", STAGES)) as served:
        target = Target(url=served.grpc, protocol="grpc")
        yield [Subject(name=STAGES, target=target, input_file=input_file, pid=served.pid, statistics_url=served.http)]


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
        report = run_bench(find_perf_analyzer(), config, say=say, peers=stages)
    except TridentError as error:
        sys.exit(f"layouts: {error}")
    if arguments.out is not None:
        report.save(arguments.out)
    print_report(report)


if __name__ == "__main__":
    main()
