"""Golden queries: what a generation answered when it was exported; promotion and health checks ask them again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trident.config import from_table
from trident.errors import ConfigError, GenerationError

GOLDEN_K = 10
GOLDEN_REQUEST = "trident-golden"  # id of a request that asks golden queries: they are nobody's, and not logged
SCORE_TOLERANCE = 1e-3  # of a cosine between two runs of the same encoder: batches, threads and processors differ
# In 8 bits: sums in another order, as another processor adds them, round to another of 256 values.
INT8_TOLERANCE = 0.02
FUSED_TOLERANCE = 2.0  # times that of a cosine, of what orders by words too: two products may move against each other
# Of a reranked answer in 8 bits: products that were no candidate of the second stage at the export, or were the last of
# them, may stand anywhere in it, and so may those whose places they take be missing.
STRANGERS = 2


@dataclass(frozen=True, kw_only=True)
class GoldenAnswer:
    """A query with the best products, best first, and their cosines.

    ``options`` are those that it was asked with, one JSON object, empty for none. ``fused`` is what decided the order
    where words had a part in it: then the cosines do not fall, and a server that sees vectors only answers otherwise.
    ``mixed`` likewise where a second stage put it in order: both stages' scores together, in the unit of a cosine.
    """

    query: str
    product_ids: list[str]
    scores: list[float]
    options: str = ""
    fused: list[float] = field(default_factory=list)
    mixed: list[float] = field(default_factory=list)

    @property
    def by_vectors(self) -> bool:
        """Whether cosines alone decided the order."""
        return not self.fused and not self.mixed


def score_tolerance(precision: str) -> float:
    """Return how far the cosines of two runs of an encoder in a precision may differ."""
    return INT8_TOLERANCE if precision == "int8" else SCORE_TOLERANCE


def save_golden(answers: Sequence[GoldenAnswer], path: Path) -> None:
    """Write golden answers as JSON."""
    text = json.dumps([asdict(answer) for answer in answers], indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def load_golden(path: Path) -> list[GoldenAnswer]:
    """Read what ``save_golden`` wrote.

    Raises:
        GenerationError: If the file is missing, damaged or empty.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        answers: list[GoldenAnswer] = [from_table(GoldenAnswer, row, where=str(path)) for row in rows]
    except (OSError, ValueError, TypeError, ConfigError) as error:
        raise GenerationError(f"golden answers {path} are missing or damaged: {error}; export again") from error
    if not answers:
        raise GenerationError(f"golden answers {path} must hold at least one query, got none; export again")
    for answer in answers:
        for scores in (answer.scores, *(each for each in (answer.fused, answer.mixed) if each)):
            if len(answer.product_ids) != len(scores):
                raise GenerationError(
                    f"golden answers {path} are damaged: '{answer.query}' must have a score for each product, got "
                    f"{len(scores)} for {len(answer.product_ids)}; export again"
                )
    return answers


def golden_differences(
    expected: Sequence[GoldenAnswer], found: Sequence[GoldenAnswer], *, tolerance: float = SCORE_TOLERANCE
) -> list[str]:
    """Return a line for each query that is answered otherwise; none when all answers are right.

    An answer is right when its products are the expected ones in the expected order and each score is within the
    tolerance. Products whose expected scores are closer than the tolerance may change places; where words had a part in
    the order, those whose fused scores are closer than ``FUSED_TOLERANCE`` times that. After a second stage no product
    may stand behind one that was worse by more than that at the export; see ``STRANGERS``.

    Args:
        expected: As stored.
        found: The same queries, in their order.
        tolerance: Of a cosine.
    """
    lines = []
    for wanted, got in zip(expected, found, strict=True):
        difference = _difference(wanted, got, tolerance)
        if difference:
            lines.append(f"'{wanted.query}': {difference}")
    return lines


def _difference(wanted: GoldenAnswer, got: GoldenAnswer, tolerance: float) -> str:
    if len(got.product_ids) != len(wanted.product_ids):
        return f"must find {len(wanted.product_ids)} products, got {len(got.product_ids)}"
    if wanted.mixed:
        return _mixed_difference(wanted, got, tolerance)
    if wanted.fused:
        return _fused_difference(wanted, got, tolerance)
    for place, (expected, score) in enumerate(zip(wanted.scores, got.scores, strict=True), start=1):
        if not abs(expected - score) <= tolerance:  # NaN too
            return f"place {place} must score {expected:.4f}, got {score:.4f}"
    scores = dict(zip(wanted.product_ids, wanted.scores, strict=True))
    last = wanted.scores[-1] if wanted.scores else 0.0
    for place, (product, expected) in enumerate(zip(got.product_ids, wanted.scores, strict=True), start=1):
        # a product just below the last place is as good as the last
        if abs(scores.get(product, last) - expected) > tolerance:
            return f"place {place} must be product {wanted.product_ids[place - 1]}, got {product}"
    return ""


def _fused_difference(wanted: GoldenAnswer, got: GoldenAnswer, tolerance: float) -> str:
    known = dict(zip(wanted.product_ids, zip(wanted.scores, wanted.fused, strict=True), strict=True))
    last = wanted.fused[-1]
    for place, (product, score, expected) in enumerate(
        zip(got.product_ids, got.scores, wanted.fused, strict=True), start=1
    ):
        cosine, fused = known.get(product, (score, last))  # just below the last place is as good as the last
        if not abs(fused - expected) <= FUSED_TOLERANCE * tolerance:
            return f"place {place} must be product {wanted.product_ids[place - 1]}, got {product}"
        if not abs(cosine - score) <= tolerance:  # NaN too
            return f"product {product} must score {cosine:.4f}, got {score:.4f}"
    return ""


def _mixed_difference(wanted: GoldenAnswer, got: GoldenAnswer, tolerance: float) -> str:
    known = dict(zip(wanted.product_ids, zip(wanted.scores, wanted.mixed, strict=True), strict=True))
    near, last = FUSED_TOLERANCE * tolerance, wanted.mixed[-1]
    if len(set(got.product_ids)) < len(got.product_ids):
        return f"must find a product once, got {', '.join(got.product_ids)}"
    strangers, lowest = 0, float("inf")
    for place, (product, score, expected) in enumerate(
        zip(got.product_ids, got.scores, wanted.mixed, strict=True), start=1
    ):
        if product not in known:
            strangers += not abs(expected - last) <= near  # just below the last place is as good as the last
            if strangers > (STRANGERS if tolerance > SCORE_TOLERANCE else 0):
                return f"place {place} must be product {wanted.product_ids[place - 1]}, got {product}"
            continue
        cosine, mixed = known[product]
        if not mixed <= lowest + near:
            return f"place {place} must be product {wanted.product_ids[place - 1]}, got {product}"
        if not abs(cosine - score) <= tolerance:  # NaN too
            return f"product {product} must score {cosine:.4f}, got {score:.4f}"
        lowest = min(lowest, mixed)
    return ""
