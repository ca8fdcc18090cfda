"""What the canary and the query log cost: searches a second with and without, in turns, through real servers.

python bench/watching.py generations/
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from trident.generation.generation import find_generation
from trident.server.server import free_ports
from trident.server.serving import ServeOptions, serve
from trident.watch.options import WatchOptions
from trident_client import SearchClient

ROUNDS, SEARCHES, CLIENTS = 31, 200, 8


def searches_a_second(url: str, queries: list[str]) -> float:
    """Return how many searches a second the clients got answered."""
    with SearchClient(url) as client, ThreadPoolExecutor(CLIENTS) as pool:
        start = time.perf_counter()
        list(pool.map(client.search, (queries[number % len(queries)] for number in range(SEARCHES))))
        return SEARCHES / (time.perf_counter() - start)


def main(generations: Path) -> None:
    """Print the median of each arm."""
    generation = find_generation(generations)
    queries = [answer.query for answer in generation.golden()]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        watches = {
            "counters only": WatchOptions(),
            "canary 0.01, query log": WatchOptions(canary_share=0.01, query_log=folder / "queries.jsonl"),
        }
        urls = {}
        for arm, watch in watches.items():
            http_port, grpc_port, metrics_port = free_ports(3)
            options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, watch=watch)
            urls[arm] = stack.enter_context(serve(generation, generations, options)).urls.grpc
        rates: dict[str, list[float]] = {arm: [] for arm in urls}
        for turn in range(ROUNDS):
            for arm in sorted(urls, reverse=bool(turn % 2)):
                rates[arm].append(searches_a_second(urls[arm], queries))
    for arm, found in rates.items():
        low, middle, high = statistics.quantiles(found, n=4)
        sys.stdout.write(f"{arm}: median {middle:.0f} searches/s, quartiles {low:.0f} and {high:.0f}\n")
    plain, watched = rates.values()
    low, middle, high = statistics.quantiles([b / a for a, b in zip(plain, watched, strict=True)], n=4)
    sys.stdout.write(f"watched to plain, turn by turn: median {middle:.2f}, quartiles {low:.2f} and {high:.2f}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
