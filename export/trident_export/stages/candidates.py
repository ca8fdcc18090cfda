"""The stage that asks what is served for the run's validation queries, which settings are chosen by, and its test's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from trident.data.pairs import Pairs, read_pairs
from trident.encoder.served_encoder import ServedEncoder
from trident.encoder.tokenization import TextTokenizer
from trident.errors import ExportError
from trident.index.index import VectorIndex
from trident.quality.generation_scores import distinct_queries
from trident_export.job import ExportJob
from trident_export.judge.rerank_quality import FoundProducts
from trident_export.judge.served_queries import served_queries
from trident_export.run_folder import RECIPE_FILE

VALIDATION_PAIRS_FILE = "validation.parquet"
CANDIDATES = 20  # of each query: two pages of ten


class FoundBoth(NamedTuple):
    """What the first stage serves for validation queries, and for held-out ones."""

    validation: FoundProducts
    held_out: FoundProducts


def find_candidates(
    job: ExportJob, served: ServedEncoder, tokenizer: TextTokenizer, index: VectorIndex, *, depth: int = CANDIDATES
) -> FoundBoth:
    """Return the candidates of judged queries, at most ``config.judged_queries`` of either kind.

    Raises:
        ExportError: If the run's recipe is missing or damaged.
        DataError: If its validation pairs are damaged.
    """
    known = every_positive_known(job.order.run)
    path = job.order.run / VALIDATION_PAIRS_FILE
    validation = read_pairs(path) if path.is_file() else job.pairs.take([])  # of an earlier Trident's run
    found = []
    for pairs in (validation, job.pairs):
        queries = distinct_queries(pairs, job.config.judged_queries)
        if not queries:
            found.append(FoundProducts(pairs, {}, {}, {}, every_positive_known=known))
            continue
        queries = served_queries(queries, path)
        near = index.search(
            served.embed_ids(tokenizer.token_ids(queries, "query"), pad_id=tokenizer.pad_id),
            min(depth, len(job.catalogue)),
        )
        rows_of = [[row for row in rows if row >= 0] for rows in near.rows.tolist()]
        ids, titles = job.catalogue.product_ids, job.catalogue.titles
        found.append(
            FoundProducts(
                pairs=pairs,
                product_ids={query: [ids[row] for row in rows] for query, rows in zip(queries, rows_of, strict=True)},
                titles={query: [titles[row] for row in rows] for query, rows in zip(queries, rows_of, strict=True)},
                cosines={
                    query: scores[: len(rows)]
                    for query, rows, scores in zip(queries, rows_of, near.scores.tolist(), strict=True)
                },
                every_positive_known=known and _meets(job, pairs),
            )
        )
    return FoundBoth(*found)


def every_positive_known(run: Path) -> bool:
    """Return whether a run says of all its sources that a product without a label is irrelevant.

    Raises:
        ExportError: If its recipe is missing or damaged.
    """
    path = run / RECIPE_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))["data"]
        sources = list((data.get("sources") or {"": data}).values())
        return all(bool(source.get("every_positive_known", False)) for source in sources)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"recipe {path} is missing or damaged ({error!r}): train again") from error


def _meets(job: ExportJob, pairs: Pairs) -> bool:
    """Return whether the catalogue holds a relevant product: of another one, nothing is known."""
    relevant = {product for product, label in zip(pairs.product_ids, pairs.labels, strict=True) if label}
    return bool(job.catalogue.texts[0].rows_of(relevant))
