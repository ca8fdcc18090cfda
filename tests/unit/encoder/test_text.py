"""The text contract and the tokenizer bound to it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from trident.encoder.text import Side, TextContract
from trident.encoder.tokenization import TOGETHER, TextTokenizer, pad
from trident.errors import ConfigError, DataError, ModelError

CONTRACT = TextContract(query_max_tokens=8, product_max_tokens=16)


def test_templates_are_filled_and_white_space_is_collapsed() -> None:
    contract = TextContract(query_template="query: {text}", product_template="passage: {text}", lowercase=True)
    assert contract.render("  USB  cable ", "query") == "query: usb cable"
    assert contract.render("USB cable", "product") == "passage: usb cable"


@pytest.mark.parametrize("text", ["", "   ", "\t\n"])
def test_empty_text_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="query must not be empty"):
        CONTRACT.render(text, "query")


def test_rules_of_the_contract() -> None:
    with pytest.raises(ConfigError, match=r"query_template must contain \{text\} exactly once, got 'query:'"):
        TextContract(query_template="query:")
    with pytest.raises(ConfigError, match="product_max_tokens must be >= 3"):
        TextContract(product_max_tokens=2)


def test_contract_round_trip_and_fingerprint(tmp_path: Path) -> None:
    CONTRACT.save(tmp_path)
    assert TextContract.load(tmp_path) == CONTRACT
    for change in ({"pooling": "cls"}, {"lowercase": True}, {"query_max_tokens": 9}, {"query_template": "q {text}"}):
        assert dataclasses.replace(CONTRACT, **change).fingerprint != CONTRACT.fingerprint  # type: ignore[arg-type]


def test_damaged_contract_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"text contract .*text\.json is missing"):
        TextContract.load(tmp_path)
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(ModelError, match="is not JSON"):
        TextContract.load(tmp_path)
    (tmp_path / "text.json").write_text('{"poolling": "mean"}')
    with pytest.raises(ConfigError, match=r"unknown key 'poolling' \(did you mean 'pooling'\?\)"):
        TextContract.load(tmp_path)


@pytest.mark.parametrize(
    "text", ["red kettle", "a", "Café kettle " * 40, "é" * 300, "ヘッドホン", "kettle, 1.5 l / 2000 w"]
)
def test_token_ids_equal_those_of_transformers(tiny_model: Path, text: str) -> None:
    reference = AutoTokenizer.from_pretrained(str(tiny_model))
    tokenizer = TextTokenizer.load(tiny_model, CONTRACT)
    expected = reference([text], truncation=True, max_length=CONTRACT.product_max_tokens)["input_ids"]
    assert tokenizer.token_ids([text], "product") == expected


def test_a_row_does_not_depend_on_its_batch(tiny_model: Path) -> None:
    tokenizer = TextTokenizer.load(tiny_model, CONTRACT)
    texts = ["red kettle", "steel toaster " * 20, "a"]
    together = tokenizer.encode(texts, "query")
    assert together.input_ids.shape == (3, CONTRACT.query_max_tokens)
    for row, text in enumerate(texts):
        alone = tokenizer.encode([text], "query")
        length = alone.input_ids.shape[1]
        np.testing.assert_array_equal(together.input_ids[row, :length], alone.input_ids[0])
        assert together.attention_mask[row].sum() == length


def test_many_texts_and_long_ones_have_the_ids_of_each_alone(tiny_model: Path) -> None:
    """More than go through the tokenizer at once; texts of many characters and few tokens, which are not cut off."""
    tokenizer = TextTokenizer.load(tiny_model, CONTRACT)
    kinds = ["red kettle", "x" * 500, "Café kettle " * 40, "kettle", "red " * 14, "red " * 15, "y" * 500 + " red"]
    alone = [tokenizer.token_ids([text], "product")[0] for text in kinds]
    assert {len(row) for row in alone} >= {3, 4, 16}
    times = TOGETHER // len(kinds) + 5
    assert tokenizer.token_ids(kinds * times, "product") == alone * times
    assert tokenizer.token_ids([], "product") == []


def test_texts_of_both_sides_are_tokenized_together(tiny_model: Path) -> None:
    tokenizer = TextTokenizer.load(tiny_model, TextContract(query_template="query: {text}", product_max_tokens=4))
    asked: list[tuple[str, Side]] = [
        ("a rake", "query"), ("a long green rake", "product"), ("a lamp", "query"), ("a rake", "product"),
    ]  # fmt: skip
    assert tokenizer.token_ids_each(asked) == [tokenizer.token_ids([text], side)[0] for text, side in asked]
    assert tokenizer.token_ids_each([]) == []


def test_pad_to_a_fixed_length() -> None:
    batch = pad([[2, 5, 3], [2, 3]], pad_id=0, length=5)
    assert batch.input_ids.tolist() == [[2, 5, 3, 0, 0], [2, 3, 0, 0, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]
    with pytest.raises(ValueError, match="3 tokens does not fit a length of 2"):
        pad([[2, 5, 3]], pad_id=0, length=2)


def test_folder_without_a_usable_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no tokenizer\.json"):
        TextTokenizer.load(tmp_path, CONTRACT)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be parsed"):
        TextTokenizer.load(tmp_path, CONTRACT)
