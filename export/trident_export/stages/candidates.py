"""The stage that asks what is served for the run's validation queries, which settings are chosen by, and its test's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trident.data.pairs import Pairs
from trident.errors import DataError, ExportError
from trident.quality.generation_scores import distinct_queries
from trident.retrieval.options import Page, RankingKnobs
from trident.retrieval.requests import SearchKnobs
from trident.search.searcher import Searcher
from trident.search.second_stage import ATTRIBUTES, EXPLAIN
from trident_export.job import ExportJob
from trident_export.judge.rerank_quality import FoundProducts
from trident_export.judge.served_queries import served_queries
from trident_export.run_folder import RECIPE_FILE, VALIDATION_PAIRS_FILE, held_out_pairs

CANDIDATES = 20  # of each query: two pages of ten


class FoundBoth(NamedTuple):
    """What the first stage serves for validation queries, and for held-out ones."""

    validation: FoundProducts
    held_out: FoundProducts


def find_candidates(job: ExportJob, searcher: Searcher, *, depth: int = CANDIDATES) -> FoundBoth:
    """Return the candidates of judged queries, at most ``config.judged_queries`` of either kind.

    Args:
        job: The export.
        searcher: The first stage, as it will be served.
        depth: Candidates of a query.

    Raises:
        ExportError: If the run's recipe is missing or damaged.
        DataError: If its validation pairs are damaged.
    """
    run = job.order.run
    # of an earlier Trident's run there are none
    validation, sources = held_out_pairs(run, VALIDATION_PAIRS_FILE, job.catalogue) or (job.pairs.take([]), ())
    known = every_positive_known(run, sources)
    shown = _tree_attributes(job, searcher)
    found = []
    for pairs in (validation, job.pairs):
        queries = distinct_queries(pairs, job.config.judged_queries)
        if not queries:
            found.append(FoundProducts(pairs, {}, {}, {}, every_positive_known=known))
            continue
        queries = served_queries(queries, run / VALIDATION_PAIRS_FILE)
        ranking = RankingKnobs(explain=searcher.retriever.words is not None)  # as a second stage asks
        knobs = SearchKnobs(k=min(depth, len(job.catalogue)), ranking=ranking, page=shown)
        hits = searcher.search(queries, [knobs] * len(queries))
        counts = hits.counts[:, 0].tolist()
        found.append(
            FoundProducts(
                pairs=pairs,
                product_ids=_by_query(queries, hits.product_ids, counts),
                titles=_by_query(queries, hits.titles, counts),
                cosines={
                    query: scores[:count]
                    for query, scores, count in zip(queries, hits.scores.tolist(), counts, strict=True)
                },
                every_positive_known=known and _meets(job, pairs),
                parts=_said(queries, hits.details, EXPLAIN),
                attributes=_said(queries, hits.details, ATTRIBUTES),
            )
        )
    return FoundBoth(*found)


def _tree_attributes(job: ExportJob, searcher: Searcher) -> Page | None:
    """Return the page that shows what trees look at; None: no attribute.

    Raises:
        DataError: If one is no number of the catalogue.
    """
    names = job.config.tree_attributes
    if not names:
        return None
    schema = searcher.retriever.products().attributes.schema
    for name in names:
        if (kind := schema.field(name, "tree_attributes").type) != "number":
            raise DataError(f"tree_attributes must be numbers, '{name}' is a {kind}: give it that type")
    return Page(fields=names)


def _said(queries: list[str], details: NDArray[np.object_], name: str) -> dict[str, list[dict[str, Any]]]:
    found = {query: json.loads(row).get(name, []) for query, row in zip(queries, details[:, 0], strict=True)}
    return {query: each for query, each in found.items() if each}


def _by_query(queries: list[str], texts: NDArray[np.object_], counts: list[int]) -> dict[str, list[str]]:
    return {
        query: [text.decode() for text in row[:count]] for query, row, count in zip(queries, texts, counts, strict=True)
    }


def every_positive_known(run: Path, names: Sequence[str] = ()) -> bool:
    """Return whether a run says of its sources that a product without a label is irrelevant.

    Args:
        run: A run folder.
        names: Of the sources that are asked for; none: all.

    Raises:
        ExportError: If its recipe is missing or damaged.
    """
    path = run / RECIPE_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))["data"]
        by_name = data.get("sources") or {"": data}
        sources = [by_name[name] for name in names or by_name]
        return all(bool(source.get("every_positive_known", False)) for source in sources)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"recipe {path} is missing or damaged ({error!r}): train again") from error


def _meets(job: ExportJob, pairs: Pairs) -> bool:
    """Return whether the catalogue holds a relevant product: of another one, nothing is known."""
    relevant = {product for product, label in zip(pairs.product_ids, pairs.labels, strict=True) if label}
    return bool(job.catalogue.texts[0].rows_of(relevant))
