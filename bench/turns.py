"""Two running servers asked in turns by perf_analyzer: which share of the first's searches a second the second has.

    python bench/turns.py --before a.json --after b.json --queries pairs.csv [--clients 32] [--rounds 8] [--mix zipf]

``a.json`` and ``b.json`` are what ``trident serve --json`` wrote: two commits (each from its own environment), or one
with an option on and off, such as ``--live``. Both stay up; within a round each is asked once, the order changes from
round to round, so that what else the machine does meets both. Prints the median of the rounds' shares with a 95%
interval (bootstrap over rounds, 2,000 resamples), and the same of p50 and of the servers' CPU time a search.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trident.bench.measurement import Subject, measure_point
from trident.bench.perf_analyzer import Load, PerfAnalyzer, Target, find_perf_analyzer
from trident.bench.queries import draw_queries, write_tensor_input
from trident.bench.served import running

RESAMPLES = 2000
FIGURES = ("searches_per_s", "p50_ms", "cpu_s_per_1000", "memory_mib")

Round = tuple[dict[str, float], dict[str, float]]  # of the first server, of the second


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--after", type=Path, required=True)
    parser.add_argument("--queries", type=Path, required=True, help="pairs whose queries are asked")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--window", type=float, default=1.5, help="seconds; a measurement is three")
    parser.add_argument("--count", type=int, default=5000, help="queries to draw at most")
    parser.add_argument("--mix", default="distinct", choices=("distinct", "zipf"))
    arguments = parser.parse_args()
    queries = draw_queries(arguments.queries, count=arguments.count, mix=arguments.mix)
    analyzer, load = find_perf_analyzer(), Load(clients=arguments.clients)
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory() as folder:
        asked = write_tensor_input(queries, Path(folder) / "queries.json")
        sides = [subject_of(path, asked) for path in (arguments.before, arguments.after)]
        for number in range(arguments.rounds + 1):
            found = {}
            for side in (0, 1) if number % 2 else (1, 0):
                found[side] = measured(analyzer, sides[side], load, number, arguments.window)
            if number:  # the first warms both
                rounds.append((found[0], found[1]))
                sys.stderr.write(f"round {number}: {found[0]} {found[1]}\n")
    share = {name: share_of(rounds, name) for name in FIGURES}
    report = {"clients": arguments.clients, "mix": arguments.mix, "rounds": rounds, "share": share}
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


def subject_of(path: Path, asked: Path) -> Subject:
    """Return the server of a file, and what it is asked."""
    server = running(path)
    return Subject(
        name=str(path),
        target=Target(url=server.grpc, protocol="grpc"),
        input_file=asked,
        pid=server.pid,
        statistics_url=server.http,
    )


def measured(analyzer: PerfAnalyzer, side: Subject, load: Load, number: int, window_s: float) -> dict[str, float]:
    """Return the figures of one server in one round.

    Raises:
        BenchError: If a request failed.
    """
    point = measure_point(analyzer, side, load, round_number=number, window_s=window_s)
    found = (point.measured.searches_per_s, point.measured.p50_ms, point.server_cpu_s_per_1000, point.memory_mib)
    return dict(zip(FIGURES, found, strict=True))


def share_of(rounds: list[Round], name: str) -> dict[str, float]:
    """Return the median of the rounds' ratios, after to before, and its 95% interval."""
    ratios: NDArray[np.float64] = np.array([after[name] / before[name] for before, after in rounds])
    draws = np.random.default_rng(0).choice(ratios, size=(RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
    return {"median": statistics.median(ratios.tolist()), "low": float(low), "high": float(high)}


if __name__ == "__main__":
    main()
