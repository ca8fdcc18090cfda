"""The share of the logit: chosen where it ranks best, judged on queries that it was not chosen by."""

from __future__ import annotations

import numpy as np
import pytest

from trident.data.pairs import Pairs
from trident.errors import DataError
from trident.ranking.mixing import WEIGHTS
from trident_export.judge.rerank_quality import FoundProducts
from trident_export.judge.share import choose_share

QUERIES, CANDIDATES = 60, 8


def found(cosines: np.ndarray, relevant: int = 2) -> FoundProducts:
    """Return queries with one relevant product, by its place among eight that the first stage found."""
    names = [f"query {number}" for number in range(QUERIES)]
    pairs = Pairs(
        queries=names,
        titles=[f"t{relevant}"] * QUERIES,
        labels=np.ones(QUERIES, dtype=np.int8),
        grades=np.ones(QUERIES, dtype=np.float32),
        product_ids=[f"p{relevant}"] * QUERIES,
    )
    ids, titles = [f"p{place}" for place in range(CANDIDATES)], [f"t{place}" for place in range(CANDIDATES)]
    return FoundProducts(
        pairs,
        dict.fromkeys(names, ids),
        dict.fromkeys(names, titles),
        dict(zip(names, cosines.tolist(), strict=True)),
        every_positive_known=True,
    )


def falling() -> np.ndarray:
    return np.tile(np.linspace(0.8, 0.5, CANDIDATES), (QUERIES, 1)).astype(np.float32)


def test_a_reranker_that_knows_is_on() -> None:
    side = found(falling())
    logits = {name: np.where(np.arange(CANDIDATES) == 2, 5.0, 0.0).astype(np.float32) for name in side.titles}
    share = choose_share(side, logits)
    assert share.change.low > 0
    assert side.best(side.mixed(logits, share.weight))[0][0] == "p2"
    smaller = [weight for weight in WEIGHTS if weight < share.weight]
    assert all(share.gains[weight] < share.gains[share.weight] for weight in smaller)  # the smallest that is enough


def test_one_that_guesses_is_off() -> None:
    """By the weight that others chose: the best of ten by chance is no gain."""
    generator = np.random.default_rng(4)
    side = found(falling(), relevant=1)
    logits = {name: 9 * generator.standard_normal(CANDIDATES).astype(np.float32) for name in side.titles}
    share = choose_share(side, logits)
    assert share.change.low <= 0
    assert share.weight in WEIGHTS


def test_one_that_is_wrong_everywhere_changes_nothing() -> None:
    """A weight of zero takes part where a query is judged."""
    side = found(falling())
    logits = {name: np.where(np.arange(CANDIDATES) == 2, -90.0, 0.0).astype(np.float32) for name in side.titles}
    share = choose_share(side, logits)
    assert (share.change.value, share.change.low, share.change.high) == (0.0, 0.0, 0.0)
    assert max(share.gains.values()) < 0


def test_a_weight_that_is_asked_for_is_taken() -> None:
    side = found(falling())
    logits = {name: np.where(np.arange(CANDIDATES) == 2, -90.0, 0.0).astype(np.float32) for name in side.titles}
    share = choose_share(side, logits, weight=1.0)
    assert share.weight == 1.0
    assert share.change.high < 0
    with pytest.raises(DataError, match="a query with a relevant product, got none among 0 queries"):
        choose_share(FoundProducts(side.pairs.take([]), {}, {}, {}, every_positive_known=True), {}, weight=1.0)
