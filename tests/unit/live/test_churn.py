"""Recall does not fade while products are replaced: it is that of an index which is built anew.

Over real titles: ``bench/live.py churn``.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from trident.attributes.attributes import Attributes
from trident.data.catalogue import Catalogue
from trident.index.exact_search import Neighbours, exact_search, recall
from trident.index.growing import GrowingVectors
from trident.index.index import IndexConfig, VectorIndex
from trident.index.kernels import kernels
from trident.index.ways import Cuts
from trident.live.base import CatalogueBase
from trident.live.known import Knowledge
from trident.live.merging import Searched, nearest
from trident.live.operations import Product
from trident.live.snapshot import Change, Growth

DIMENSION, K, QUERIES = 64, 10, 1000
EF = 96
GRAPH = Cuts(exact_up_to=0, graph_from=0.1)  # the graph is walked: what compares everything misses nothing
WITHIN = 0.002


def build(vectors):
    index = VectorIndex.build(vectors, config=IndexConfig(ef=EF), encoder_fingerprint="f", threads=2)
    index.cuts = GRAPH
    return index


def in_bunches(draw, count):
    """Return unit vectors that lie in bunches, as products do."""
    centres = draw.normal(size=(200, DIMENSION))
    vectors = centres[draw.integers(0, len(centres), count)] + 0.6 * draw.normal(size=(count, DIMENSION))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def live_recall(index, now, tail, queries):
    """Return the recall of a catalogue whose products of ``tail`` have other vectors than in the index."""
    new = Product(title="another", attributes={})
    ids = [str(row) for row in range(len(now))]
    growth = Growth(CatalogueBase(Catalogue(ids, ids, pa.table({})), Attributes.none(len(now)), Knowledge()), 0)
    snapshot = growth.advance([Change(str(row), new, place) for place, row in enumerate(tail.tolist())], 1)
    vectors = GrowingVectors(np.ascontiguousarray(now[tail]))
    vectors.prepare(len(tail))
    found = nearest(Searched(snapshot, index, vectors), queries, [K] * len(queries), [None] * len(queries))
    in_tail = found.rows >= len(now)
    rows = found.rows.copy()
    rows[in_tail] = tail[rows[in_tail] - len(now)]
    if len(tail) < len(now):
        assert index.way(None, snapshot.kept) == "graph"
    return recall(Neighbours(rows, found.scores, found.count), exact_search(now, queries, K))


def churned(count, limit, seed):
    """Yield share, recall and that of an index built anew, while all of so many products are replaced.

    Args:
        count: Products.
        limit: Of the tail; it is compacted where it is full.
        seed: Of what is drawn.
    """
    draw = np.random.default_rng(seed)
    vectors = in_bunches(draw, 2 * count + QUERIES)
    now, others, queries = vectors[:count].copy(), vectors[count : 2 * count], vectors[2 * count :]
    index, tail, order = build(now), np.array([], dtype=np.int64), draw.permutation(count)
    for start in range(0, count, limit // 2):
        more = order[start : start + limit // 2]
        if len(tail) + len(more) > limit:
            index, tail = build(now), np.array([], dtype=np.int64)
        now[more] = others[more]
        tail = np.concatenate([tail, more])
        share = (start + len(more)) / count
        anew = build(now).search(queries, K)
        yield share, live_recall(index, now, tail, queries), recall(anew, exact_search(now, queries, K))


@pytest.mark.skipif(kernels() is None, reason="the kernels, which walk the graph, are not installed")
@pytest.mark.parametrize(
    ("count", "limit"),
    [(1_500, 600), pytest.param(60_000, 24_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
)
def test_recall_after_products_were_replaced_is_that_of_a_fresh_build(count, limit, slow_seed):
    shares = []
    for share, live, fresh in churned(count, limit, slow_seed):
        shares.append(share)
        assert live >= fresh - WITHIN, (slow_seed, share, live, fresh)
        assert fresh < 1 or count < 10_000  # else nothing was walked
    assert shares[0] == pytest.approx(0.2)
    assert shares[-1] == pytest.approx(1.0)
