"""Models in training embed and score on the kernels what they embed and score by PyTorch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from trident.encoder.base_model import find_model
from trident_train.model import encoder as encoder_module
from trident_train.model.arms import arm_of
from trident_train.model.encoder import Encoder
from trident_train.model.kernel_twin import kernel_twin, pair_twin
from trident_train.recipe import LoraRecipe, TrainRecipe
from trident_train.reranker import model as model_module
from trident_train.reranker.model import CrossEncoder, reranker_arm

TITLES = ["Alba sofa red", "Borex lamp", "Cimar rake green, for gardens", "Alba sofa red", "x"] * 8


def move(model: torch.nn.Module) -> None:
    """Change what trains, as steps would."""
    torch.manual_seed(7)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.05)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_many_texts_are_embedded_by_the_kernels_as_by_pytorch(
    tiny_recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch, method: str, pooling: str
) -> None:
    recipe = dataclasses.replace(
        tiny_recipe,
        method=method,  # type: ignore[arg-type]
        lora=LoraRecipe(rank=4, targets=("all-linear",)),
        text=dataclasses.replace(tiny_recipe.text, pooling=pooling),  # type: ignore[arg-type]
    )
    plain = Encoder.load(find_model(recipe.base_model), recipe.text)
    encoder = Encoder(arm_of(plain.model, recipe), plain.tokenizer)
    move(encoder.model)
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    expected = encoder.embed(TITLES, "product")
    monkeypatch.setattr(encoder_module, "FEWEST_TEXTS", 2)
    counted: list[int] = []
    found = encoder.embed(TITLES, "product", progress=counted.append)
    assert sum(counted) == len(set(TITLES))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not np.array_equal(found, expected)  # by another sum: the kernels were asked
    assert all(torch.equal(value, encoder.model.state_dict()[name]) for name, value in before.items())


def test_adapters_that_are_disabled_are_not_in_the_twin(tiny_recipe: TrainRecipe) -> None:
    """As `trident evaluate` asks the pretrained model of a run, of enough texts for the kernels."""
    texts = [f"sofa {number} red {number // 7}" for number in range(encoder_module.FEWEST_TEXTS)]
    recipe = dataclasses.replace(tiny_recipe, lora=LoraRecipe(rank=4, targets=("all-linear",)))
    plain = Encoder.load(find_model(recipe.base_model), recipe.text)
    expected = plain.embed(texts, "product")
    encoder = Encoder(arm_of(plain.model, recipe), plain.tokenizer)
    move(encoder.model)
    trained = encoder.embed(texts, "product")
    with encoder.model.disable_adapter():
        found = encoder.embed(texts, "product")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not np.allclose(trained, expected, atol=1e-3)
    np.testing.assert_array_equal(encoder.embed(texts, "product"), trained)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_many_pairs_are_scored_by_the_kernels_as_by_pytorch(
    tiny_recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    recipe = dataclasses.replace(
        tiny_recipe,
        method=method,  # type: ignore[arg-type]
        lora=LoraRecipe(rank=4, targets=("all-linear",)),
    )
    plain = CrossEncoder.load(find_model(recipe.base_model), recipe.text)
    reranker = CrossEncoder(reranker_arm(plain.model, recipe), plain.tokenizer)
    move(reranker.model)
    queries = [title.split()[-1] for title in TITLES[::-1]]
    reranker.model.train()
    expected = reranker.score(queries, TITLES)
    monkeypatch.setattr(model_module, "FEWEST_TEXTS", 2)
    counted: list[int] = []
    found = reranker.score(queries, TITLES, batch_size=16, progress=counted.append)
    assert counted == [16, 16, 8]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not np.array_equal(found, expected)  # by another sum: the kernels were asked
    assert len(set(found.tolist())) == 5
    assert reranker.model.training


def test_what_the_kernels_do_not_run_is_left_to_pytorch(tiny_recipe: TrainRecipe) -> None:
    model = Encoder.load(find_model(tiny_recipe.base_model), tiny_recipe.text).model
    model.config.hidden_act = "relu"
    assert kernel_twin(model, tiny_recipe.text) is None
    pairs = CrossEncoder.load(find_model(tiny_recipe.base_model), tiny_recipe.text).model
    assert pair_twin(pairs) is not None
    pairs.config.hidden_act = "relu"
    assert pair_twin(pairs) is None
