"""Candidates as a run judges them: by both stages' scores in equal shares, the rest behind them as they were."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trident_train.reranker.first_stage import Candidate
from trident_train.reranker.judging import reranked_products


class Lengths:
    """Says of a pair how long its title is."""

    def score(self, queries: Sequence[str], titles: Sequence[str]) -> np.ndarray:
        assert len(queries) == len(titles)
        return np.array([len(title) for title in titles], dtype=np.float32)


def test_both_stages_count() -> None:
    """A logit that is larger by 2 is worth a cosine that is larger by 0.1, no more."""
    near = [Candidate("a", "1234", 0.90), Candidate("b", "123456", 0.81), Candidate("c", "123456", 0.79)]
    behind = [Candidate("d", "1" * 99, 0.5), Candidate("e", "1" * 99, 0.4)]
    found = reranked_products(Lengths(), {"sofa": [*near, *behind], "lamp": []}, reranked=3)  # type: ignore[arg-type]
    assert [product for product, _ in found["sofa"]] == ["b", "a", "c", "d", "e"]
    scores = [score for _, score in found["sofa"]]
    assert scores == sorted(scores, reverse=True)
    assert found["lamp"] == []
