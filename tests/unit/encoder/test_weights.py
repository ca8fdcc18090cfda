"""Weights that are not the model's: cut off, not there, or of another architecture; each is refused in a line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import BertConfig, BertForMaskedLM, RobertaConfig, RobertaModel

from trident.encoder.base_model import find_model
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.encoder.weights import usable_positions
from trident.errors import ModelError
from trident_export.merge.merge import load_backbone as load_for_export
from trident_train.model.encoder import Encoder
from trident_train.model.encoder import load_backbone as load_for_training

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 4500000\n"
LOADERS = [load_for_training, load_for_export]


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def rewritten(model: Path, weights: dict[str, Any], **config: Any) -> Path:
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    found = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**found, **config}))
    return model


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "config.json", "model.safetensors.index.json", "pytorch_model.bin"]
)
def test_a_pointer_of_git_lfs_is_named(model: Path, name: str) -> None:
    if name not in ("tokenizer.json", "config.json"):
        (model / "model.safetensors").unlink()
    (model / name).write_text(POINTER)
    with pytest.raises(ModelError, match=rf"{name} is a pointer of Git LFS, not the file: run git lfs pull in .*model"):
        find_model(str(model))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_file_that_was_cut_off_is_named(model: Path, share: float) -> None:
    whole = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError, match=r"weights .*model\.safetensors are damaged: it .*; download the file again"):
        find_model(str(model))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_file_of_pytorch_that_was_cut_off_is_named(model: Path, share: float) -> None:
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()
    assert find_model(str(model)) == model
    whole = (model / "pytorch_model.bin").read_bytes()
    (model / "pytorch_model.bin").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError, match=r"pytorch_model\.bin are damaged: it (is empty|was cut off); download"):
        find_model(str(model))


def test_what_is_no_file_of_safetensors_is_named(model: Path) -> None:
    (model / "model.safetensors").write_bytes((20).to_bytes(8, "little") + b"<html>Not Found</html>" + b" " * 40)
    with pytest.raises(ModelError, match=r"are damaged: it has no header of safetensors"):
        find_model(str(model))


@pytest.mark.parametrize(("single", "suffix"), [("model.safetensors", "safetensors"), ("pytorch_model.bin", "bin")])
def test_shards_are_read_in_both_forms(model: Path, single: str, suffix: str) -> None:
    whole = load_file(model / "model.safetensors")
    reference = load_for_training(model).state_dict()
    names = sorted(whole)
    shards = {f"{single.removesuffix('.' + suffix)}-{n + 1:05}-of-00002.{suffix}": names[n::2] for n in range(2)}
    for file, part in shards.items():
        weights = {name: whole[name] for name in part}
        save_file(weights, model / file, metadata={"format": "pt"}) if suffix != "bin" else torch.save(
            weights, model / file
        )
    (model / "model.safetensors").unlink()
    index = {
        "metadata": {"total_size": 1},
        "weight_map": {name: file for file, part in shards.items() for name in part},
    }
    (model / f"{single}.index.json").write_text(json.dumps(index))
    found = load_for_training(find_model(str(model))).state_dict()
    assert all(torch.equal(found[name], value) for name, value in reference.items())
    (model / list(shards)[1]).unlink()
    with pytest.raises(ModelError, match=rf"weights .*00002-of-00002\.{suffix} are missing: download the model folder"):
        find_model(str(model))
    (model / f"{single}.index.json").write_text("{}")
    with pytest.raises(ModelError, match=rf"index of weights .*{single}\.index\.json cannot be read: KeyError"):
        find_model(str(model))


# --- names and sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", LOADERS)
def test_weights_of_other_names_are_refused(model: Path, load: Any) -> None:
    weights = {f"text_model.{name}": value for name, value in load_file(model / "model.safetensors").items()}
    words = (
        r"weights of .*model do not fit its config\.json \(missing embeddings\.LayerNorm\.bias and \d+ more, "
        r"unexpected text_model\.embeddings\.LayerNorm\.bias and \d+ more\): what is missing would be drawn at random"
    )
    with pytest.raises(ModelError, match=words):
        load(rewritten(model, weights))


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (3, r"\(missing encoder\.layer\.2\.attention\.output\.LayerNorm\.bias and 15 more\)"),
        (1, r"\(unexpected encoder\.layer\.1\.attention\.output\.LayerNorm\.bias and 15 more\)"),
    ],
)
def test_more_or_fewer_layers_than_the_file_has_are_refused(model: Path, load: Any, layers: int, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        load(rewritten(model, load_file(model / "model.safetensors"), num_hidden_layers=layers))


@pytest.mark.parametrize("load", LOADERS)
def test_one_missing_weight_is_refused(model: Path, load: Any) -> None:
    weights = load_file(model / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    with pytest.raises(ModelError, match=r"\(missing encoder\.layer\.1\.output\.dense\.weight\)"):
        load(rewritten(model, weights))


@pytest.mark.parametrize("load", LOADERS)
def test_other_sizes_are_refused(model: Path, load: Any) -> None:
    words = r"\(encoder\.layer\.0\.intermediate\.dense\.bias is 64 in the file and 96 in the model, 6 of this kind\)"
    with pytest.raises(ModelError, match=words):
        load(rewritten(model, load_file(model / "model.safetensors"), intermediate_size=96))


@pytest.mark.parametrize("load", LOADERS)
def test_a_model_with_a_head_and_without_a_pooler_is_taken(model: Path, load: Any) -> None:
    config = BertConfig.from_pretrained(str(model))
    torch.manual_seed(1)
    whole = BertForMaskedLM(config)
    whole.save_pretrained(str(model))
    found = load(model).state_dict()
    assert torch.equal(found["encoder.layer.1.output.dense.weight"], whole.bert.encoder.layer[1].output.dense.weight)


def test_a_folder_that_transformers_cannot_load_is_one_line(model: Path) -> None:
    (model / "config.json").write_text('{"model_type": "no_such_model"}')
    with pytest.raises(ModelError, match=r"^model folder .*model cannot be loaded: .*no_such_model[^\n]*$"):
        load_for_training(model)


# --- positions and vocabulary ----------------------------------------------------------------------------------------


def test_roberta_counts_positions_from_its_padding(model: Path) -> None:
    config = RobertaConfig(
        vocab_size=600, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=34, pad_token_id=1, type_vocab_size=1,
    )  # fmt: skip
    roberta = RobertaModel(config)
    assert usable_positions(roberta) == 32
    assert usable_positions(load_for_training(model)) == 128
    size = Tokenizer.from_file(str(model / "tokenizer.json")).get_vocab_size()
    RobertaModel(RobertaConfig(**{**config.to_dict(), "vocab_size": size})).save_pretrained(str(model))
    for longest in (33, 34):
        contract = TextContract(query_max_tokens=8, product_max_tokens=longest)
        with pytest.raises(
            ModelError, match=rf"max_tokens must be <= 32, the positions of .*, got {longest}: set both"
        ):
            Encoder.load(model, contract)
    encoder = Encoder.load(model, TextContract(query_max_tokens=8, product_max_tokens=32))
    assert encoder.embed(["red kettle " * 40], "product").shape == (1, 32)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(model: Path) -> None:
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    tokenizer.add_tokens(["<brand>"])
    tokenizer.save(str(model / "tokenizer.json"))
    words = rf"must fit the {size:,} embeddings of the model .*, got token '<brand>' with id {size}: take the tokenizer"
    with pytest.raises(ModelError, match=words):
        Encoder.load(model, TextContract())
    with pytest.raises(ModelError, match=words):
        TextTokenizer.load(model, TextContract())
