"""A live catalogue: recall and time while products are replaced, and whether a search sees what was answered.

    python bench/live.py churn --vectors vectors.npy --rows 40000
    python bench/live.py fresh --generations generations/ --trials 10000

``churn`` builds an index over N of some unit vectors (M, D) float32, M >= 2N, puts others in the place of a share of
them, and asks queries of the catalogue: recall@10 against exact search, that of an index built anew over the same
products, and the median time of one query, with the tail as long as that share makes it. ``fresh`` has several clients
at a time upsert a product and look for it at once, so that both instances of the server answer. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.attributes.attributes import Attributes
from trident.generation.generation import find_generation
from trident.index.exact_search import exact_search, recall
from trident.index.index import IndexConfig, Neighbours, VectorIndex
from trident.journal.folder import LiveFolder
from trident.live.merging import Searched, nearest
from trident.live.operations import Product
from trident.live.snapshot import Change, Growth, Snapshot
from trident.live.vectors import CAPACITY
from trident.server.server import free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import SearchClient

SHARES = (0.0, 0.2, 0.5, 1.0)
QUERIES, K, EF = 500, 10, 128
CLIENTS = 4


class Rows:
    """N products whose ids are their rows."""

    def __init__(self, count: int) -> None:
        """Without attributes."""
        self.columns, self._count = Attributes.none(count), count

    def __len__(self) -> int:
        """Return N."""
        return self._count

    def row(self, product: str) -> int | None:
        """Return the row of a product."""
        return int(product)

    def title(self, row: int) -> str:
        """Return the title of a row."""
        return f"{row}"


def replaced(count: int, rows: NDArray[np.int64]) -> Snapshot:
    """Return a snapshot in which rows of N have another title, and the vectors 0, 1, … in the tail."""
    growth = Growth(Rows(count), 0)
    new = Product(title="another", attributes={})
    return growth.advance([Change(str(row), new, place) for place, row in enumerate(rows.tolist())], 1)


def churn(vectors: NDArray[np.float32], count: int, seed: int) -> dict[str, Any]:
    """Return recall and time for each share of N products that is replaced."""
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(vectors))
    base, others = vectors[order[:count]], vectors[order[count : 2 * count]]
    queries = vectors[order[2 * count : 2 * count + QUERIES]]
    index = VectorIndex.build(base, config=IndexConfig(ef=EF), encoder_fingerprint="bench", threads=2)
    found: dict[str, Any] = {"products": count, "queries": len(queries), "ef": EF, "shares": {}}
    for share in SHARES:
        rows = np.sort(draw.choice(count, int(share * count), replace=False))
        if len(rows) > CAPACITY:
            continue
        snapshot = replaced(count, rows)
        now = np.concatenate([base[~snapshot.gone], others[: len(rows)]])
        exact = exact_search(now, queries, K)
        searched, taken, ms = Searched(snapshot, index, others), [], []
        row_of = np.concatenate([np.flatnonzero(~snapshot.gone), count + np.arange(len(rows))])
        place_of = np.full(2 * count, -1, dtype=np.int64)
        place_of[row_of] = np.arange(len(now))
        for query in queries:
            started = time.perf_counter()
            taken.append(nearest(searched, query[None], [K], [EF]))
            ms.append(1000 * (time.perf_counter() - started))
        live = Neighbours(
            place_of[np.concatenate([each.rows for each in taken])],
            np.concatenate([each.scores for each in taken]),
            np.concatenate([each.count for each in taken]),
        )
        fresh = VectorIndex.build(now, config=IndexConfig(ef=EF), encoder_fingerprint="bench", threads=2)
        fresh_ms = []
        for query in queries:
            started = time.perf_counter()
            fresh.search(query[None], K, ef=EF)
            fresh_ms.append(1000 * (time.perf_counter() - started))
        found["shares"][f"{share:.0%}"] = {
            "tail": len(rows),
            "recall_at_10": recall(live, exact),
            "fresh_recall_at_10": recall(fresh.search(queries, K, ef=EF), exact),
            "p50_ms": statistics.median(ms),
            "fresh_p50_ms": statistics.median(fresh_ms),
        }
    return found


def look(url: str, key: str, client: int, trials: int) -> tuple[int, list[float]]:
    """Return how many of its own products a client found right after each was answered, and milliseconds an upsert."""
    seen, ms = 0, []
    with SearchClient(url, write_key=key, timeout_s=120) as asked:
        for trial in range(trials):
            product = f"fresh-{client}-{trial}"
            started = time.perf_counter()
            asked.upsert([{"id": product, "title": f"fresh thing {client} {trial}"}])
            ms.append(1000 * (time.perf_counter() - started))
            hits = asked.search(f"fresh thing {client} {trial}", k=1000).hits
            seen += product in {hit.product_id for hit in hits}
            asked.delete([product])
    return seen, ms


def fresh(generations: Path, trials: int) -> dict[str, Any]:
    """Return how often a search saw the upsert before it, several clients at a time so that both instances answer."""
    http_port, grpc_port, metrics_port = free_ports(3)
    options = ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, live=True)
    with serve(find_generation(generations), generations, options) as server, ThreadPoolExecutor(CLIENTS) as pool:
        key = LiveFolder.of(generations).key()
        each = [pool.submit(look, server.urls.grpc, key, client, trials // CLIENTS) for client in range(CLIENTS)]
        done = [one.result() for one in each]
    ms = [value for _, values in done for value in values]
    return {"trials": len(ms), "seen": sum(seen for seen, _ in done), "upsert_p50_ms": statistics.median(ms)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("churn", "fresh"))
    parser.add_argument("--vectors", type=Path, help="of churn")
    parser.add_argument("--rows", type=int, default=40_000, help="products of churn")
    parser.add_argument("--generations", type=Path, help="of fresh; a server writes beside it")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=31)
    options = parser.parse_args()
    if options.what == "churn" and options.vectors:
        vectors = np.load(options.vectors, mmap_mode="r")
        found = churn(np.asarray(vectors), options.rows, options.seed)
    elif options.what == "fresh" and options.generations:
        found = fresh(options.generations, options.trials)
    else:
        parser.error("churn needs --vectors, fresh --generations")
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
