"""Candidates as a run judges and mines them: both stages' scores in equal shares, the rest behind as it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from trident.data.catalogue import Catalogue
from trident.data.pairs import Pairs
from trident_train.data.sources import Source
from trident_train.data.splits import SplitPairs
from trident_train.recipe import DataRecipe, LossRecipe, NegativesRecipe, RerankerRecipe, SourceRecipe, TrainRecipe
from trident_train.reranker.first_stage import Candidate, Candidates, mine
from trident_train.reranker.judging import reranked_products
from trident_train.trainees import Setting


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


def test_model_numbers_stand_in_front_as_they_are_served() -> None:
    """As ``FoundProducts.order`` has it: among all candidates, those behind the reranked ones too."""
    near = [Candidate("a", "1", 0.5, 1), Candidate("b", "12", 0.9), Candidate("c", "123456", 0.4, 1)]
    behind = [Candidate("d", "1", 0.3, 2), Candidate("e", "1", 0.2, 1), Candidate("f", "1", 0.1)]
    found = reranked_products(Lengths(), {"x200": [*near, *behind]}, reranked=3)  # type: ignore[arg-type]
    assert found["x200"] == [(product, -float(place)) for place, product in enumerate("dcaebf")]


JUDGED = Pairs(
    queries=["acme x200", "Acme X200"],
    titles=["Acme X200 headphones", "Acme Z9"],
    labels=np.array([1, 0], dtype=np.int8),
    grades=np.array([1, 0], dtype=np.float32),
    product_ids=["B01", "B09"],
)


PRODUCTS = (
    ("B01", "Acme X200 wireless"),
    ("B02", "Acme cable"),
    ("B03", "Acme X200 wireless"),
    ("B04", "Acme Z9"),
    ("B05", "Tin"),
)


class Found:
    """Finds the same products for every query; the catalogue has another title of B01 than the pairs."""

    def candidates(self, queries: Sequence[str], depth: int) -> Candidates:
        return {query: [Candidate(*each, 0.5) for each in PRODUCTS][:depth] for query in queries}


def test_judged_products_are_mined_by_neither_id_nor_title() -> None:
    for from_rank, every_positive_known, expected in (
        (1, False, ["Acme cable", "Tin"]),
        (3, False, ["Tin"]),
        (3, True, ["Acme cable", "Tin"]),
    ):
        recipe = NegativesRecipe(mined=4, from_rank=from_rank, to_rank=20)
        mined = mine(Found(), JUDGED, recipe, every_positive_known=every_positive_known)  # type: ignore[arg-type]
        assert mined == [(0, title) for title in expected]


def test_mined_candidates_of_many_queries_are_thinned_out() -> None:
    recipe = NegativesRecipe(mined=1, from_rank=1, to_rank=20)
    mined = mine(Found(), JUDGED, recipe, every_positive_known=False, most=1)  # type: ignore[arg-type]
    assert mined == [(0, "Acme cable")]


def relevant_pair(query: str) -> Pairs:
    one = np.ones(1)
    return Pairs([query], ["Tin"], one.astype(np.int8), one.astype(np.float32), ["B05"])


def test_made_queries_are_in_no_split_of_any_source() -> None:
    catalogue = Catalogue(["B06", "B07"], ["Red lamp big", "Blue sofa"], pa.table({"colour": ["red", "blue"]}))
    own = SourceRecipe(pairs="pairs.csv", catalogue=Path("products.csv"))
    recipe = TrainRecipe(
        stage="reranker",
        data=DataRecipe(sources={"one": own, "two": own}),
        loss=LossRecipe(name="margin"),
        negatives=NegativesRecipe(mined=1),
        reranker=RerankerRecipe(teacher=Path("run"), made_queries=9),
    )
    for place in range(3):
        queries = ["a", "b", "c"]
        queries[place] = "red  Lamp"
        sources = [
            Source(name, own, SplitPairs(*map(relevant_pair, of)), catalogue, None)  # type: ignore[arg-type]
            for name, of in (("one", ("d", "e", "f")), ("two", queries))
        ]
        lesson = Setting(recipe, None, sources, lambda _: None).lesson(sources[0], None)  # type: ignore[arg-type]
        assert lesson.pairs.queries == ["d", "Blue sofa", "Red lamp big"]
