"""The last stage's trees: what their probabilities are fitted on, and held-out queries that find nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from trident.data.catalogue import Catalogue
from trident.data.pairs import Pairs
from trident.quality.reliability import Candidates
from trident.ranking.reranking import reranked_order
from trident.ranking.trees import TREES_FILE, Trees
from trident_export.config import ExportConfig
from trident_export.job import ExportJob, ExportOrder
from trident_export.judge.rerank_quality import FoundProducts
from trident_export.progress_rows import Stages
from trident_export.stages import trees
from trident_export.stages.candidates import FoundBoth
from trident_export.stages.reranker import ExportedReranker

PRODUCTS = 20  # of a query
NOTHING = Candidates(np.empty(0, np.float32), np.empty(0, np.int8), np.empty(0, np.int64), ())


def found(prefix: str, queries: int, *, without: int, seed: int) -> FoundProducts:
    """Return judged candidates, of which those are relevant whose titles have the query's word.

    Of the last ``without`` queries none is; a product that is not found is relevant to each of those.
    """
    generator = np.random.default_rng(seed)
    rows: list[tuple[str, str, str, int]] = []
    cosines = {}
    for number in range(queries):
        query = f"{prefix}{number} lamp"
        cosines[query] = np.sort(generator.random(PRODUCTS))[::-1].tolist()
        for place in range(PRODUCTS):
            relevant = int(number < queries - without and generator.random() < 0.3)
            title = f"{'lamp' if relevant else 'shade'} of kind {place}"
            rows.append((query, f"{number}-{place}", title, relevant))
    ids, titles = ({query: [row[at] for row in rows if row[0] == query] for query in cosines} for at in (1, 2))
    rows += [(query, "nowhere", "a lamp", 1) for query in list(cosines)[queries - without :]]
    labels = np.array([row[3] for row in rows], dtype=np.int8)
    columns = [[row[at] for row in rows] for at in range(3)]
    pairs = Pairs(columns[0], columns[2], labels, labels.astype(np.float32), columns[1])
    return FoundProducts(pairs, ids, titles, cosines, every_positive_known=False)


def exported(tmp_path: Path, both: FoundBoth) -> trees.ExportedTrees | None:
    generator = np.random.default_rng(5)
    logits = tuple({query: 30 + generator.random(PRODUCTS, np.float32) for query in side.cosines} for side in both)
    second = ExportedReranker(
        *("f" * 64, {}, 20, 1.0, "fp32", NOTHING, NOTHING, {}),
        scorer=None,  # nothing is scored again
        tokenizer=None,
        logits=logits,
    )
    config = ExportConfig(threads=1, trees=True)
    order = ExportOrder(tmp_path, tmp_path, tmp_path, config)
    catalogue = Catalogue(["1"], ["a lamp"], pa.table({}))
    job = ExportJob(order, catalogue, both.held_out.pairs, [], tmp_path, tmp_path, Stages(lambda _: None))
    return trees.export_trees(job, both, second)


def test_probabilities_are_fitted_on_scores_of_trees_alone(tmp_path: Path) -> None:
    """Queries that find nothing relevant are none that trees learn from, and are served by them all the same."""
    both = FoundBoth(found("v", 40, without=10, seed=1), found("t", 20, without=5, seed=2))
    made = exported(tmp_path, both)
    assert made is not None
    booster = Trees.load(tmp_path, sha256=made.parts["trees"])
    for judged, side, last in (
        (made.validation, both.validation, "v39 lamp"),
        (made.held_out, both.held_out, "t19 lamp"),
    ):
        number = judged.names.index(last)
        own = judged.scores[judged.queries == number]
        logits = judged_logits(both, last)
        order = reranked_order(logits, PRODUCTS)
        scores = booster.score(trees.Stages(side, {last: logits}, {last: logits}).features(last, order))
        assert own[order].tolist() == pytest.approx(scores.tolist())
        assert np.abs(judged.scores).max() < 20  # logits are 30 and more


def judged_logits(both: FoundBoth, wanted: str) -> np.ndarray:
    generator = np.random.default_rng(5)
    return {query: 30 + generator.random(PRODUCTS, np.float32) for side in both for query in side.cosines}[wanted]


def test_held_out_queries_may_find_nothing_relevant(tmp_path: Path) -> None:
    both = FoundBoth(found("v", 40, without=0, seed=1), found("t", 4, without=4, seed=2))
    made = exported(tmp_path, both)
    assert made is not None
    assert (tmp_path / TREES_FILE).is_file()
    assert made.quality["trees"]["change"]["value"] == 0
