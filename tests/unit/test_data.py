"""Splitting by query, and batches of distinct texts."""

from __future__ import annotations

import numpy as np
import pytest

from trident.errors import DataError
from trident.pairs import Pairs, normalized_query
from trident.text import TextContract
from trident.tokenization import TextTokenizer
from trident_train.batches import batches, epoch_pairs, tokenize_pairs
from trident_train.data import SplitPairs, query_hashes, split_pairs, trained_share
from trident_train.recipe import DataRecipe, LossRecipe

RECIPE = DataRecipe(pairs="pairs.csv", validation_share=0.2, test_share=0.3)


def make_pairs(queries: int = 50, splits: list[str] | None = None) -> Pairs:
    names = [f"{'Query' if pair else 'query'} {number}" for number in range(queries) for pair in range(2)]
    titles = [f"product {number} {pair}" for number in range(queries) for pair in range(2)]
    labels = np.array([pair for _ in range(queries) for pair in range(2)], dtype=np.int8)
    return Pairs(names, titles, labels, labels.astype(np.float32), titles, splits)


def queries_of(pairs: Pairs) -> set[str]:
    return {normalized_query(query) for query in pairs.queries}


def test_no_query_is_in_two_splits_whatever_its_spelling() -> None:
    parts = split_pairs(make_pairs(), RECIPE)
    train, validation, test = queries_of(parts.train), queries_of(parts.validation), queries_of(parts.test)
    assert not train & validation
    assert not train & test
    assert not validation & test
    assert (len(train), len(validation), len(test)) == (25, 10, 15)


def test_the_order_of_the_file_does_not_matter() -> None:
    pairs = make_pairs()
    other = pairs.take(np.random.default_rng(0).permutation(len(pairs)).tolist())
    assert queries_of(split_pairs(pairs, RECIPE).test) == queries_of(split_pairs(other, RECIPE).test)


def test_another_seed_gives_another_split() -> None:
    other = DataRecipe(pairs="pairs.csv", validation_share=0.2, test_share=0.3, split_seed=1)
    assert queries_of(split_pairs(make_pairs(), RECIPE).test) != queries_of(split_pairs(make_pairs(), other).test)


def test_a_split_column_is_used() -> None:
    splits = [name for name in ("train", "validation", "test") for _ in range(2)]
    parts: SplitPairs = split_pairs(make_pairs(3, splits), RECIPE)
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [2, 2, 2]


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (
            ["train", "test", "validation", "validation", "test", "test"],
            "no query may stand in two splits, got 'query 0'",
        ),
        (["train", "train", "dev", "dev", "test", "test"], "split must be one of train, validation, test, got 'dev'"),
        (
            ["train", "train", "train", "train", "test", "test"],
            "the validation split must hold relevant and irrelevant",
        ),
    ],
)
def test_split_columns_that_lie_are_refused(splits: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_pairs(make_pairs(3, splits), RECIPE)


def test_trained_queries_are_known_again() -> None:
    trained = query_hashes(["Red  Kettle", "lamp"])
    assert trained_share(["red kettle", "sofa"], trained) == 0.5
    assert trained_share(["sofa"], trained) == 0.0


@pytest.fixture(scope="module")
def tokenizer(tiny_model: object) -> TextTokenizer:
    return TextTokenizer.load(tiny_model, TextContract())  # type: ignore[arg-type]


def test_batches_hold_each_text_once_and_every_pair(tokenizer: TextTokenizer) -> None:
    pairs = make_pairs(20)
    tokenized = tokenize_pairs(pairs, tokenizer)
    units = epoch_pairs(tokenized, LossRecipe(), seed=1, epoch=1)
    seen = []
    for batch in batches(tokenized, units, 8):
        assert len(batch.query_rows) == len({tuple(row) for row in batch.query_rows}) <= len(batch.labels)
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
    first = epoch_pairs(tokenized, LossRecipe(), seed=1, epoch=1)
    assert first == epoch_pairs(tokenized, LossRecipe(), seed=1, epoch=1)
    assert first != epoch_pairs(tokenized, LossRecipe(), seed=1, epoch=2)
    assert sorted(first) == [[number] for number in range(40)]


def test_infonce_units_are_a_positive_and_negatives_of_its_query(tokenizer: TextTokenizer) -> None:
    tokenized = tokenize_pairs(make_pairs(20), tokenizer)
    for unit in epoch_pairs(tokenized, LossRecipe(name="infonce", hard_negatives=2), seed=1, epoch=1):
        labels = tokenized.labels[unit].tolist()
        assert labels[0] == 1.0
        assert set(labels[1:]) <= {0.0}
    none = tokenize_pairs(make_pairs(20).take(range(0, 40, 2)), tokenizer)
    with pytest.raises(DataError, match="infonce needs relevant pairs, got none"):
        epoch_pairs(none, LossRecipe(name="infonce"), seed=1, epoch=1)
