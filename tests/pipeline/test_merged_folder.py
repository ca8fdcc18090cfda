"""The merged encoder elsewhere: the same embeddings in sentence-transformers; merging twice changes nothing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from trident.encoder.text import Side, TextContract
from trident.generation.generation import find_generation
from trident_export.merge.merge import merge
from trident_train.model.encoder import Encoder
from trident_train.recipe import TrainRecipe
from trident_train.run import train

TEXTS = ["Alba sofa red", "x", "crimson kettle for the kitchen and the garden", "é"]


def same_in_sentence_transformers(folder: Path) -> SentenceTransformer:
    """Hold our embeddings of both sides against the library's, and return its model."""
    model = SentenceTransformer(str(folder), device="cpu")
    contract = TextContract.load(folder)
    ours = Encoder.load(folder, contract)
    sides: list[tuple[Side, str, str]] = [
        ("query", "query", contract.query_template),
        ("product", "document", contract.product_template),
    ]
    for side, name, template in sides:
        prompt = name if template != "{text}" else None
        model.max_seq_length = contract.max_tokens(side)  # the library has one for both sides
        found = model.encode(TEXTS, prompt_name=prompt, normalize_embeddings=False)
        np.testing.assert_allclose(found, ours.embed(TEXTS, side), atol=1e-5)
    return model


def test_the_merged_folder_gives_the_same_embeddings_there(tiny_generations: Path) -> None:
    folder = find_generation(tiny_generations).folder / "encoder"
    assert same_in_sentence_transformers(folder).prompts.get("query", "") == ""


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_templates_are_prompts_there(tiny_recipe: TrainRecipe, tmp_path: Path, pooling: str) -> None:
    text = TextContract(
        query_template="query: {text}",
        product_template="passage: {text}",
        query_max_tokens=24,
        product_max_tokens=24,
        pooling=pooling,  # type: ignore[arg-type]
        lowercase=True,
    )
    optimizer = dataclasses.replace(tiny_recipe.optimizer, epochs=1)
    train(dataclasses.replace(tiny_recipe, text=text, optimizer=optimizer), tmp_path / "run")
    (tmp_path / "merged").mkdir()
    merge(tmp_path / "run", tmp_path / "merged")
    model = same_in_sentence_transformers(tmp_path / "merged")
    assert {name: model.prompts[name] for name in ("query", "document")} == {
        "query": "query: ",
        "document": "passage: ",
    }


def test_merging_twice_changes_nothing(tiny_run: Path, tmp_path: Path) -> None:
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        proof = merge(tiny_run, tmp_path / name)
        assert proof.adapter
        assert proof.difference_to_base > 1e-3
        assert proof.difference_to_adapter < 1e-4
    names = sorted(path.name for path in (tmp_path / "once").iterdir() if path.is_file())
    assert "model.safetensors" in names
    for name in names:
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name
    # the merged folder as a run of whole weights: nothing left to merge
    whole = tmp_path / "whole"
    (tmp_path / "once").rename(tmp_path / "model")
    whole.mkdir()
    (tmp_path / "model").rename(whole / "model")
    TextContract.load(whole / "model").save(whole)
    (tmp_path / "third").mkdir()
    proof = merge(whole, tmp_path / "third")
    assert not proof.adapter
    weights = [folder / "model.safetensors" for folder in (tmp_path / "third", tmp_path / "again")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert json.loads((tmp_path / "third" / "modules.json").read_text())[2]["type"].endswith("Normalize")
