"""How the index is searched, chosen by measuring it: how deep the graph is walked, and where the ways take over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from trident.index.exact_search import Neighbours, recall
from trident.index.index import Permitted, VectorIndex
from trident.index.ways import Cuts

DEPTHS = (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
BEYOND = 2  # depths measured after the one that is taken, for the plot
SHARES = (0.02, 0.05, 0.1, 0.2, 0.5)  # of the vectors, that filters leave
FILTERED_RECALL = 0.98  # of the graph under a filter
FILTERED_QUERIES = 48
TIMED_QUERIES = 16  # one after the other: together they would share what each reads of memory
EXACT_UP_TO = 50_000  # vectors, always: recall 1 is worth more than the time
WORTH = 2.0  # times the graph's time that comparing all may take: it misses nothing
NEVER = 1.01  # a share that no filter leaves
BESIDE_EXACT, BESIDE_EXACT_MS = 1.3, 0.3  # of exact search's time, and beyond it: what a walk may take at worst
WORDS = 3  # of a title, that make a query
MADE_QUERIES = 500


@dataclass(frozen=True, kw_only=True)
class Depth:
    """One depth of the graph's search."""

    ef: int
    recall: float  # recall@10 against comparing every vector, the lower one of all sets of queries
    ms: float  # a query, one thread


def made_queries(titles: Sequence[str], *, seed: int) -> list[str]:
    """Return texts like queries, three words in a row out of titles: a run's own may be few, or easy."""
    draw = np.random.default_rng(seed)
    texts = []
    for row in draw.permutation(len(titles))[:MADE_QUERIES].tolist():
        words = titles[row].split()
        start = int(draw.integers(0, max(1, len(words) - WORDS + 1)))
        texts.append(" ".join(words[start : start + WORDS]))
    return [text for text in dict.fromkeys(texts) if text]


def measure_depths(
    index: VectorIndex,
    sets: list[tuple[NDArray[np.float32], Neighbours]],
    k: int,
    *,
    target: float,
    efs: Sequence[int] = DEPTHS,
) -> list[Depth]:
    """Return what depths find, from the cheapest to some beyond the first that reaches the target.

    Args:
        index: With a graph.
        sets: Queries (Q, D), and what comparing every vector finds for them.
        k: Neighbours.
        target: Recall.
        efs: The depths, ascending.
    """
    depths: list[Depth] = []
    for ef in efs:
        started = time.process_time()  # what else the machine does is not the index's
        found = [recall(index.search(queries, k, ef=ef), exact) for queries, exact in sets if len(queries)]
        ms = 1000 * (time.process_time() - started) / sum(len(queries) for queries, _ in sets)
        depths.append(Depth(ef=ef, recall=min(found), ms=ms))
        if ef >= index.unique_count or sum(depth.recall >= target for depth in depths) > BEYOND:
            break
    return depths


def cheapest(depths: list[Depth], target: float) -> Depth | None:
    """Return the shallowest depth that reaches the target; None: no one does."""
    return next((depth for depth in depths if depth.recall >= target), None)


def measure_cuts(index: VectorIndex, queries: NDArray[np.float32], k: int) -> Cuts:
    """Return where the ways take over from each other on this machine; queries (Q, D) are real ones.

    Times are processor seconds of queries that come alone, as a lone client's do, with what is made of a filter's rows
    for each. Filters leave products at random, products that lie together, as those of a brand do, and products that
    lie away from the queries, where a walk gives up: of the graph, the worst of them counts.
    """
    queries, count = queries[:FILTERED_QUERIES], index.unique_count
    all_ms = _ms(lambda query: index.search_exactly(query, k), queries)
    graph_ms = _ms(lambda query: index.search(query, k, ef=index.ef), queries)
    most = int(2 ** np.floor(np.log2(max(WORTH * graph_ms / all_ms * count, 1))))  # coarse: nothing hangs on noise
    gathered, graph_from = 0.0, NEVER
    for share in SHARES:
        slower, worst = False, 1.0
        away = -queries.mean(axis=0, keepdims=True)
        for permitted in (_at_random(index, share), _together(index, share), _nearest(index, away, share)):
            search = partial(_filtered, index, k, permitted.rows)
            index.cuts = Cuts(exact_up_to=count, gathered_up_to=1.0)
            gathered_ms = _ms(search, queries)
            index.cuts = Cuts(exact_up_to=count, gathered_up_to=0.0)
            masked_ms, exact = _ms(search, queries), search(queries)
            index.cuts = Cuts(exact_up_to=0, gathered_up_to=gathered, graph_from=0.0)
            walked_ms = _ms(search, queries)
            worst = min(worst, recall(search(queries), exact))
            slower |= walked_ms > BESIDE_EXACT * min(gathered_ms, masked_ms) + BESIDE_EXACT_MS
            if gathered_ms < masked_ms:
                gathered = share
        if slower or worst < FILTERED_RECALL:
            graph_from = NEVER
        elif graph_from == NEVER:
            graph_from = share
    return Cuts(exact_up_to=max(EXACT_UP_TO, most), gathered_up_to=gathered, graph_from=graph_from)


def _filtered(index: VectorIndex, k: int, rows: NDArray[np.uint32], queries: NDArray[np.float32]) -> Neighbours:
    return index.search(queries, k, permitted=Permitted(rows))


def plot(depths: list[Depth], taken: Depth | None) -> str:
    """Return recall against queries a second as SVG."""
    width, height, margin = 640, 400, 60
    speeds = [1000 / depth.ms for depth in depths]
    low, high = min(depth.recall for depth in depths), 1.0
    x_low, x_high = np.log10(min(speeds)) - 0.05, np.log10(max(speeds)) + 0.05

    def place(depth: Depth) -> tuple[float, float]:
        x = margin + (np.log10(1000 / depth.ms) - x_low) / (x_high - x_low) * (width - 2 * margin)
        y = height - margin - (depth.recall - low) / max(high - low, 1e-9) * (height - 2 * margin)
        return round(float(x), 1), round(float(y), 1)

    places = [place(depth) for depth in depths]
    marks = [
        f'<circle cx="{x}" cy="{y}" r="{6 if depth is taken else 3}" fill="#1d4ed8"/>'
        f'<text x="{x + 8}" y="{y - 8}">ef {depth.ef}: {depth.recall:.4f}, {1000 / depth.ms:,.0f}/s</text>'
        for depth, (x, y) in zip(depths, places, strict=True)
    ]
    line = " ".join(f"{x},{y}" for x, y in places)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + 160}" height="{height}" font-family="sans-serif" '
        f'font-size="11"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{margin}" y="24" font-size="14">recall@10 against queries a second, one thread</text>'
        f'<polyline points="{line}" fill="none" stroke="#1d4ed8"/>{"".join(marks)}</svg>\n'
    )


def _ms(run: Callable[[NDArray[np.float32]], object], queries: NDArray[np.float32]) -> float:
    """Return the milliseconds of a query (1, D), the better of two times: the first one meets cold caches."""
    times = []
    for _ in range(2):
        started = time.process_time()
        for query in queries[:TIMED_QUERIES]:
            run(query[None])
        times.append(time.process_time() - started)
    return 1000 * min(times) / min(len(queries), TIMED_QUERIES)


def _at_random(index: VectorIndex, share: float) -> Permitted:
    draw = np.random.default_rng(0)
    size = max(1, int(share * index.count))
    return Permitted(np.sort(draw.choice(index.count, size, replace=False)).astype(np.uint32))


def _together(index: VectorIndex, share: float) -> Permitted:
    """Return the products nearest to one that is drawn."""
    return _nearest(index, index.vectors(np.random.default_rng(0).integers(0, index.count, 1)), share)


def _nearest(index: VectorIndex, direction: NDArray[np.float32], share: float) -> Permitted:
    """Return the products nearest to a direction (1, D), of any length."""
    middle = (direction / max(float(np.linalg.norm(direction)), 1e-9)).astype(np.float32)
    size = max(1, int(share * index.count))
    return Permitted(np.sort(index.search_exactly(middle, size).rows[0]).astype(np.uint32))
