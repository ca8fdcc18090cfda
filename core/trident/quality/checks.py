"""The checks of the gate, one function a check or a family of checks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from trident.data.pairs import Pairs
from trident.errors import DataError
from trident.generation.golden import golden_differences, score_tolerance
from trident.index.exact_search import recall
from trident.quality.config import GateConfig
from trident.quality.gate_report import GateCheck
from trident.quality.generation_scores import LoadedGeneration, distinct_queries, pairs_of, united
from trident.quality.latency import latency_in_turns
from trident.quality.metrics import Interval, catalogue_ndcg_by_query, ndcg_by_query, roc_auc
from trident.quality.paired import mean_change, quality_change
from trident.quality.reliability import brier_by_query, judged_candidates
from trident.ranking.calibration import DENSE

CHECKED_PRODUCTS = 128
SMALLEST_COSINE = 0.999  # of a stored vector to the graph's: another machine sums in another order


Checks = tuple[list[GateCheck], list[str]]  # and notes: what could not be checked, and why


def absolute_checks(new: LoadedGeneration, config: GateConfig) -> Checks:
    """Return what a candidate proves by itself."""
    queries = distinct_queries(new.test_pairs(), config.queries)
    checks = [_golden(new), _index_vectors(new), *_search(new, queries, config)]
    if config.latency_budget_ms is not None:
        median = latency_in_turns({"candidate": new.searcher}, queries)["candidate"].median_ms
        rule = f"median milliseconds of a query must be at most {config.latency_budget_ms:g}"
        checks.append(_at_most("latency_ms", rule, median, config.latency_budget_ms))
    return checks, []


def checks_against(new: LoadedGeneration, old: LoadedGeneration, config: GateConfig) -> Checks:
    """Return what a candidate proves against the generation that is serving."""
    pairs = new.test_pairs()
    queries = distinct_queries(pairs, config.queries)
    pairs = pairs_of(pairs, queries)
    golden_queries = list(dict.fromkeys(answer.query for side in (new, old) for answer in side.generation.golden()))
    golden = united(*(pairs_of(side.test_pairs(), golden_queries) for side in (new, old)))
    checks, notes = [], []
    for name, judged in (("held-out pairs", pairs), ("golden queries", golden)):
        try:
            checks += _quality(new, old, judged, name, config)
        except DataError as error:
            notes.append(f"quality on the {name} was not compared: {error}")
    try:
        checks += _catalogue_quality(new, old, pairs, queries, config)
    except DataError as error:
        notes.append(f"quality over the catalogue was not compared: {error}")
        checks += _lost_catalogue_figures(new, old)
    try:
        checks += _calibration(new, old, pairs, queries, config)
    except DataError as error:
        notes.append(f"calibration was not compared: {error}")
    checks.append(_latency(new, old, queries, config))
    return checks, notes


def _golden(new: LoadedGeneration) -> GateCheck:
    expected = new.generation.golden()
    tolerance = score_tolerance(new.generation.served_precision)
    differences = max(
        (golden_differences(expected, way.answer_again(expected), tolerance=tolerance) for way in new.ways), key=len
    )
    rule = f"of {len(expected)} golden queries none may be answered otherwise than at the export"
    if differences:
        rule += f" ({differences[0]})"
    return _at_most("golden", rule, len(differences), 0)


def _index_vectors(new: LoadedGeneration) -> GateCheck:
    rows = np.linspace(0, new.index.count - 1, min(CHECKED_PRODUCTS, new.index.count)).astype(np.int64)
    embedded = new.embed_fp32([new.catalogue.titles[row] for row in rows.tolist()], "product")
    smallest = float((new.index.vectors(rows) * embedded).sum(1).min())
    rule = f"the vectors of {len(rows)} products in the index must be this encoder's, smallest cosine {SMALLEST_COSINE}"
    return _at_least("index_vectors", rule, smallest, SMALLEST_COSINE)


def _search(new: LoadedGeneration, queries: list[str], config: GateConfig) -> list[GateCheck]:
    reference = new.index.search_exactly(new.embed_fp32(queries, "query"), new.k).rows.tolist()
    recalls, overlaps = [], []
    for way in new.ways:
        vectors = way.embed(queries)  # (Q, D)
        served, exact = new.index.search(vectors, new.k), new.index.search_exactly(vectors, new.k)
        recalls.append(recall(served, exact))
        shared = [len(set(one) & set(other)) for one, other in zip(served.rows.tolist(), reference, strict=True)]
        overlaps.append(float(np.mean(shared)) / new.k)
    how = "by comparing every vector" if new.index.is_exact else f"at ef {new.index.ef}"
    recall_rule = (
        f"recall@{new.k} of the index {how} over {len(queries)} queries must be at least {config.recall_target:g}"
    )
    overlap_rule = (
        f"the best {new.k} products must be those of float32 and exact search in a share of at least "
        f"{config.overlap_target:g}"
    )
    return [
        _at_least("recall_at_10", recall_rule, min(recalls), config.recall_target),
        _at_least("overlap_at_10", overlap_rule, min(overlaps), config.overlap_target),
    ]


def _quality(
    new: LoadedGeneration, old: LoadedGeneration, pairs: Pairs, where: str, config: GateConfig
) -> list[GateCheck]:
    if not len(pairs):
        raise DataError("none of them is judged")
    scores = new.pair_scores(pairs), old.pair_scores(pairs)
    change = quality_change(pairs, *scores)
    areas = [roc_auc(pairs.labels, each) for each in scores]
    gains = [_mean(ndcg_by_query(pairs, each).values()) for each in scores]
    prefix = "" if where == "held-out pairs" else "golden_"
    return [
        _change(f"{prefix}roc_auc", f"ROC-AUC on the {where}", change.roc_auc, areas, config),
        _change(f"{prefix}ndcg_at_10", f"NDCG@10 on the {where}", change.ndcg_at_10, gains, config),
    ]


def _catalogue_quality(
    new: LoadedGeneration, old: LoadedGeneration, pairs: Pairs, queries: list[str], config: GateConfig
) -> list[GateCheck]:
    """Return the check of the whole road, index included; other products would make it unfair to either."""
    if new.generation.manifest.parts["catalogue"] != old.generation.manifest.parts["catalogue"]:
        raise DataError("the two generations have different catalogues")
    relevant = {product for product, label in zip(pairs.product_ids, pairs.labels, strict=True) if label}
    if not new.catalogue.texts[0].rows_of(relevant):
        raise DataError("no relevant product of the held-out pairs is in the catalogue")
    found = [catalogue_ndcg_by_query(pairs, side.hits(queries)) for side in (new, old)]
    means = [_mean(each.values()) for each in found]
    return [_change("catalogue_ndcg_at_10", "NDCG@10 over the whole catalogue", mean_change(*found), means, config)]


def _calibration(
    new: LoadedGeneration, old: LoadedGeneration, pairs: Pairs, queries: list[str], config: GateConfig
) -> list[GateCheck]:
    """Return the checks of the probabilities: that they are still there, and no further from the truth.

    Raises:
        DataError: If there is nothing to compare.
    """
    maps = [side.searcher.retriever.calibration.of(DENSE) for side in (new, old)]
    if maps[1] is None:
        return []
    if maps[0] is None:
        rule = "the serving generation has probabilities, and so must the candidate: train with more validation queries"
        return [GateCheck(name="calibration", rule=rule, value=0, bound=1, passed=False)]
    known = bool(new.generation.manifest.quality["calibration"]["every_positive_known"])
    found = [judged_candidates(pairs, side.cosines(queries), every_positive_known=known) for side in (new, old)]
    by_query = [
        brier_by_query(each, each_map.probability(each.scores))
        for each, each_map in zip(found, maps, strict=True)
        if each_map is not None
    ]
    shared = sorted(by_query[0].keys() & by_query[1].keys())
    if not shared:
        raise DataError("no product that the generations find for a held-out query is judged")
    new_values, old_values = ({query: -each[query] for query in shared} for each in by_query)  # higher is better
    what = f"minus the squared error of probabilities, over {len(shared)} held-out queries,"
    means = [_mean(each.values()) for each in (new_values, old_values)]
    return [_change("calibration_brier", what, mean_change(new_values, old_values), means, config)]


def _lost_catalogue_figures(new: LoadedGeneration, old: LoadedGeneration) -> list[GateCheck]:
    """Return a failed check where the serving generation was judged over its catalogue and the candidate cannot be."""
    pairs = new.test_pairs()
    relevant = {product for product, label in zip(pairs.product_ids, pairs.labels, strict=True) if label}
    found = len(new.catalogue.texts[0].rows_of(relevant))
    if found or not relevant or "catalogue" not in old.generation.manifest.quality:
        return []
    rule = (
        f"of {len(relevant):,} relevant products of the held-out pairs one must be in the catalogue, since the serving "
        "generation has figures over its own: look at the product ids of pairs and catalogue"
    )
    return [_at_least("catalogue_products", rule, found, 1)]


def _latency(new: LoadedGeneration, old: LoadedGeneration, queries: list[str], config: GateConfig) -> GateCheck:
    taken = latency_in_turns({"candidate": new.searcher, "serving": old.searcher}, queries)
    medians = [taken[name].median_ms for name in ("candidate", "serving")]
    rule = (
        f"median latency of a query must be at most {config.latency_ratio:g} times the serving generation's "
        f"({medians[0]:.2f} ms and {medians[1]:.2f} ms, asked in turns in this process)"
    )
    return GateCheck(
        name="latency_ratio",
        rule=rule,
        value=medians[0] / medians[1],
        bound=config.latency_ratio,
        passed=medians[0] / medians[1] <= config.latency_ratio,
        candidate=medians[0],
        serving=medians[1],
    )


def _change(name: str, what: str, change: Interval, values: list[float], config: GateConfig) -> GateCheck:
    bound = -config.quality_tolerance
    return GateCheck(
        name=name,
        rule=(
            f"{what} must not fall by more than {config.quality_tolerance:g} beyond chance "
            f"(serving {values[1]:.4f}, candidate {values[0]:.4f})"
        ),
        value=change.value,
        bound=bound,
        passed=change.high >= bound,
        low=change.low,
        high=change.high,
        candidate=values[0],
        serving=values[1],
    )


def _at_least(name: str, rule: str, value: float, bound: float) -> GateCheck:
    return GateCheck(name=name, rule=rule, value=value, bound=bound, passed=value >= bound)


def _at_most(name: str, rule: str, value: float, bound: float) -> GateCheck:
    return GateCheck(name=name, rule=rule, value=value, bound=bound, passed=value <= bound)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
