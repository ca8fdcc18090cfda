"""Promotes back and forth between two generations under load and prints how long the switches took.

    python bench/swaps.py --generations generations/ --queries pairs.csv [--promotions 50] [--reload]  # extra bench

Without --reload both generations stay loaded and only the switch is repeated: what a rollback within the grace period
takes. With it the old one is unloaded after each promotion, and each promotion loads its generation anew, as the first
promotion of a new export does. A bound on the switch counts for the case that is printed with it.

Takes the two newest generations of the folder, serves them with a response cache on free ports, has eight clients (four
over gRPC, four over HTTP) ask the queries, and promotes by turns. Prints one JSON document: the switch itself, the
whole promotion, answers and failures, answers that are not their generation's own (mixed), answers of another
generation than the one that served all the while (stale), and the memory of the server after the third promotion and
the last.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trident.bench.process_tree import tree_usage
from trident.data.pairs import read_pairs
from trident.generation.generation import Generation, list_generations
from trident.promotion.promotion import PromoteOptions, Promotion, promote, retire
from trident.search.searcher import Searcher
from trident.server.server import TritonServer, free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import ClientError, SearchClient, SearchResult

CLIENTS = ("grpc", "http") * 4
K = 10
SCORE_TOLERANCE = 1e-3


@dataclass
class Load:
    """Clients that ask until they are stopped, and what they saw: (asked at, came at, result)."""

    seen: list[tuple[float, float, SearchResult]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def ask(self, server: TritonServer, protocol: Any, queries: list[str]) -> None:
        """Ask the queries over and over."""
        with SearchClient(getattr(server.urls, protocol), protocol=protocol) as client:
            number = 0
            while not self.stopped.is_set():
                asked_at = time.monotonic()
                try:
                    result = client.search(queries[number % len(queries)], k=K)
                    self.seen.append((asked_at, time.monotonic(), result))
                except ClientError as error:
                    self.failures.append(str(error))
                number += 1


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generations", type=Path, required=True)
    parser.add_argument("--queries", type=Path, required=True, help="pairs whose queries are asked")
    parser.add_argument("--promotions", type=int, default=50)
    parser.add_argument("--reload", action="store_true", help="unload the old generation after each promotion")
    arguments = parser.parse_args()
    pair = list_generations(arguments.generations)[-2:]
    queries = list(dict.fromkeys(read_pairs(arguments.queries).queries))[:200]
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(
        http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, cache_size_bytes=64 * 2**20
    )
    with serve(pair[0], arguments.generations, options) as server:
        sys.stdout.write(json.dumps(measure(server, pair, queries, arguments), indent=2) + "\n")


def measure(server: TritonServer, pair: list[Generation], queries: list[str], arguments: Any) -> dict[str, Any]:
    """Return the figures of a run."""
    load = Load()
    threads = [
        threading.Thread(target=load.ask, args=(server, protocol, queries[25 * number :] + queries[: 25 * number]))
        for number, protocol in enumerate(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    made: list[Promotion] = []
    periods = [(pair[0].id, 0.0, time.monotonic())]  # id, promotion began, promotion done
    memory = {}
    try:
        for number in range(1, arguments.promotions + 1):
            target, began = pair[number % 2], time.monotonic()
            quiet = PromoteOptions()
            made.append(
                promote(arguments.generations, server.config.http_port, target.id, quiet, report=lambda _: None)
            )
            periods.append((target.id, began, time.monotonic()))
            if arguments.reload:
                retire(arguments.generations, server.config.http_port, grace_s=0)
            if number in (3, arguments.promotions):
                memory[number] = round(tree_usage(server.pid).memory_mib, 1)
    finally:
        load.stopped.set()
        for thread in threads:
            thread.join()
    switches = [each.switch_ms for each in made]
    return {
        "case": "each promotion loads its generation anew" if arguments.reload else "both generations stay loaded",
        "promotions": len(made),
        "switch_ms": {"median": round(statistics.median(switches), 1), "worst": round(max(switches), 1)},
        "promotion_s": {
            "median": round(statistics.median(each.seconds for each in made), 2),
            "worst": round(max(each.seconds for each in made), 2),
        },
        "answers": len(load.seen),
        "failed": len(load.failures),
        "mixed": mixed(load, pair, queries),
        **stale(load, periods),
        "resident_mib": memory,
    }


def mixed(load: Load, pair: list[Generation], queries: list[str]) -> int:
    """Return how many answers are not those that the generation they claim gives by itself."""
    right = {
        generation.id: (
            generation.serial,
            {answer.query: answer for answer in Searcher.load(generation).answers(queries, k=K)},
        )
        for generation in pair
    }
    wrong = 0
    for _, _, result in load.seen:
        serial, answers = right[result.generation]
        expected = answers[result.query]
        # equal scores may change places between two batches: an id counts by its score
        known = dict(zip(expected.product_ids, expected.scores, strict=True))
        last = expected.scores[-1]
        wrong += result.model_version != serial or any(
            abs(known.get(hit.product_id, last) - hit.score) > SCORE_TOLERANCE for hit in result.hits
        )
    return wrong


def stale(load: Load, periods: list[tuple[str, float, float]]) -> dict[str, int]:
    """Return how many answers came wholly between two promotions, and how many of them from another generation."""
    settled = wrong = 0
    for number, (generation, _, done) in enumerate(periods):
        ends = periods[number + 1][1] if number + 1 < len(periods) else float("inf")
        within = [result.generation for asked, came, result in load.seen if done < asked and came < ends]
        settled += len(within)
        wrong += sum(got != generation for got in within)
    return {"settled": settled, "stale": wrong}


if __name__ == "__main__":
    main()
