"""Looks over labelled pairs before training: what would make the figures lie is refused, the rest is reported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from trident.data.pairs import Pairs, normalized_query
from trident.errors import DataError
from trident_train.data.splits import SplitPairs

EXAMPLES = 5  # of each finding


@dataclass(frozen=True, kw_only=True)
class SplitCount:
    """How much of a source is in one split."""

    pairs: int
    queries: int
    products: int
    relevant_share: float  # of the pairs


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of fault: how often, and the first cases in words."""

    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found in the pairs of one source.

    Attributes:
        splits: Size of each split.
        repeated_pairs: The same query and title again with the same label; each counts in the figures.
        contradicting_labels: The same query and title, once relevant and once not.
        duplicate_titles: Titles that several product ids share; an encoder cannot tell these products apart.
        leaked_queries: Train queries that another source holds out; their pairs were left out of the train split.
        seen_titles: Share of the test split's products whose titles stand in the train split too. That is no leak,
            since queries are disjoint, but new products may fare worse than the figures say.
        dropped_pairs: Pairs left out: contradicting ones when ``data.contradictions`` is "drop", and leaked ones.
    """

    splits: Mapping[str, SplitCount]
    repeated_pairs: Finding
    contradicting_labels: Finding
    duplicate_titles: Finding
    leaked_queries: Finding
    seen_titles: float
    dropped_pairs: int


def contradictions(pairs: Pairs) -> dict[tuple[str, str], list[int]]:
    """Return the rows of each (normalised query, title) that is labelled relevant and irrelevant."""
    rows: dict[tuple[str, str], list[int]] = {}
    for row, (query, title) in enumerate(zip(pairs.queries, pairs.titles, strict=True)):
        rows.setdefault((normalized_query(query), title), []).append(row)
    return {key: found for key, found in rows.items() if len(set(pairs.labels[found].tolist())) > 1}


def without_contradictions(pairs: Pairs) -> Pairs:
    """Return the pairs without those that are labelled relevant and irrelevant; the same object where none is."""
    both = {row for rows in contradictions(pairs).values() for row in rows}
    return pairs.take(row for row in range(len(pairs)) if row not in both) if both else pairs


def require_consistent(where: str, part: Pairs, remedy: str) -> None:
    """Refuse held-out pairs of which a pair has both labels: its figure would depend on which one is believed.

    Args:
        where: What errors call the pairs.
        part: The pairs.
        remedy: The option that leaves such pairs out.

    Raises:
        DataError: Naming the first such pair.
    """
    found = contradictions(part)
    if not found:
        return
    (query, title), rows = next(iter(found.items()))
    raise DataError(
        f"no pair may be relevant and irrelevant, got both for query '{query}' and title '{title}' "
        f"({len(rows)} rows; {len(found):,} such pairs in {where}): mend the labels, "
        f"or leave such pairs out with {remedy}"
    )


def audit(whole: Pairs, parts: SplitPairs, *, leaked: list[str], dropped: int) -> Audit:
    """Return what a source's pairs look like.

    Args:
        whole: All pairs as they were read.
        parts: What is left of them in each split.
        leaked: Train queries that other sources hold out.
        dropped: Pairs that were left out.
    """
    seen: dict[tuple[str, str, int], int] = {}
    for query, title, label in zip(whole.queries, whole.titles, whole.labels.tolist(), strict=True):
        key = (normalized_query(query), title, int(label))
        seen[key] = seen.get(key, 0) + 1
    repeated = {key: times for key, times in seen.items() if times > 1}
    ids: dict[str, set[str]] = {}
    for product_id, title in zip(whole.product_ids, whole.titles, strict=True):
        ids.setdefault(title, set()).add(product_id)
    shared = {title: found for title, found in ids.items() if len(found) > 1}
    both = contradictions(whole)
    trained = set(parts.train.titles)
    tested = set(parts.test.titles)
    return Audit(
        splits={
            name: SplitCount(
                pairs=len(part),
                queries=len({normalized_query(query) for query in part.queries}),
                products=len(set(part.product_ids)),
                relevant_share=float(np.mean(part.labels)),
            )
            for name, part in (("train", parts.train), ("validation", parts.validation), ("test", parts.test))
        },
        repeated_pairs=_finding(
            f"'{query}', '{title}': {times} times" for (query, title, _), times in repeated.items()
        ),
        contradicting_labels=_finding(f"'{query}', '{title}'" for query, title in both),
        duplicate_titles=_finding(f"'{title}': {', '.join(sorted(found))}" for title, found in shared.items()),
        leaked_queries=_finding(f"'{query}'" for query in leaked),
        seen_titles=len(tested & trained) / len(tested),
        dropped_pairs=dropped,
    )


def _finding(cases: Iterable[str]) -> Finding:
    words = list(cases)
    return Finding(count=len(words), examples=tuple(words[:EXAMPLES]))
