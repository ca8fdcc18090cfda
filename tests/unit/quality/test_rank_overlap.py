"""Rank-biased overlap against its definition, summed up far past the ends, and against published code."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from trident.quality.rank_overlap import overlap, rank_biased_overlap


def by_definition(one: str, other: str, p: float) -> float:
    """Return (1 - p) sum p^(d-1) A_d over rankings of equal length, the agreement staying as it is at their end."""
    agreements = [len(set(one[:depth]) & set(other[:depth])) / depth for depth in range(1, len(one) + 1)]
    return sum((1 - p) * p ** (depth - 1) * agreements[min(depth, len(agreements)) - 1] for depth in range(1, 2000))


@pytest.mark.parametrize("p", [0.5, 0.9])
def test_equally_long_rankings_are_compared_by_the_definition(p: float) -> None:
    generator = np.random.default_rng(0)
    for size, shared in itertools.product((1, 3, 10), (0, 4, 26)):
        one = "".join(generator.permutation(list("abcdefghijklmnopqrstuvwxyz"))[:size])
        other = "".join(generator.permutation(list("abcdefghijklmnopqrstuvwxyz"[:shared] + "0123456789"))[:size])
        assert rank_biased_overlap(one, other, persistence=p) == pytest.approx(by_definition(one, other, p), abs=1e-12)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [  # rbo_ext of the package rbo 0.1.3 at p = 0.9
        ("abcde", "acbde", 0.955),
        ("abcde", "fghij", 0.0),
        ("abc", "abcdefg", 1.0),
        ("abdc", "xaybzcd", 0.5981817857142857),
        ("abcdefghij", "bacdefghjk", 0.8564749821),
        ("a", "bcd", 0.0),
    ],
)
def test_other_code_gives_the_same(one: str, other: str, expected: float) -> None:
    assert rank_biased_overlap(one, other) == pytest.approx(expected, abs=1e-9)
    assert rank_biased_overlap(other, one) == pytest.approx(expected, abs=1e-9)


def test_empty_rankings_agree_with_each_other_only() -> None:
    assert rank_biased_overlap("", "") == overlap("", "") == 1.0
    assert rank_biased_overlap("", "ab") == overlap("ab", "") == 0.0


def test_overlap_is_the_share_of_the_longer_one() -> None:
    assert overlap("abc", "cba") == 1.0
    assert overlap("abcd", "ab") == 0.5
