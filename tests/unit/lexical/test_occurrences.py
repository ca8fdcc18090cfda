"""Scoring some tokens by many parameters, beside the index that bm25s makes of all."""

from __future__ import annotations

import numpy as np
import pytest

from trident.lexical.postings import Bm25, Occurrences, Postings

TOKENS = 40


@pytest.fixture(scope="module")
def documents() -> list[list[int]]:
    rng = np.random.default_rng(5)
    drawn = [rng.zipf(1.5, size=size) % TOKENS for size in rng.integers(0, 12, size=300)]
    return [*(each.tolist() for each in drawn), list(range(TOKENS))]  # each token stands somewhere


@pytest.mark.parametrize("bm25", [Bm25(), Bm25(k1=1.5, b=0.75), Bm25(k1=0.1, b=0), Bm25(k1=1.2, b=1)])
def test_tokens_are_worth_what_bm25s_says(documents, bm25):
    asked = [0, 3, 17, 39]
    ours = Occurrences.of(documents, TOKENS, asked).postings(bm25)
    theirs = Postings.build(documents, TOKENS, bm25)
    assert ours.count == theirs.count
    assert ours.mean_length == pytest.approx(theirs.mean_length)
    for token in range(TOKENS):
        here = slice(ours.starts[token], ours.starts[token + 1])
        if token not in asked:
            assert here.start == here.stop
            continue
        np.testing.assert_array_equal(ours.rows_of(token), theirs.rows_of(token))
        there = slice(theirs.starts[token], theirs.starts[token + 1])
        np.testing.assert_allclose(ours.scores[here], theirs.scores[there], rtol=1e-6)
    np.testing.assert_array_equal(ours.sums([3, 17]).best(10), theirs.sums([3, 17]).best(10))


def test_nothing_asked_and_no_document():
    assert Occurrences.of([[1, 2], [2]], 3, ()).postings(Bm25()).starts.tolist() == [0, 0, 0, 0]
    assert Occurrences.of([], 3, [1]).postings(Bm25()).count == 0
