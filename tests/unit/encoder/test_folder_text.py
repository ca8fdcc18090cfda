"""What a model folder says about its texts, as sentence-transformers writes it and as we do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trident.encoder.folder_text import read_folder_text
from trident.encoder.text import TextContract
from trident.errors import ModelError


def write(folder: Path, **files: Any) -> Path:
    """Write JSON files; ``__`` in a name is a folder's end."""
    for name, value in files.items():
        path = folder / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value))
    return folder


def modules(*kinds: str, library: str = "sentence_transformers.models") -> list[dict[str, Any]]:
    return [
        {"idx": n, "name": str(n), "path": f"{n}_{kind}" if n else "", "type": f"{library}.{kind}"}
        for n, kind in enumerate(kinds)
    ]


def test_a_plain_folder_says_nothing(tmp_path: Path) -> None:
    said = read_folder_text(tmp_path)
    assert (said.changes, said.words, said.line({})) == ({}, (), None)


@pytest.mark.parametrize(
    ("table", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode": "cls", "embedding_dimension": 8}, "cls"),  # sentence-transformers 6
        ({"pooling_mode": ["mean"]}, "mean"),
    ],
)
def test_pooling_is_taken(tmp_path: Path, table: dict[str, Any], pooling: str) -> None:
    said = read_folder_text(write(tmp_path, **{"1_Pooling__config": table}))
    assert said.changes == {"pooling": pooling}
    assert said.line({}) == (f"the model folder says, and it was taken: pooling '{pooling}' (1_Pooling/config.json)")
    assert said.line({"pooling"}) is None  # the recipe says so


def test_prompts_lengths_case_and_normalisation_are_taken(tmp_path: Path) -> None:
    write(
        tmp_path,
        modules=modules("Transformer", "Pooling", library="sentence_transformers.sentence_transformer.modules"),
        sentence_bert_config={"max_seq_length": 48, "do_lower_case": True},
        config_sentence_transformers={"prompts": {"query": "query: ", "passage": "passage: "}},
    )
    said = read_folder_text(tmp_path)
    assert TextContract(**said.changes) == TextContract(
        query_template="query: {text}",
        product_template="passage: {text}",
        query_max_tokens=48,
        product_max_tokens=48,
        lowercase=True,
    )
    line = said.line({"query_max_tokens"})
    assert line is not None
    assert "product_max_tokens 48 (sentence_bert_config.json)" in line
    assert "query_template 'query: {text}' (config_sentence_transformers.json)" in line
    assert "embeddings of unit length all the same (modules.json has no Normalize)" in line
    assert "query_max_tokens" not in line


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"prompts": {"query": "", "document": ""}, "default_prompt_name": None}, {}),
        ({"prompts": {"query": "q: "}}, {"query_template": "q: {text}"}),
        (
            {"prompts": {"retrieval": "find: ", "document": ""}, "default_prompt_name": "retrieval"},
            {"query_template": "find: {text}"},
        ),
        ({"prompts": {"query": "q: ", "document": "d: ", "passage": "p: "}}, None),
        ({"__version__": {"sentence_transformers": "2.0.0"}}, {}),
    ],
)
def test_the_names_of_prompts_are_those_of_the_library(
    tmp_path: Path, table: dict[str, Any], expected: dict[str, str] | None
) -> None:
    said = read_folder_text(write(tmp_path, config_sentence_transformers=table))
    assert said.changes == (
        expected if expected is not None else {"query_template": "q: {text}", "product_template": "d: {text}"}
    )


def test_a_maximum_length_is_a_limit(tmp_path: Path) -> None:
    assert read_folder_text(write(tmp_path, sentence_bert_config={"max_seq_length": 512})).changes == {}
    said = read_folder_text(write(tmp_path, sentence_bert_config={"max_seq_length": 100}))
    assert said.changes == {"product_max_tokens": 100}


def test_the_files_above_a_folder_that_they_name_count(tmp_path: Path) -> None:
    entries = modules("Transformer", "Pooling")
    entries[0]["path"] = "0_Transformer"
    write(tmp_path, modules=entries, **{"1_Pooling__config": {"pooling_mode_cls_token": True}})
    write(tmp_path / "0_Transformer", config={})
    write(tmp_path / "another", config={})
    assert read_folder_text(tmp_path / "0_Transformer").changes == {"pooling": "cls"}
    assert read_folder_text(tmp_path / "another").changes == {}


def test_our_own_file_comes_first(tmp_path: Path) -> None:
    contract = TextContract(query_template="query: {text}", product_max_tokens=96)
    contract.save(write(tmp_path, **{"1_Pooling__config": {"pooling_mode_cls_token": True}}))
    said = read_folder_text(tmp_path)
    assert TextContract(**said.changes) == contract
    assert said.words == ("query_template 'query: {text}' (text.json)", "product_max_tokens 96 (text.json)")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"modules": modules("Transformer", "Pooling", "Dense")},
            r"has a module Dense \(2_Dense\), which Trident cannot",
        ),
        (
            {"modules": modules("StaticEmbedding")},
            r"has a module StaticEmbedding, which Trident cannot do: modules\.json",
        ),
        ({"modules": [{"path": ""}]}, r"modules\.json must be a list of modules with type and path, got KeyError"),
        ({"modules": {}}, r"modules\.json must hold a JSON array, got \{\}"),
        ({"modules": "["}, r"modules\.json is not JSON: .*; download the file again"),
        (
            {"1_Pooling__config": {"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True}},
            r"pooling must be mean or cls, .*1_Pooling/config\.json says max_tokens and mean_tokens",
        ),
        (
            {"1_Pooling__config": {"pooling_mode": "lasttoken"}},
            r"must be mean or cls, .* says lasttoken: .* another model",
        ),
        ({"1_Pooling__config": {}}, r"pooling must be mean or cls, .* says none of them"),
        (
            {"1_Pooling__config": {"pooling_mode": "mean", "include_prompt": False}},
            r"leaves prompts out of the pooling",
        ),
        ({"config_sentence_transformers": "version https://git-lfs.github.com/spec/v1\n"}, r"is a pointer of Git LFS"),
    ],
)
def test_what_trident_cannot_do_is_refused(tmp_path: Path, files: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        read_folder_text(write(tmp_path, **files))
