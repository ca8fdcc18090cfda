"""Splitting by query, and batches of distinct texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trident.data.pairs import Pairs, normalized_query, query_hashes
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.errors import DataError
from trident_train.data.splits import SplitPairs, split_pairs, trained_share
from trident_train.loop.batches import UNJUDGED, BatchPlan, TokenizedPairs, gather_batch, plan_epoch, tokenize_pairs
from trident_train.model.encoder import length_groups
from trident_train.recipe import Batches, DataRecipe, LossRecipe, OptimizerRecipe

RECIPE = DataRecipe(pairs="pairs.csv", validation_share=0.2, test_share=0.3)


def make_pairs(queries: int = 50, splits: list[str] | None = None) -> Pairs:
    names = [f"{'Query' if pair else 'query'} {number}" for number in range(queries) for pair in range(2)]
    titles = [f"product {number} {pair}" for number in range(queries) for pair in range(2)]
    labels = np.array([pair for _ in range(queries) for pair in range(2)], dtype=np.int8)
    return Pairs(names, titles, labels, labels.astype(np.float32), titles, splits)


def queries_of(pairs: Pairs) -> set[str]:
    return {normalized_query(query) for query in pairs.queries}


def test_no_query_is_in_two_splits_whatever_its_spelling() -> None:
    parts = split_pairs(make_pairs(), RECIPE, "x.csv")
    train, validation, test = queries_of(parts.train), queries_of(parts.validation), queries_of(parts.test)
    assert not train & validation
    assert not train & test
    assert not validation & test
    assert (len(train), len(validation), len(test)) == (25, 10, 15)


def test_the_order_of_the_file_does_not_matter() -> None:
    pairs = make_pairs()
    other = pairs.take(np.random.default_rng(0).permutation(len(pairs)).tolist())
    assert queries_of(split_pairs(pairs, RECIPE, "x.csv").test) == queries_of(split_pairs(other, RECIPE, "x.csv").test)


def test_another_seed_gives_another_split() -> None:
    other = DataRecipe(pairs="pairs.csv", validation_share=0.2, test_share=0.3, split_seed=1)
    assert queries_of(split_pairs(make_pairs(), RECIPE, "x.csv").test) != queries_of(
        split_pairs(make_pairs(), other, "x.csv").test
    )


def test_a_split_column_is_used() -> None:
    splits = [name for name in ("train", "validation", "test") for _ in range(2)]
    parts: SplitPairs = split_pairs(make_pairs(3, splits), RECIPE, "x.csv")
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [2, 2, 2]


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (
            ["train", "test", "validation", "validation", "test", "test"],
            "no query may stand in two splits, got 'query 0'",
        ),
        (
            ["train", "train", "validatoin", "validatoin", "test", "test"],
            r"split must be one of train, validation, test, got 'validatoin' in row 3 of x.csv \(did you mean",
        ),
        (["train"] * 6, "the split column of x.csv must name a test split, got train only"),
        (["dev"] * 4 + ["test"] * 2, "the split column of x.csv must name a train split, got test, validation only"),
    ],
)
def test_split_columns_that_lie_are_refused(splits: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_pairs(make_pairs(3, splits), RECIPE, "x.csv")


def test_validation_is_taken_from_train_where_a_column_names_none(caplog: pytest.LogCaptureFixture) -> None:
    splits = ["Train "] * 16 + ["TEST"] * 4
    with caplog.at_level("INFO"):
        parts = split_pairs(make_pairs(10, splits), DataRecipe(pairs="x.csv", validation_share=0.25), "x.csv")
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [12, 4, 4]
    assert "x.csv: its split column names no validation split, 2 of its 8 train queries validate" in caplog.text
    again = split_pairs(make_pairs(10, splits), DataRecipe(pairs="x.csv", validation_share=0.25), "x.csv")
    assert queries_of(again.validation) == queries_of(parts.validation)


@pytest.mark.parametrize("name", ["dev", "val", "Valid"])
def test_other_names_of_the_validation_split(name: str) -> None:
    splits = ["train", "train", name, name, "test", "test"]
    assert len(split_pairs(make_pairs(3, splits), RECIPE, "x.csv").validation) == 2


def test_trained_queries_are_known_again() -> None:
    trained = query_hashes(["Red  Kettle", "lamp"])
    assert trained_share(["red kettle", "sofa"], trained) == 0.5
    assert trained_share(["sofa"], trained) == 0.0


@pytest.fixture(scope="module")
def tokenizer(tiny_model: object) -> TextTokenizer:
    return TextTokenizer.load(tiny_model, TextContract())  # type: ignore[arg-type]


def plan(
    sources: list[TokenizedPairs], loss: LossRecipe | None = None, *, seed: int = 1, epoch: int = 1, **options: Any
) -> list[BatchPlan]:
    mined = options.pop("mined", 0)
    optimizer = OptimizerRecipe(**{"batch_size": 8, **options})
    return plan_epoch(sources, loss or LossRecipe(), optimizer, seed=seed, epoch=epoch, mined=mined)


def test_batches_hold_each_text_once_and_every_pair(tokenizer: TextTokenizer) -> None:
    pairs = make_pairs(20)
    tokenized = tokenize_pairs(pairs, tokenizer)
    seen = []
    for batch in (gather_batch(tokenized, item) for item in plan([tokenized])):
        assert len(batch.query_rows) == len({tuple(row) for row in batch.query_rows}) <= len(batch.labels) <= 8
        for query, product, label in zip(
            batch.pair_query.tolist(), batch.pair_product.tolist(), batch.labels.tolist(), strict=True
        ):
            seen.append((tuple(batch.query_rows[query]), tuple(batch.product_rows[product]), label))
            assert bool(batch.positives[query, product]) == (label == 1.0)
    rows = zip(
        tokenizer.token_ids(pairs.queries, "query"),
        tokenizer.token_ids(pairs.titles, "product"),
        pairs.labels.tolist(),
        strict=True,
    )
    assert sorted(seen) == sorted((tuple(query), tuple(title), float(label)) for query, title, label in rows)


def test_epochs_are_shuffled_by_seed_and_number(tokenizer: TextTokenizer) -> None:
    tokenized = tokenize_pairs(make_pairs(20), tokenizer)
    first = plan([tokenized])
    assert first == plan([tokenized])
    assert first != plan([tokenized], epoch=2)
    assert first != plan([tokenized], seed=2)
    assert sorted(pair for item in first for pair in item.pairs) == list(range(40))


def test_infonce_units_are_a_positive_and_negatives_of_its_query(tokenizer: TextTokenizer) -> None:
    tokenized = tokenize_pairs(make_pairs(20), tokenizer)
    for item in plan([tokenized], LossRecipe(name="infonce", hard_negatives=2), batch_size=1):
        assert tokenized.labels[list(item.pairs)].tolist() == [1.0, 0.0]  # one negative a query is all there is
        assert len(set(tokenized.pair_query[list(item.pairs)].tolist())) == 1
    none = tokenize_pairs(make_pairs(20).take(range(0, 40, 2)), tokenizer)
    with pytest.raises(DataError, match="infonce needs relevant pairs, got none"):
        plan([none], LossRecipe(name="infonce"))


def test_cosent_beside_infonce_sees_queries_without_a_relevant_product(tokenizer: TextTokenizer) -> None:
    tokenized = tokenize_pairs(make_pairs(2).take([0, 1, 2]), tokenizer)  # the second query has an irrelevant product
    alone = plan([tokenized], LossRecipe(name="infonce"))
    beside = plan([tokenized], LossRecipe(name="infonce", cosent_weight=0.1))
    assert sorted(pair for item in alone for pair in item.pairs) == [0, 1]
    assert sorted(pair for item in beside for pair in item.pairs) == [0, 1, 2]


def test_positives_of_a_query_are_drawn_anew_each_epoch(tokenizer: TextTokenizer) -> None:
    titles = [f"product {number}" for number in range(40)]
    labels = np.ones(40, dtype=np.int8)
    pairs = Pairs([f"query {number // 20}" for number in range(40)], titles, labels, labels.astype(np.float32), titles)
    loss = LossRecipe(name="infonce", positives_per_query=3)
    epochs = [plan([tokenize_pairs(pairs, tokenizer)], loss, epoch=epoch) for epoch in (1, 2)]
    drawn = [{pair for item in epoch for pair in item.pairs} for epoch in epochs]
    assert [len(pairs) for pairs in drawn] == [6, 6]
    assert drawn[0] != drawn[1]


def test_mined_negatives_are_unjudged_and_join_the_units_of_their_query(tokenizer: TextTokenizer) -> None:
    mined = [(1, f"mined {number}") for number in range(5)] + [(3, "mined elsewhere")]
    tokenized = tokenize_pairs(make_pairs(4), tokenizer, mined=mined)
    assert tokenized.labels[-6:].tolist() == [UNJUDGED] * 6
    of_query: dict[int, int] = {}
    for item in plan([tokenized], LossRecipe(name="infonce"), batch_size=1, mined=2):
        query = int(tokenized.pair_query[item.pairs[0]])
        of_query[query] = sum(tokenized.labels[pair] == UNJUDGED for pair in item.pairs)
    assert of_query == {0: 2, 1: 1, 2: 0, 3: 0}
    batch = gather_batch(tokenized, BatchPlan(0, tuple(range(len(tokenized.labels)))))
    assert int(batch.positives.sum()) == 4


def test_a_batch_is_of_one_source_and_a_source_may_repeat(tokenizer: TextTokenizer) -> None:
    sources = [tokenize_pairs(make_pairs(8), tokenizer), tokenize_pairs(make_pairs(2), tokenizer, repeat=3)]
    plans = plan(sources)
    assert sorted((item.source, len(item.pairs)) for item in plans) == [(0, 8), (0, 8), (1, 4), (1, 4), (1, 4)]
    assert [item.source for item in plans] != sorted(item.source for item in plans)


def test_rows_of_similar_length_are_run_together() -> None:
    lengths = [5, 60, 6, 58, 7, 59] * 40
    groups = length_groups(lengths)
    assert sorted(number for group in groups for number in group) == list(range(len(lengths)))
    padded = sum(len(group) * max(lengths[number] for number in group) for group in groups)
    assert padded < 1.1 * sum(lengths)
    assert length_groups([3, 9, 4]) == [[1, 2, 0]]  # too few tokens for runs of their own


def test_queries_that_share_products_meet_in_a_batch(tokenizer: TextTokenizer) -> None:
    titles = [f"title {number // 10}" for number in range(200)]  # ten queries a product
    queries = [f"words {number}" for number in range(200)]
    labels = np.ones(200, dtype=np.int8)
    tokenized = tokenize_pairs(Pairs(queries, titles, labels, labels.astype(np.float32), titles), tokenizer)

    def products(batches: Batches) -> list[int]:
        loss = LossRecipe(name="infonce")
        plans = plan([tokenized], loss, batch_size=20, batches=batches)
        assert sorted(pair for item in plans for pair in item.pairs) == list(range(200))
        return [len(gather_batch(tokenized, item).product_rows) for item in plans]

    assert products("by_product") == [2] * 10
    assert min(products("shuffled")) > 8
    meets = [
        {frozenset(item.pairs) for item in plan([tokenized], epoch=epoch, batch_size=20, batches="by_product")}
        for epoch in (1, 2)
    ]
    assert meets[0] != meets[1]
