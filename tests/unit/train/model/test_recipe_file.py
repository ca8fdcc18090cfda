"""A recipe whose text contract is filled up from what its base model says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from trident.encoder.text import TextContract
from trident.errors import ConfigError, ModelError
from trident_train.model.recipe_file import read_train_recipe


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (folder / "config_sentence_transformers.json").write_text('{"prompts": {"query": "query: "}}')
    return folder


def recipe(folder: Path, model: Path, text: str = "") -> Path:
    path = folder / "recipe.toml"
    path.write_text(f'base_model = "{model}"\n[data]\npairs = "pairs.csv"\n[text]\n{text}\n')
    return path


def test_what_the_folder_says_is_taken_and_told(model: Path, tmp_path: Path) -> None:
    found, said = read_train_recipe(recipe(tmp_path, model, "product_max_tokens = 32"))
    assert found.text == TextContract(pooling="cls", query_template="query: {text}", product_max_tokens=32)
    assert said == (
        "the model folder says, and it was taken: pooling 'cls' (1_Pooling/config.json), "
        "query_template 'query: {text}' (config_sentence_transformers.json)"
    )


def test_the_recipe_has_the_last_word(model: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path, model, 'pooling = "mean"')
    found, said = read_train_recipe(path, ["text.query_template={text}"])
    assert found.text == TextContract()
    assert said is None


def test_our_own_contract_of_an_exported_model_is_taken(model: Path, tmp_path: Path) -> None:
    contract = TextContract(product_template="passage: {text}", product_max_tokens=40)
    contract.save(model)
    found, said = read_train_recipe(recipe(tmp_path, model))
    assert found.text == contract
    assert said is not None
    assert "product_template 'passage: {text}' (text.json), product_max_tokens 40 (text.json)" in said


def test_a_module_that_trident_cannot_do_is_refused_before_any_work(model: Path, tmp_path: Path) -> None:
    entries = [{"type": f"sentence_transformers.models.{kind}", "path": kind} for kind in ("Pooling", "Dense")]
    (model / "modules.json").write_text(json.dumps(entries))
    with pytest.raises(ModelError, match=r"has a module Dense \(Dense\), which Trident cannot do"):
        read_train_recipe(recipe(tmp_path, model))


def test_a_recipe_that_breaks_a_rule_is_refused_first(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'text\.poolling' \(did you mean 'pooling'\?\)"):
        read_train_recipe(recipe(tmp_path, model, 'poolling = "cls"'))
