"""The stage that fits trees over what the stages before say, on validation queries, and keeps them where they gain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trident.config import to_table
from trident.encoder.base_model import file_sha256
from trident.errors import DataError
from trident.quality.reliability import Candidates
from trident.ranking.reranking import reranked_order
from trident.ranking.trees import TREES_FILE, Signals, Trees, feature_names, load_lightgbm, tree_features
from trident_export.job import ExportJob
from trident_export.judge.rerank_quality import FoundProducts, change_of
from trident_export.stages.candidates import FoundBoth
from trident_export.stages.reranker import ExportedReranker

FOLDS = 5  # of validation queries: none is judged by trees that were fitted on it
ROUNDS = 150
MISSING = 0.05  # share of values that training lacks, so that a missing one is no number of its own
SETTINGS = {
    "objective": "lambdarank",
    "num_leaves": 15,
    "min_data_in_leaf": 20,
    "learning_rate": 0.05,
    "feature_fraction": 0.8,
    "lambda_l2": 1.0,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "seed": 0,
    "verbosity": -1,
}

Logits = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class ExportedTrees:
    """The last stage: its part, judged candidates with the scores of trees, and what was measured."""

    parts: dict[str, str]
    validation: Candidates
    held_out: Candidates
    quality: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Table:
    """Candidates as rows: ``features`` (R, F), ``labels`` (R,), -1 of unjudged ones, ``sizes`` of the groups."""

    features: NDArray[np.float64]
    labels: NDArray[np.int8]
    sizes: list[int]
    queries: list[str]
    names: list[str]  # (F)

    def of(self, chosen: NDArray[np.bool_]) -> _Table:
        """Return some of the queries."""
        rows = np.repeat(chosen, self.sizes)
        kept = np.flatnonzero(chosen).tolist()
        return _Table(
            self.features[rows],
            self.labels[rows],
            [self.sizes[place] for place in kept],
            [self.queries[place] for place in kept],
            self.names,
        )


def export_trees(job: ExportJob, found: FoundBoth, second: ExportedReranker | None) -> ExportedTrees | None:
    """Return the trees that are served; None where none are asked for, or they do not gain on validation queries.

    Raises:
        DataError: If trees are asked for without a second stage.
        MissingExtraError: If LightGBM is not installed.
    """
    if not job.config.trees:
        return None
    if second is None:
        raise DataError("trees order what a second stage scored: export with --reranker too, or leave trees out")
    with job.stages.stage("trees") as notes:
        stages = [
            Stages(side, logits, side.mixed(logits, second.weight), job.config.tree_attributes)
            for side, logits in zip(found, second.logits, strict=True)
        ]
        tables = [_table(each) for each in stages]
        try:
            crossed = _crossed(tables[0])
        except DataError as error:
            notes.proof = f"none: {error}"
            return None
        booster = _fit(tables[0])
        path = job.parts / TREES_FILE
        path.write_text(booster.model_to_string(), encoding="utf-8")
        trees = Trees.load(job.parts, sha256=file_sha256(path))
        scored = _split(trees.score(tables[1].features), tables[1].sizes)
        of_held_out = dict(zip(tables[1].queries, scored, strict=True))
        both = [_of_all(trees, each, scores) for each, scores in zip(stages, (crossed, of_held_out), strict=True)]
        changes = []
        for each, scores in zip(stages, both, strict=True):
            orders = {query: _in_first_order(own, _ranks(scores[query])) for query, own in each.mixed.items()}
            changes.append(change_of(each.found.ndcg(orders), each.found.ndcg(each.mixed)))
        (chosen, held_out), kept = changes, changes[0].low > 0
        gains = dict(zip(tables[0].names, booster.feature_importance("gain").tolist(), strict=True))
        total = sum(gains.values()) or 1.0
        shares = {name: gain / total for name, gain in sorted(gains.items(), key=lambda item: -item[1])}
        notes.proof = (
            f"{'' if kept else 'not kept: '}NDCG@10 over the reranker, validation queries {chosen.value:+.4f} "
            f"[{chosen.low:+.4f}, {chosen.high:+.4f}], held-out ones {held_out.value:+.4f} [{held_out.low:+.4f}, "
            f"{held_out.high:+.4f}]; gain by {', '.join(f'{name} {share:.0%}' for name, share in shares.items())}"
        )
        if not kept:
            path.unlink()
            return None
        notes.path = path
    quality = {"change": to_table(held_out), "validation_change": to_table(chosen), "importances": shares}
    judged = [
        each.found.judged_logits({query: _in_first_order(own, scores[query]) for query, own in each.mixed.items()})
        for each, scores in zip(stages, both, strict=True)
    ]
    return ExportedTrees({"trees": file_sha256(path)}, judged[0], judged[1], {"trees": quality})


@dataclass(frozen=True, eq=False)
class Stages:
    """What the stages before say of the candidates of queries: logits, and both stages' scores together."""

    found: FoundProducts
    logits: Logits
    mixed: Logits
    attributes: tuple[str, ...] = ()

    def features(self, query: str, order: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the features (N, F) of a query's candidates in an order."""
        parts = self.found.parts.get(query)
        signals = Signals(
            np.array(self.found.cosines[query], dtype=np.float32)[order],
            self.logits[query][order],
            self.found.first(query)[order],
            [parts[place]["bm25"] if parts else None for place in order.tolist()],
            [self.found.attributes[query][place] for place in order.tolist()] if self.attributes else [],
        )
        return tree_features(query, [self.found.titles[query][place] for place in order], signals, self.attributes)


def _table(stages: Stages) -> _Table:
    """Return the judged candidates of queries with a relevant one among them, in the order of the stages before."""
    features, labels, sizes, queries = [], [], [], []
    side = stages.found
    for query, known in side.labels().items():
        own = stages.mixed[query]
        order = reranked_order(own, len(own))
        features.append(stages.features(query, order))
        labels.append(np.array([known.get(side.product_ids[query][place], -1) for place in order], dtype=np.int8))
        sizes.append(len(order))
        queries.append(query)
    if not queries:
        names = feature_names(stages.attributes)
        return _Table(np.empty((0, len(names))), np.empty(0, dtype=np.int8), [], [], names)
    return _Table(np.concatenate(features), np.concatenate(labels), sizes, queries, feature_names(stages.attributes))


def _fit(table: _Table) -> Any:
    """Return the booster fitted on the judged rows of a table.

    The others are left out: with a weight of 0 they would stay opponents (findings/lightgbm-weight-zero.sh).
    """
    lightgbm = load_lightgbm()
    generator = np.random.default_rng(0)
    judged = table.labels >= 0
    features = table.features[judged]
    features = np.where(generator.random(features.shape) < MISSING, np.nan, features)
    sizes = [int(each.sum()) for each in np.split(judged, np.cumsum(table.sizes)[:-1])]
    data = lightgbm.Dataset(
        features,
        label=table.labels[judged],
        group=[size for size in sizes if size],
        feature_name=table.names,
    )
    return lightgbm.train(SETTINGS, data, num_boost_round=ROUNDS)


def _crossed(table: _Table) -> dict[str, NDArray[np.float32]]:
    """Return the scores of each query's candidates by trees that were fitted without it.

    Raises:
        DataError: If there are too few queries.
    """
    if len(table.queries) < FOLDS * 3:
        raise DataError(f"trees need {FOLDS * 3} validation queries with judged candidates, got {len(table.queries)}")
    fold_of = np.arange(len(table.queries)) % FOLDS
    found: dict[str, NDArray[np.float32]] = {}
    for fold in range(FOLDS):
        inside = table.of(fold_of == fold)
        scores = Trees(_fit(table.of(fold_of != fold))).score(inside.features)
        found |= dict(zip(inside.queries, _split(scores, inside.sizes), strict=True))
    return found


def _of_all(trees: Trees, stages: Stages, scores: Logits) -> Logits:
    """Return the scores of all queries' candidates, in the order of the stages before, as they are served.

    Args:
        trees: Fitted without the queries that have no scores: these find no relevant product, and teach nothing.
        stages: What the stages before say.
        scores: Of the others.
    """
    found = dict(scores)
    for query, own in stages.mixed.items():
        if query not in found:
            found[query] = trees.score(stages.features(query, reranked_order(own, len(own))))
    return found


def _split(scores: NDArray[np.float32], sizes: list[int]) -> list[NDArray[np.float32]]:
    return np.split(scores, np.cumsum(sizes)[:-1]) if sizes else []


def _ranks(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return minus the place of each score; equal ones keep the order of the stage before."""
    ranks = np.empty_like(scores)
    ranks[np.argsort(-scores, kind="stable")] = -np.arange(len(scores), dtype=np.float32)
    return ranks


def _in_first_order(logits: NDArray[np.float32], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return scores of trees, which are in the reranker's order, in the first stage's."""
    back = np.empty_like(scores)
    back[reranked_order(logits, len(logits))] = scores
    return back
