"""Measures filtered search: recall@10 and time against exact search over what passes, for the whole grid of filters.

    trident export runs/icecat --catalogue ../shared/data/icecat/products.csv.gz --out generations/
    python bench/filters.py --generation generations/ID --queries ../shared/data/icecat/pairs.csv
    python bench/filters.py --vectors vectors.npy --rows 100000
    python bench/filters.py --evaluate 530865

The generation's own keywords are taken, and made fields beside them: ``made`` and ``other``, numbers that lie anywhere,
``department``, products that lie together, and for each the others by their distance. From 0.1 to 100% pass ranges of
one made field, of two, of those nearest to a department, and of those nearest to the department that is farthest from
the query. With ``--peers`` hnswlib's Python filter and faiss' selector are asked in the same run. With ``--evaluate``
nothing is searched: filters over so many made products are read and evaluated. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from filter_peers import PEER_QUERIES, K, Peer, as_neighbours, peers_of
from filter_report import save_plot, table
from numpy.typing import NDArray

from trident.attributes.attributes import Attributes
from trident.attributes.building import write_attributes
from trident.attributes.evaluation import passing_rows
from trident.attributes.filters import parse_filter
from trident.attributes.inference import infer
from trident.data.pairs import read_pairs
from trident.data.texts import Texts
from trident.generation.generation import Generation
from trident.index.exact_search import Neighbours, exact_search, recall
from trident.index.index import IndexConfig, VectorIndex
from trident.retrieval.products import GenerationProducts
from trident.search.searcher import Searcher
from trident_export.judge.index_settings import EXACT_UP_TO, cheapest, made_queries, measure_cuts, measure_depths

SHARES = (0.001, 0.01, 0.05, 0.10, 0.25, 0.50, 1.0)
DEPARTMENTS = 20
QUERIES = 50
REPEATS = 5


def milliseconds(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Return the median time of some work."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))


def made_attributes(folder: Path, columns: dict[str, pa.Array]) -> Attributes:
    """Return made columns as an export keeps them."""
    table = pa.table(columns)
    asked = dict.fromkeys((name for name, column in columns.items() if pa.types.is_string(column.type)), "keyword")
    write_attributes(folder, infer(table, asked, "made"), table.num_rows)
    return Attributes.load(folder)


def departments(vectors: NDArray[np.float32], draw: np.random.Generator) -> NDArray[np.intp]:
    """Return which of some drawn products each vector is nearest to."""
    centres = vectors[draw.choice(len(vectors), min(DEPARTMENTS, len(vectors)), replace=False)]
    found: NDArray[np.intp] = np.concatenate(
        [(vectors[start : start + 8192] @ centres.T).argmax(axis=1) for start in range(0, len(vectors), 8192)]
    )
    return found


def ranks(vectors: NDArray[np.float32], centre: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return which share of all vectors is nearer to a centre than each: those below S lie together."""
    order = np.argsort(-(vectors @ centre), kind="stable")
    found = np.empty(len(vectors))
    found[order] = np.arange(len(vectors)) / len(vectors)
    return found


def grid(brands: list[str], sizes: dict[str, float]) -> dict[str, list[dict[str, Any]]]:
    """Return filters by what they are; ``sizes`` are the shares of the departments."""
    wide = sorted(sizes, key=lambda name: -sizes[name])
    return {
        **{f"range {share:.1%}": [{"made": {"lt": share}}] for share in SHARES},
        **{f"two ranges {share:.1%}": [{"made": {"lt": share**0.5}, "other": {"lt": share**0.5}}] for share in SHARES},
        **{f"together {share:.1%}": [{f"from_{each}": {"lt": share}} for each in wide[:3]] for share in SHARES},
        "brand": [{"brand": brand} for brand in brands],
        "departments, half": [{"department": wide[: len(wide) // 2]}],
        "department": [{"department": name} for name in wide[:3]],
        "department and range 25%": [{"department": wide[0], "made": {"lt": 0.25}}],
        "brand and range 50%": [{"brand": brand, "made": {"lt": 0.5}} for brand in brands[:3]],
    }


def measure(
    products: GenerationProducts,
    wanted: dict[str, Any],
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    peers: dict[str, Peer],
) -> Any:
    """Return share, recall and times of one filter over some queries, and those of others."""
    node = parse_filter(wanted, products.attributes.schema)
    rows = products.passing(node)
    recalls, found_ms, exact_ms, whole_ms, ways = [], [], [], [], set()
    mask = np.zeros(products.attributes.count, dtype=np.bool_)
    mask[rows] = True
    theirs: dict[str, list[tuple[float, float]]] = {name: [] for name in peers}
    for number, query in enumerate(queries):
        asked = query[None]
        exact = products.nearest_exactly(asked, K, rows)
        found = products.nearest(asked, K, None, rows)
        ways.add(found.way)
        count = np.array([len(found.rows)], dtype=np.int32)
        recalls.append(recall(Neighbours(found.rows[None], found.scores[None], count), exact))
        exactly = partial(products.nearest_exactly, asked, K, rows)
        exact_ms.append(milliseconds(exactly, 1))
        found_ms.append(milliseconds(partial(products.nearest, asked, K, None, rows), 1))
        exactly()  # so that caches hold the same before both
        whole_ms.append(milliseconds(partial(products.nearest, asked, K, None, None), 1))
        for name, peer in peers.items() if number < PEER_QUERIES else ():
            search = peer.wrap(mask)
            with suppress(RuntimeError):  # as ours, it was asked once before it is timed
                search(asked, peer.ef, 1)
            started = time.perf_counter()
            try:
                taken = search(asked, peer.ef, 1)
            except RuntimeError:  # hnswlib's, where it finds fewer than K
                taken = np.full((1, K), -1, dtype=np.int64)
            ms = 1000 * (time.perf_counter() - started)
            own = as_neighbours(taken, asked, vectors)
            theirs[name].append((recall(own, exact), ms))
    return {
        "share": len(rows) / products.attributes.count,
        "recall_at_10": float(np.mean(recalls)),
        "evaluate_ms": milliseconds(lambda: products.passing(parse_filter(wanted, products.attributes.schema))),
        "found_ms": float(np.median(found_ms)),
        "exact_ms": float(np.median(exact_ms)),
        "unfiltered_ms": float(np.median(whole_ms)),
        "ways": sorted(ways),
        "peers": {
            name: {"recall_at_10": float(np.mean(each, axis=0)[0]), "ms": float(np.median(each, axis=0)[1])}
            for name, each in theirs.items()
        },
    }


def searched(generation: Path, queries_path: Path | None, seed: int, *, with_peers: bool) -> dict[str, Any]:
    """Return the grid over a generation, asked by the queries of pairs, or by words in a row of its titles."""
    searcher = Searcher.load(Generation.load(generation))
    if queries_path is None:
        draw, titles = np.random.default_rng(seed), searcher.retriever.titles
        some = [titles[row] for row in draw.choice(len(titles), 10 * QUERIES, replace=False).tolist()]
        texts = made_queries(some, seed=seed)[:QUERIES]
    else:
        texts = [*dict.fromkeys(read_pairs(queries_path).queries)][:QUERIES]
    own = searcher.retriever.attributes
    brands: list[str | None] = []
    if "brand" in own.schema.by_name:
        column = own.values_of("brand")
        brands = [column.value(row) for row in range(own.count)]
    return measured(searcher.retriever.index, searcher.embed(texts), brands, seed, with_peers=with_peers)


def built(vectors_path: Path, rows: int, seed: int, *, with_peers: bool) -> dict[str, Any]:
    """Return the grid over an index of some unit vectors of a file, asked by others; depth and cuts are measured."""
    drawn = np.random.default_rng(seed)
    every = np.load(vectors_path, mmap_mode="r")
    there = np.flatnonzero(np.abs(np.einsum("nd,nd->n", every, every) - 1) < 1e-3)  # what is embedded already
    order = drawn.permutation(there)
    vectors, others = np.asarray(every[np.sort(order[:rows])]), np.asarray(every[order[rows:][: 10 * QUERIES]])
    index = VectorIndex.build(vectors, config=IndexConfig(), encoder_fingerprint="bench", threads=2)
    exact = exact_search(vectors, others, K)
    taken = cheapest(measure_depths(index, [(others, exact)], K, target=0.99), 0.99)
    index.config = replace(index.config, ef=None if taken is None else taken.ef)
    if index.unique_count > EXACT_UP_TO:
        index.cuts = measure_cuts(index, others, K)
    brands: list[str | None] = [f"b{number}" for number in (drawn.pareto(1.0, rows) * 20).astype(int) % 5000]
    found = measured(index, others[:QUERIES], brands, seed, with_peers=with_peers)
    return found | {"ef": index.ef, "cuts": vars(index.cuts)}


def measured(
    index: VectorIndex, queries: NDArray[np.float32], brands: list[str | None], seed: int, *, with_peers: bool
) -> dict[str, Any]:
    """Return the grid over an index, whose products have brands or, where the list is empty, none."""
    draw = np.random.default_rng(seed)
    vectors = index.vectors(np.arange(index.count))
    department = departments(vectors, draw)
    names = [f"d{number}" for number in np.unique(department)]
    centres = {name: vectors[department == int(name[1:])].mean(axis=0) for name in names}
    columns = {
        "made": pa.array(draw.random(len(vectors))),
        "other": pa.array(draw.random(len(vectors))),
        "department": pa.array([f"d{number}" for number in department]),
        **{f"from_{name}": pa.array(ranks(vectors, centre)) for name, centre in centres.items()},
    }
    largest: list[str] = []
    if brands:
        columns["brand"] = pa.array(brands, pa.string())
        largest = [brand for brand, _ in Counter(brand for brand in brands if brand).most_common(5)]
    sizes = {name: float((department == int(name[1:])).mean()) for name in names}
    peers = peers_of(vectors, queries) if with_peers else {}
    found: dict[str, Any] = {"products": len(vectors), "queries": len(queries), "filters": {}}
    found["peers"] = {name: peer.ef for name, peer in peers.items()}
    texts = Texts.of(str(row) for row in range(index.count))
    with tempfile.TemporaryDirectory() as folder:
        products = GenerationProducts(index, made_attributes(Path(folder), columns), texts, texts)
        for name, filters in grid(largest, sizes).items():
            found["filters"][name] = [measure(products, each, vectors, queries, peers) for each in filters]
        farthest = [min(centres, key=lambda name: query @ centres[name]) for query in queries]
        for share in SHARES:
            found["filters"][f"against the query {share:.1%}"] = [
                measure(
                    products,
                    {f"from_{name}": {"lt": share}},
                    vectors,
                    queries[number : number + 1],
                    peers if number < PEER_QUERIES else {},
                )
                for number, name in enumerate(farthest)
            ]
        whole = [milliseconds(partial(products.nearest, query[None], K, None, None), 1) for query in queries]
        found["unfiltered_ms"] = float(np.median(whole))
        found["unfiltered_peers_ms"] = {
            name: float(
                np.median([milliseconds(partial(peer.wrap(None), query[None], peer.ef, 1), 1) for query in queries])
            )
            for name, peer in peers.items()
        }
    return found


def evaluated(count: int, seed: int) -> dict[str, Any]:
    """Return milliseconds to read and evaluate filters over made products."""
    draw = np.random.default_rng(seed)
    columns = {
        "made": pa.array(draw.random(count)),
        "brand": pa.array([f"b{number}" for number in (draw.pareto(1.0, count) * 20).astype(int) % 5000]),
        "in_stock": pa.array(draw.random(count) < 0.9),
        "half": pa.array(draw.random(count) < 0.5),
    }
    filters: dict[str, dict[str, Any]] = {
        "brand": {"brand": "b0"},
        "three brands": {"brand": ["b0", "b7", "b900"]},
        "in stock (90%)": {"in_stock": True},
        **{f"range {share:.1%}": {"made": {"lt": share}} for share in SHARES},
        "brand and range": {"brand": "b3", "made": {"lt": 0.5}},
        "in stock and range 50%": {"in_stock": True, "made": {"lt": 0.5}},
        "half and in stock": {"half": True, "in_stock": True},
        "not brand": {"not": {"brand": "b0"}},
        "any of two": {"any": [{"brand": "b0"}, {"made": {"lt": 0.01}}]},
    }
    with tempfile.TemporaryDirectory() as folder:
        attributes = made_attributes(Path(folder), columns)
        times = {}
        for name, wanted in filters.items():
            text = json.dumps(wanted)

            def work(text: str = text) -> NDArray[np.uint32]:
                return passing_rows(parse_filter(json.loads(text), attributes.schema), attributes)

            share = len(work()) / count
            times[name] = {"share": round(share, 4), "ms": round(milliseconds(work, 30), 3)}
    return {"products": count, "evaluate": times}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generation", type=Path, help="of a catalogue with brands")
    parser.add_argument("--queries", type=Path, help="pairs whose queries are asked; without it words of the titles")
    parser.add_argument("--vectors", type=Path, help="unit vectors (N, D) instead of a generation")
    parser.add_argument("--rows", type=int, default=100_000, help="of them that are searched")
    parser.add_argument("--peers", action="store_true", help="hnswlib and faiss too: bench/index_requirements.txt")
    parser.add_argument("--read", type=Path, help="a document that was printed before, instead of measuring")
    parser.add_argument("--table", action="store_true", help="print a table in Markdown instead")
    parser.add_argument("--plot", type=Path, help="a picture of the grid, .svg")
    parser.add_argument("--evaluate", type=int, metavar="PRODUCTS", help="only evaluate filters over made products")
    parser.add_argument("--seed", type=int, default=31)
    options = parser.parse_args()
    if options.read:
        found = json.loads(options.read.read_text(encoding="utf-8"))
    elif options.evaluate:
        found = evaluated(options.evaluate, options.seed)
    elif options.generation:
        found = searched(options.generation, options.queries, options.seed, with_peers=options.peers)
    elif options.vectors:
        found = built(options.vectors, options.rows, options.seed, with_peers=options.peers)
    else:
        parser.error("--generation, --vectors or --evaluate is needed")
    if options.plot:
        save_plot(found, options.plot)
    sys.stdout.write(table(found) if options.table else json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
