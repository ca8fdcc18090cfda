"""A live catalogue: recall and time while products are replaced, searches beside writes, and what a search sees.

    python bench/live.py churn --vectors vectors.npy --rows 70000
    python bench/live.py beside --generations generations/ --queries pairs.csv --titles products.csv
    python bench/live.py fresh --generations generations/ --trials 10000

``churn`` builds an index over N of some unit vectors (M, D) float32, M >= 2N, puts others in the place of a share of
them, and asks queries of the catalogue: recall@10 against exact search, that of an index built anew over the same
products, and the median time of one query. Where the tail is full it is compacted, as a server does. ``beside`` finds
how many searches a second a server answers and how many titles it embeds, then searches at 0.4 of the first, in turns
alone and beside upserts at a fifth of the second and 1,000 updates a second, sent by another process. ``fresh`` has
several clients at a time upsert a product and look for it at once, so that both instances answer. A server writes
beside the generations. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trident.attributes.attributes import Attributes
from trident.data.catalogue import Catalogue, read_catalogue
from trident.data.pairs import read_pairs
from trident.generation.generation import find_generation
from trident.index.exact_search import exact_search, recall
from trident.index.growing import GrowingVectors
from trident.index.index import IndexConfig, Neighbours, VectorIndex
from trident.journal.folder import LiveFolder
from trident.live.base import CatalogueBase
from trident.live.known import Knowledge
from trident.live.merging import Searched, nearest
from trident.live.operations import Product
from trident.live.snapshot import Change, Growth, Snapshot
from trident.live.vectors import CAPACITY
from trident.server.server import free_ports
from trident.server.serving import ServeOptions, serve
from trident_client import SearchClient, ServerOverloadedError
from trident_export.judge.index_settings import EXACT_UP_TO, cheapest, measure_cuts, measure_depths

QUERIES, K = 500, 10
ASKED_APART = 500  # queries by which depth and cuts are chosen
ANEW = (0.2, 1.0)  # shares after which an index is built anew, too
TARGET = 0.99  # recall of the depth that an export takes
CLIENTS = 4
SEARCHERS, LOAD = 32, 0.4  # clients of the measured capacity; share of it that arrives
PHASE_S = 15.0
UPDATES_A_SECOND, OF_A_REQUEST = 1000, 100


def replaced(count: int, rows: NDArray[np.int64]) -> Snapshot:
    """Return a snapshot in which rows of N have another title, and the vectors 0, 1, … in the tail."""
    ids = [str(row) for row in range(count)]
    growth = Growth(CatalogueBase(Catalogue(ids, ids, pa.table({})), Attributes.none(count), Knowledge()), 0)
    new = Product(title="another", attributes={})
    return growth.advance([Change(str(row), new, place) for place, row in enumerate(rows.tolist())], 1)


def settled(vectors: NDArray[np.float32], apart: NDArray[np.float32], like: VectorIndex | None = None) -> VectorIndex:
    """Return an index of vectors, its depth and cuts measured as at an export, or those of another one."""
    index = VectorIndex.build(vectors, config=IndexConfig(), encoder_fingerprint="bench", threads=2)
    if like is not None:
        index.config, index.cuts = like.config, like.cuts
        return index
    exact = exact_search(vectors, apart, K)
    taken = cheapest(measure_depths(index, [(apart, exact)], K, target=TARGET), TARGET)
    index.config = replace(index.config, ef=None if taken is None else taken.ef)
    if index.unique_count > EXACT_UP_TO:
        index.cuts = measure_cuts(index, apart, K)
    return index


def timed(
    search: Callable[[NDArray[np.float32]], Neighbours], queries: NDArray[np.float32]
) -> tuple[Neighbours, dict[str, float]]:
    """Return what queries find, each alone, and the median milliseconds by the clock and of the processor."""
    found, ms, cpu_ms = [], [], []
    for query in queries:
        started, cpu = time.perf_counter(), time.process_time()
        found.append(search(query[None]))
        ms.append(1000 * (time.perf_counter() - started))
        cpu_ms.append(1000 * (time.process_time() - cpu))
    parts = [np.concatenate([getattr(each, name) for each in found]) for name in ("rows", "scores", "count")]
    return Neighbours(*parts), {"p50_ms": statistics.median(ms), "p50_cpu_ms": statistics.median(cpu_ms)}


@dataclass
class Churned:
    """N products, of which those in the tail have other vectors than in the index."""

    index: VectorIndex
    vectors: NDArray[np.float32]  # (N, D) as they are now
    tail: NDArray[np.int64]  # products

    def measured(self, queries: NDArray[np.float32], *, beside_anew: bool) -> dict[str, Any]:
        """Return recall and time, where it is asked for beside those of an index built anew with the same settings."""
        snapshot = replaced(len(self.vectors), self.tail)
        growing = GrowingVectors(np.ascontiguousarray(self.vectors[self.tail]))
        growing.prepare(len(self.tail))
        searched = Searched(snapshot, self.index, growing)
        live, ms = timed(lambda query: nearest(searched, query, [K], [None]), queries)
        rows = live.rows.copy()
        in_tail = rows >= len(self.vectors)
        rows[in_tail] = self.tail[rows[in_tail] - len(self.vectors)]
        exact = exact_search(self.vectors, queries, K)
        found = {
            "tail": len(self.tail),
            "way": self.index.way(None, snapshot.kept),
            "recall_at_10": recall(Neighbours(rows, live.scores, live.count), exact),
            **ms,
        }
        if beside_anew:
            anew = settled(self.vectors, queries, self.index)
            fresh, fresh_ms = timed(lambda query: anew.search(query, K), queries)
            found |= {
                "fresh_recall_at_10": recall(fresh, exact),
                **{f"fresh_{name}": value for name, value in fresh_ms.items()},
            }
        return found


def churn(vectors: NDArray[np.float32], count: int, seed: int) -> dict[str, Any]:
    """Return recall and time after shares of N products were replaced, and with the tail half full and full."""
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(vectors))
    now, others = vectors[order[:count]], vectors[order[count : 2 * count]]
    behind = vectors[order[2 * count :]]
    queries, apart = behind[:QUERIES], behind[QUERIES : QUERIES + ASKED_APART]
    catalogue = Churned(settled(now, apart), now.copy(), np.array([], dtype=np.int64))
    shares: dict[str, Any] = {}
    found = {
        "products": count,
        "queries": len(queries),
        "ef": catalogue.index.ef,
        "cuts": vars(catalogue.index.cuts),
        "shares": shares,
    }
    turn = draw.permutation(count)  # who is replaced first
    done = 0
    for share in sorted({0.0, CAPACITY / 2 / count, CAPACITY / count, *ANEW}):
        upto = min(int(share * count), count)
        while done < upto:
            more = turn[done : min(upto, done + CAPACITY - len(catalogue.tail))]
            if not len(more):  # the tail is full
                catalogue.index = settled(catalogue.vectors, apart, catalogue.index)
                catalogue.tail = np.array([], dtype=np.int64)
                continue
            catalogue.vectors[more] = others[more]
            catalogue.tail = np.concatenate([catalogue.tail, more])
            done += len(more)
        shares[f"{done / count:.0%}"] = catalogue.measured(queries, beside_anew=share in ANEW)
        sys.stderr.write(f"{done / count:.0%}: {shares[f'{done / count:.0%}']}\n")
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


def options() -> ServeOptions:
    """Return those of a server with a live catalogue, on free ports."""
    http_port, grpc_port, metrics_port = free_ports(3)
    return ServeOptions(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port, live=True)


def fresh(generations: Path, trials: int) -> dict[str, Any]:
    """Return how often a search saw the upsert before it, several clients at a time so that both instances answer."""
    with (
        serve(find_generation(generations), generations, options()) as server,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        key = LiveFolder.of(generations).key()
        each = [pool.submit(look, server.urls.grpc, key, client, trials // CLIENTS) for client in range(CLIENTS)]
        done = [one.result() for one in each]
    ms = [value for _, values in done for value in values]
    return {"trials": len(ms), "seen": sum(seen for seen, _ in done), "upsert_p50_ms": statistics.median(ms)}


@dataclass
class Load:
    """Searches and writes of one server.

    Attributes:
        url: Of its gRPC.
        key: To write.
        queries: That are asked in turns.
        titles: Of products that are upserted.
        ids: Of products that are updated.
    """

    url: str
    key: str
    queries: list[str]
    titles: list[str]
    ids: list[str]
    taken: int = 0  # titles, so that each upsert has a new one
    rejected: int = 0  # searches that came at a rate: they have no time

    def capacity(self, seconds: float) -> float:
        """Return how many searches a second are answered where each client asks as soon as it has its answer."""
        end = time.monotonic() + seconds

        def ask(start: int) -> int:
            done = 0
            with SearchClient(self.url, timeout_s=60) as client:
                while time.monotonic() < end:
                    with suppress(ServerOverloadedError):  # it answers as many as it can
                        client.search(self.queries[(start + done) % len(self.queries)], k=K)
                        done += 1
            return done

        with ThreadPoolExecutor(SEARCHERS) as pool:
            return sum(pool.map(ask, range(0, 37 * SEARCHERS, 37))) / seconds

    def embedded(self, count: int) -> float:
        """Return how many titles a second are upserted where one request follows another."""
        with SearchClient(self.url, write_key=self.key, timeout_s=120) as client:
            started = time.monotonic()
            for _ in range(0, count, OF_A_REQUEST):
                self.upsert(client, OF_A_REQUEST)
            return count / (time.monotonic() - started)

    def upsert(self, client: SearchClient, count: int) -> None:
        """Upsert products with titles that nobody had; the ids come again."""
        taken = range(self.taken, self.taken + count)
        self.taken += count
        client.upsert([{"id": f"bulk-{n % 2000}", "title": f"{self.titles[n % len(self.titles)]} {n}"} for n in taken])

    def searched(self, rate: float, seconds: float) -> list[float]:
        """Return the milliseconds of searches that come at a rate, from when each was due; rejected ones have none."""
        begins = time.monotonic() + 0.2
        due = begins + np.cumsum(np.random.default_rng(0).exponential(1 / rate, int(rate * seconds)))
        ms: list[float] = []

        def ask(start: int) -> None:
            with SearchClient(self.url, timeout_s=60) as client:
                for number, at in enumerate(due[start::SEARCHERS].tolist()):
                    time.sleep(max(0.0, at - time.monotonic()))
                    with suppress(ServerOverloadedError):
                        client.search(self.queries[(start + number * SEARCHERS) % len(self.queries)], k=K)
                        ms.append(1000 * (time.monotonic() - at))

        with ThreadPoolExecutor(SEARCHERS) as pool:
            list(pool.map(ask, range(SEARCHERS)))
        self.rejected += len(due) - len(ms)
        return ms


def written(load: Load, upserts: float, seconds: float) -> tuple[list[float], dict[str, int], int]:
    """Upsert and update in bulk, and one at a time; runs in a process of its own, as those who write do.

    Args:
        load: The server, and what is written.
        upserts: Titles a second.
        seconds: How long.

    Returns:
        Milliseconds of single upserts, how much was written, and the titles that were taken.
    """
    end, counts = time.monotonic() + seconds, {"upserts": 0, "updates": 0, "late": 0}
    single: list[float] = []

    def paced(period: float, write: Callable[[SearchClient], None]) -> None:
        at = time.monotonic()
        with SearchClient(load.url, write_key=load.key, timeout_s=60) as client:
            while at < end:
                time.sleep(max(0.0, at - time.monotonic()))
                counts["late"] += time.monotonic() > at + period
                write(client)
                at += period

    def bulk(client: SearchClient) -> None:
        load.upsert(client, OF_A_REQUEST)
        counts["upserts"] += OF_A_REQUEST

    def update(client: SearchClient) -> None:
        draw = np.random.default_rng(counts["updates"])
        chosen = draw.choice(len(load.ids), OF_A_REQUEST, replace=False).tolist()
        client.update([{"id": load.ids[row], "attributes": {"brand": f"b{counts['updates']}"}} for row in chosen])
        counts["updates"] += OF_A_REQUEST

    def one(client: SearchClient) -> None:
        started = time.perf_counter()
        client.upsert([{"id": "single", "title": f"{load.titles[len(single)]} alone {load.taken}"}])
        single.append(1000 * (time.perf_counter() - started))

    with ThreadPoolExecutor(3) as pool:
        writes = [
            pool.submit(paced, OF_A_REQUEST / upserts, bulk),
            pool.submit(paced, OF_A_REQUEST / UPDATES_A_SECOND, update),
            pool.submit(paced, 0.25, one),
        ]
        for write in writes:
            write.result()
    return single, counts, load.taken


def beside(generations: Path, queries: Path, titles: Path, rounds: int) -> dict[str, Any]:
    """Return what searches take alone and beside writes, in turns, and what single upserts take beside bulk."""
    generation = find_generation(generations)
    with (
        serve(generation, generations, options()) as server,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as writer,
    ):
        asked = [*dict.fromkeys(read_pairs(queries).queries)]
        catalogue = read_catalogue(titles)
        key = LiveFolder.of(generations).key()
        load = Load(server.urls.grpc, key, asked, list(catalogue.titles), list(catalogue.product_ids[:5000]))
        writer.submit(len, "").result()  # imports what it needs
        load.capacity(3.0)  # warms
        capacity, embedded = load.capacity(8.0), load.embedded(1000)
        rate, upserts = LOAD * capacity, embedded / 5
        alone: list[float] = []
        loaded: list[float] = []
        single: list[float] = []
        each = []
        for number in range(rounds):
            for writes in (False, True) if number % 2 else (True, False):
                if writes:
                    writing = writer.submit(written, load, upserts, PHASE_S)
                    ms = load.searched(rate, PHASE_S)
                    own, counts, load.taken = writing.result()
                    loaded, single = loaded + ms, single + own
                    each.append({"beside": figures(ms), **counts})
                else:
                    ms = load.searched(rate, PHASE_S)
                    alone += ms
                    each.append({"alone": figures(ms)})
                sys.stderr.write(f"{each[-1]}\n")
    return {
        "searches_per_s": capacity,
        "titles_per_s": embedded,
        "rate": rate,
        "upserts_per_s": upserts,
        "alone": figures(alone),
        "beside": figures(loaded),
        "p99_ratio": figures(loaded)["p99_ms"] / figures(alone)["p99_ms"],
        "rejected": load.rejected,
        "single_upsert": figures(single),
        "rounds": each,
    }


def figures(ms: list[float]) -> dict[str, float]:
    """Return median, p95 and p99 of milliseconds."""
    p50, p95, p99 = np.percentile(ms, (50, 95, 99)).tolist()
    return {"count": len(ms), "p50_ms": p50, "p95_ms": p95, "p99_ms": p99}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("churn", "beside", "fresh"))
    parser.add_argument("--vectors", type=Path, help="of churn")
    parser.add_argument("--rows", type=int, default=70_000, help="products of churn")
    parser.add_argument("--generations", type=Path, help="of beside and fresh; a server writes beside it")
    parser.add_argument("--queries", type=Path, help="of beside: pairs whose queries are asked")
    parser.add_argument("--titles", type=Path, help="of beside: the catalogue")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=31)
    chosen = parser.parse_args()
    if chosen.what == "churn" and chosen.vectors:
        vectors = np.load(chosen.vectors, mmap_mode="r")
        found = churn(np.asarray(vectors), chosen.rows, chosen.seed)
    elif chosen.what == "beside" and chosen.generations and chosen.queries and chosen.titles:
        found = beside(chosen.generations, chosen.queries, chosen.titles, chosen.rounds)
    elif chosen.what == "fresh" and chosen.generations:
        found = fresh(chosen.generations, chosen.trials)
    else:
        parser.error("churn needs --vectors; beside --generations, --queries, --titles; fresh --generations")
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
