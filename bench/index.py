"""The index beside hnswlib, faiss and usearch in one process: equal recall, with filters and without.

    pip install -r bench/index_requirements.txt
    python bench/index.py --vectors vectors.npy --queries queries.npy --rows 100000

``--vectors`` are unit rows (N, D) float32, ``--queries`` (Q, D). Each engine is built, and searched at rising ef until
its recall@10 reaches the target; then all are timed in turns, so that what else the machine does meets all of them.
Prints tables of queries a second, by the clock and by CPU time (a second of one thread); --out writes JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faiss
import hnswlib
import numpy as np
from graph_peers import K, Search, by_faiss, by_hnswlib
from numpy.typing import NDArray
from usearch.index import Index as USearch

from trident.commands.output import say
from trident.index.exact_search import exact_search
from trident.index.index import IndexConfig, Permitted, VectorIndex

EFS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
SHARES = (0.01, 0.1, 0.5)


@dataclass
class Engine:
    """One way to search, and what was measured of it."""

    name: str
    search: Search
    build_s: float = 0.0
    build_cpu_s: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)


def by_usearch(index: Any, step: float | None) -> Search:
    """Return a search of usearch's graph; with a step, queries are rounded to it in 8 bits."""

    def search(queries: NDArray[np.float32], ef: int, threads: int) -> NDArray[np.int64]:
        index.expansion_search = ef
        asked = queries if step is None else rounded(queries, step)
        return np.asarray(index.search(asked, K, threads=threads).keys, dtype=np.int64).reshape(len(queries), K)

    return search


def rounded(rows: NDArray[np.float32], step: float) -> NDArray[np.int8]:
    """Return rows in 8 bits: usearch's own rounding leaves most codes unused (findings/usearch-eight-bits.sh)."""
    return np.clip(np.round(rows / step), -127, 127).astype(np.int8)


def by_trident(index: VectorIndex, permitted: Permitted | None) -> Search:
    """Return a search of Trident's index: its graph, or under a filter the way that it takes."""

    def search(queries: NDArray[np.float32], ef: int, threads: int) -> NDArray[np.int64]:
        return index.search(queries, K, ef=ef, permitted=permitted, threads=threads).rows

    return search


def recall(found: NDArray[np.int64], wanted: NDArray[np.int64], vectors: NDArray[np.float32]) -> float:
    """Return the share of wanted rows that were found; rows with equal vectors are one."""
    share = []
    for ours, theirs in zip(found, wanted, strict=True):
        there = {vectors[row].tobytes() for row in ours if row >= 0}
        share.append(np.mean([vectors[row].tobytes() in there for row in theirs]))
    return float(np.mean(share))


def timed(engines: list[tuple[Engine, int]], queries: NDArray[np.float32], threads: int, rounds: int) -> None:
    """Time engines at their ef in turns, and note the medians."""
    times: dict[str, list[tuple[float, float]]] = {engine.name: [] for engine, _ in engines}
    for _ in range(rounds):
        for engine, ef in engines:
            wall, cpu = time.perf_counter(), time.process_time()
            engine.search(queries, ef, threads)
            times[engine.name].append((time.perf_counter() - wall, time.process_time() - cpu))
    for engine, _ in engines:
        for name, which in (("queries_s", 0), ("queries_cpu_s", 1)):
            engine.figures[f"{name}_{threads}"] = len(queries) / statistics.median(
                each[which] for each in times[engine.name]
            )


def at_recall(engine: Engine, truth: NDArray[np.int64], queries: NDArray[np.float32], data: Any, target: float) -> int:
    """Return the cheapest ef of a recall, or the largest there is."""
    for ef in EFS:
        found = recall(engine.search(queries, ef, 1), truth, data)
        engine.figures |= {"ef": ef, "recall": found}
        if found >= target:
            break
    return int(engine.figures["ef"])


def show(title: str, engines: list[Engine]) -> None:
    """Print a table."""
    say(f"\n{title}\n")
    say("| engine | ef | recall | queries/s, 1 thread | 2 threads | a CPU second |")
    say("| --- | ---: | ---: | ---: | ---: | ---: |")
    for engine in engines:
        figures = engine.figures
        two = figures.get("queries_s_2")
        say(
            f"| {engine.name} | {figures['ef']} | {figures['recall']:.4f} | {figures['queries_s_1']:,.0f} | "
            f"{'-' if two is None else format(two, ',.0f')} | {figures['queries_cpu_s_1']:,.0f} |"
        )


def main() -> None:
    """Build, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=Path, required=True)
    parser.add_argument("--queries", type=Path, required=True)
    parser.add_argument("--rows", type=int, help="of the vectors, drawn; all by default")
    parser.add_argument("--asked", type=int, default=400, help="queries")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of building")
    parser.add_argument("--engines", default="trident,hnswlib,faiss,faiss8,usearch,usearch8")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    data = np.load(arguments.vectors, mmap_mode="r")
    if arguments.rows is not None and arguments.rows < len(data):
        data = data[np.sort(np.random.default_rng(1).permutation(len(data))[: arguments.rows])]
    data = np.unique(np.ascontiguousarray(data), axis=0)  # hnswlib loses recall among equal vectors
    queries = np.load(arguments.queries)[: arguments.asked]
    truth = exact_search(data, queries, K).rows
    names, dimension = arguments.engines.split(","), data.shape[1]
    filters = _filters(data)
    made: dict[str, Callable[[Any], Search]] = {}  # a filter -> a search
    engines: list[Engine] = []
    kept: list[Any] = []

    def add(name: str, make: Callable[[], Any], wrap: Callable[[Any, Any], Search]) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        index = make()
        engine = Engine(name, wrap(index, None), time.perf_counter() - wall, time.process_time() - cpu)
        say(f"{name}: built in {engine.build_s:.0f} s, {engine.build_cpu_s:.0f} s of CPU")
        engines.append(engine)
        made[name] = lambda which: wrap(index, which)

    def hnsw() -> Any:
        graph = hnswlib.Index(space="ip", dim=dimension)
        graph.init_index(len(data), M=32, ef_construction=500, random_seed=42)
        order = np.random.default_rng(42).permutation(len(data))
        graph.add_items(data[order], order, num_threads=arguments.threads)
        return graph

    def graph_of_faiss(index: Any) -> Any:
        faiss.omp_set_num_threads(arguments.threads)
        index.hnsw.efConstruction = 300
        index.train(data)
        index.add(data)
        return index

    def eight_bits() -> Any:
        kind = faiss.ScalarQuantizer.QT_8bit
        base = graph_of_faiss(faiss.IndexHNSWSQ(dimension, kind, 32, faiss.METRIC_INNER_PRODUCT))
        flat = faiss.IndexFlatIP(dimension)
        flat.add(data)
        kept.extend((base, flat))  # faiss does not hold them
        return faiss.IndexRefine(base, flat)

    def of_usearch(dtype: str, step: float | None) -> Any:
        index = USearch(ndim=dimension, metric="ip", dtype=dtype, connectivity=32, expansion_add=300)
        index.add(np.arange(len(data)), data if step is None else rounded(data, step), threads=arguments.threads)
        return index

    if "trident" in names:
        config = IndexConfig()
        add(
            "trident",
            lambda: VectorIndex.build(data, config=config, encoder_fingerprint="bench", threads=arguments.threads),
            by_trident,
        )
    if "hnswlib" in names:
        add("hnswlib", hnsw, lambda graph, which: by_hnswlib(graph, _mask(which, len(data))))
    if "faiss" in names:
        make = lambda: graph_of_faiss(faiss.IndexHNSWFlat(dimension, 32, faiss.METRIC_INNER_PRODUCT))  # noqa: E731
        add("faiss", make, lambda index, which: by_faiss(index, _mask(which, len(data))))
    if "faiss8" in names:
        add("faiss8", eight_bits, lambda index, which: by_faiss(index, _mask(which, len(data))))
    if "usearch" in names:
        add("usearch", lambda: of_usearch("f32", None), lambda index, _: by_usearch(index, None))
    if "usearch8" in names:
        step = float(np.abs(data).max()) / 127
        add("usearch8", lambda: of_usearch("i8", step), lambda index, _: by_usearch(index, step))

    places = [(engine, at_recall(engine, truth, queries, data, 0.99)) for engine in engines]
    for threads in (1, 2):
        timed(places, queries, threads, arguments.rounds)
    show(f"{len(data):,} vectors of {dimension}, {len(queries)} queries, recall@{K} >= 0.99", engines)
    report = {"all": {engine.name: {**engine.figures, "build_cpu_s": engine.build_cpu_s} for engine in engines}}
    for title, permitted in filters.items():
        exact = exact_search(np.ascontiguousarray(data[permitted.rows]), queries, K).rows
        wanted = permitted.rows[exact].astype(np.int64)
        filtered = [Engine(name, made[name](permitted)) for name in made if not name.startswith("usearch")]
        places = [(engine, at_recall(engine, wanted, queries, data, 0.98)) for engine in filtered]
        timed(places, queries, 1, arguments.rounds)
        show(f"filter: {title}, recall@{K} >= 0.98", filtered)
        report[title] = {engine.name: engine.figures for engine in filtered}
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def _filters(data: NDArray[np.float32]) -> dict[str, Permitted]:
    draw = np.random.default_rng(0)
    filters = {}
    for share in SHARES:
        size = int(share * len(data))
        random = np.sort(draw.choice(len(data), size, replace=False))
        near = np.sort(np.argsort(-(data @ data[int(draw.integers(len(data)))]))[:size])
        filters[f"{share:.0%} at random"] = Permitted(random.astype(np.uint32))
        filters[f"{share:.0%} that lie together"] = Permitted(near.astype(np.uint32))
    return filters


def _mask(permitted: Permitted | None, count: int) -> NDArray[np.bool_] | None:
    if permitted is None:
        return None
    mask = np.zeros(count, dtype=np.bool_)
    mask[permitted.rows] = True
    return mask


if __name__ == "__main__":
    main()
