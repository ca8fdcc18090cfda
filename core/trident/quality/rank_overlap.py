"""How alike two rankings are: the share of what they hold in common, and rank-biased overlap.

Source: Webber, Moffat and Zobel 2010, "A similarity measure for indefinite rankings", equation 32.
"""

from __future__ import annotations

from collections.abc import Sequence

PERSISTENCE = 0.9  # the ten best weigh 86% of rank-biased overlap


def overlap(one: Sequence[str], other: Sequence[str]) -> float:
    """Return the share, 0 to 1, of the longer ranking that stands in the other too; 1 where both are empty."""
    longest = max(len(one), len(other))
    return len(set(one) & set(other)) / longest if longest else 1.0


def rank_biased_overlap(one: Sequence[str], other: Sequence[str], *, persistence: float = PERSISTENCE) -> float:
    """Return the rank-biased overlap, 0 to 1, extrapolated past the ends as the rankings agree so far.

    Args:
        one: A ranking, best first, nothing twice.
        other: Another; it may be longer or shorter.
        persistence: Probability, above 0 and below 1, that a reader goes on to the next place.
    """
    short, long = sorted((one, other), key=len)
    if not short:
        return float(not long)
    total, common = 0.0, 0
    seen_short: set[str] = set()
    seen_long: set[str] = set()
    common_at_short = 0
    for depth, item in enumerate(long, start=1):
        seen_long.add(item)
        common += item in seen_short
        if depth <= len(short):
            seen_short.add(short[depth - 1])
            common += short[depth - 1] in seen_long
            common_at_short = common
        agreement = common / depth
        if depth > len(short):
            agreement += common_at_short * (depth - len(short)) / (len(short) * depth)
        total += agreement * persistence**depth
    tail = (common - common_at_short) / len(long) + common_at_short / len(short)
    return (1 - persistence) / persistence * total + tail * persistence ** len(long)
