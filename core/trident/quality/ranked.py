"""What ir-measures is given: the place of each product of a query, and its gain.

What it makes of equal scores depends on the measure and on the names of the ids, and it takes whole grades only. So it
gets places instead of scores, numbers instead of names, and gains as whole numbers in the same proportion.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import ir_measures
import numpy as np
from numpy.typing import NDArray

from trident.data.pairs import Pairs, normalized_query
from trident.errors import DataError

LARGEST_GAIN = 10**5  # ir-measures takes time and memory in proportion to it
MOST_PARTS = 1000  # of the fractions that are taken as they are

Judged = dict[str, dict[str, tuple[float, int]]]  # grade and label, by query and product


def best_first(pairs: Pairs, scores: NDArray[np.float32]) -> list[int]:
    """Return the row numbers of pairs, the highest score first.

    Equal scores of a query are in an order by chance, which depends on query, titles, then ids, and nothing else: not
    on the order of the file, where the relevant ones often come first, nor on other pairs.

    Args:
        pairs: P pairs.
        scores: (P,) higher is more relevant.

    Raises:
        DataError: If a score is no number.
    """
    require_numbers(scores, pairs)
    named = zip(map(normalized_query, pairs.queries), pairs.titles, pairs.product_ids, strict=True)
    chance = [(_by_chance(query, title), _by_chance(query, product_id)) for query, title, product_id in named]
    values = scores.tolist()
    return sorted(range(len(pairs)), key=lambda row: (-values[row], chance[row]))


def ranked_products(pairs: Pairs, scores: NDArray[np.float32]) -> dict[str, list[str]]:
    """Return the products of each query, best first; of a pair that stands there twice, the better score counts."""
    ranked: dict[str, dict[str, None]] = {}
    for row in best_first(pairs, scores):
        ranked.setdefault(normalized_query(pairs.queries[row]), {})[pairs.product_ids[row]] = None
    return {query: list(products) for query, products in ranked.items()}


def search_results(found: Mapping[str, Sequence[tuple[str, float]]]) -> dict[str, list[str]]:
    """Return the products found for each query, by its normalised form, best first.

    Args:
        found: (product id, score) of the best products of each query; equal scores keep the order they have there,
            which is the one in which the search answers.

    Raises:
        DataError: If a score is no number.
    """
    ranked = {}
    for query, hits in found.items():
        for product, score in hits:
            if not math.isfinite(score):
                raise DataError(_no_number(score, f"query '{query}' and product '{product}'"))
        ranked[normalized_query(query)] = list(dict.fromkeys(each for each, _ in sorted(hits, key=lambda hit: -hit[1])))
    return ranked


def require_numbers(scores: NDArray[np.float32], pairs: Pairs | None = None) -> None:
    """Check that the scores (P,) of pairs can be ranked.

    Raises:
        DataError: If one is no number, or infinite.
    """
    wrong = np.flatnonzero(~np.isfinite(scores))
    if wrong.size:
        row = int(wrong[0])
        where = f"pair {row + 1}"
        if pairs is not None:
            where = f"query '{pairs.queries[row]}' and product '{pairs.product_ids[row]}'"
        raise DataError(_no_number(float(scores[row]), where))


def _no_number(score: float, where: str) -> str:
    return (
        f"scores must be finite numbers, got {score} for {where}: the model's weights hold NaN or values that are too "
        "large; take another model, or train again with a lower optimizer.learning_rate"
    )


def _by_chance(query: str, text: str) -> bytes:
    return hashlib.blake2b(f"{query}\n{text}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def judgements(pairs: Pairs) -> Judged:
    """Return grade and label of each product, by normalised query; queries without a relevant product are left out.

    Raises:
        DataError: If no query has a relevant product.
    """
    judged: Judged = {}
    rows = zip(pairs.queries, pairs.product_ids, pairs.grades.tolist(), pairs.labels.tolist(), strict=True)
    for query, product_id, grade, label in rows:
        judged.setdefault(normalized_query(query), {})[product_id] = (grade, label)
    with_relevant = {query: row for query, row in judged.items() if any(label for _, label in row.values())}
    if not with_relevant:
        raise DataError(f"ranking needs a query with a relevant product, got none among {len(judged)} queries")
    return with_relevant


def whole_gains(grades: Sequence[float]) -> list[int]:
    """Return the gains of a query's products as whole numbers in the same proportion: 1, 0.1, 0.01 is 100, 10, 1.

    Where there is no such proportion of small numbers, they are rounded to a hundred-thousandth of the largest.

    Args:
        grades: At least one, each >= 0.
    """
    whole = [int(grade) for grade in grades]
    if whole != list(grades):
        parts = [Fraction(grade).limit_denominator(MOST_PARTS) for grade in grades]
        unit = math.lcm(*(part.denominator for part in parts))
        same = all(math.isclose(part, grade, rel_tol=1e-6) for part, grade in zip(parts, grades, strict=True))
        whole = [int(part * unit) for part in parts] if same else []
    divisor = math.gcd(*whole) or 1
    if whole and max(whole) // divisor <= LARGEST_GAIN:
        return [each // divisor for each in whole]
    return [round(grade / max(grades) * LARGEST_GAIN) for grade in grades]


def of_each_query(
    judged: Judged, ranked: Mapping[str, Sequence[str]], measures: Mapping[str, ir_measures.Measure]
) -> dict[str, dict[str, float]]:
    """Return the values of each measure for the queries of ``judged``, in their order.

    Args:
        judged: The judgements.
        ranked: The products of each query, best first.
        measures: By name; ``ndcg`` is given the gains, any other the labels.
    """
    graded: dict[str, dict[str, int]] = {}
    binary: dict[str, dict[str, int]] = {}
    run: dict[str, dict[str, float]] = {}
    for number, (query, row) in enumerate(judged.items()):
        name = str(number)
        known = dict.fromkeys([*row, *ranked.get(query, ())])
        numbers = {product: str(place) for place, product in enumerate(known)}
        gains = whole_gains([grade for grade, _ in row.values()])
        graded[name] = {numbers[product]: gain for product, gain in zip(row, gains, strict=True)}
        binary[name] = {numbers[product]: label for product, (_, label) in row.items()}
        run[name] = {numbers[product]: -float(place) for place, product in enumerate(ranked.get(query, ()))}
    values = {}
    for measure_name, measure in measures.items():  # in calls of their own: some beside each other disturb each other
        by_query = dict.fromkeys(graded, 0.0)
        for metric in ir_measures.iter_calc([measure], graded if measure_name == "ndcg" else binary, run):
            by_query[metric.query_id] = metric.value
        values[measure_name] = dict(zip(judged, by_query.values(), strict=True))
    return values
