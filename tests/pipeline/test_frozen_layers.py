"""Layers that nothing trains are run once a text: the same losses, gradients and bits, and the same run folder."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_encoders import saved, some_rows
from transformers import AutoModel, BertConfig, MPNetConfig, PreTrainedConfig, RobertaConfig, XLMRobertaConfig

from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident_export.merge.merge import merge
from trident_train.loop.loop import Step, Training
from trident_train.model import frozen_layers
from trident_train.model.arms import arm_of
from trident_train.model.encoder import Encoder, TwoSides, load_backbone
from trident_train.model.frozen_layers import FrozenLayers
from trident_train.recipe import CheckpointRecipe, DataRecipe, LoraRecipe, OptimizerRecipe, TrainRecipe
from trident_train.report.run_folder import load_run
from trident_train.run import Event, train

SIZES = {"vocab_size": 90, "num_hidden_layers": 4, "max_position_embeddings": 80, "hidden_size": 48}
SIZES |= {"num_attention_heads": 4, "intermediate_size": 96}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
MODELS: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**SIZES, **NO_DROPOUT),
    "roberta": RobertaConfig(**SIZES, **NO_DROPOUT, pad_token_id=1),
    "xlm-roberta": XLMRobertaConfig(**SIZES, **NO_DROPOUT, pad_token_id=1),
}
LORA = LoraRecipe(rank=4, targets=("all-linear",), top_layers=2)
WEIGHTS = "adapter/adapter_model.safetensors"


class OtherTokenizer:
    """What an encoder asks of a tokenizer when it is given token ids."""

    def __init__(self, contract: TextContract, pad_id: int) -> None:
        self.contract, self.pad_id = contract, pad_id


def adapted(config: PreTrainedConfig, folder: Path, pooling: str = "mean", **options: Any) -> tuple[Encoder, Encoder]:
    """Return one model with random adapters on its upper layers as two encoders: whole, and with frozen layers."""
    contract = TextContract(pooling=pooling)  # type: ignore[arg-type]
    recipe = TrainRecipe(
        data=DataRecipe(pairs="never-read.csv"), text=contract, lora=LORA, optimizer=OptimizerRecipe(**options)
    )
    model = arm_of(load_backbone(saved(config, folder, scale=3)), recipe)
    torch.manual_seed(7)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.05)
    tokenizer: Any = OtherTokenizer(contract, pad_id=config.pad_token_id or 0)
    frozen = FrozenLayers.of(model, recipe, contract, pad_id=tokenizer.pad_id)
    assert frozen is not None
    assert frozen.count == 2
    return Encoder(model, tokenizer), Encoder(model, tokenizer, frozen=frozen)


def step(encoder: Encoder, rows: list[list[int]]) -> tuple[float, dict[str, torch.Tensor]]:
    """Return a loss of both sides and its gradients, by name."""
    encoder.model.zero_grad()
    encoder.model.train()
    queries, products = TwoSides(encoder)(rows[:9], rows[9:])
    loss = torch.logsumexp(queries @ products.T / 0.1, dim=1).mean()
    loss.backward()
    trained = {name: value for name, value in encoder.model.named_parameters() if value.requires_grad}
    return loss.item(), {name: value.grad.clone() for name, value in trained.items() if value.grad is not None}


@pytest.mark.parametrize("by", ["kernels", "pytorch"])
@pytest.mark.parametrize("name", MODELS)
def test_a_step_is_that_of_all_layers(name: str, by: str, tmp_path: Path) -> None:
    whole, frozen = adapted(MODELS[name], tmp_path)
    rows = some_rows(30, vocabulary=90)
    assert frozen.frozen is not None
    assert frozen.frozen.kernels is not None
    if by == "pytorch":
        frozen.frozen.kernels = None
    (expected, gradients), (found, others) = step(whole, rows), step(frozen, rows)
    assert found == pytest.approx(expected, abs=1e-5)
    assert set(others) == set(gradients)
    assert len(others) == 2 * 2 * 6  # of two layers only, A and B of each linear layer
    assert all(int(part) >= 2 for key in others for part in key.split(".") if part.isdigit())
    for key, value in gradients.items():
        torch.testing.assert_close(others[key], value, atol=2e-5, rtol=2e-4)
    assert frozen.model.training
    assert all(module.training for module in frozen.model.modules())  # the layers below were not, for a moment


def test_checkpointing_gives_the_same_gradients(tmp_path: Path) -> None:
    rows = some_rows(12, vocabulary=90)
    _, frozen = adapted(MODELS["bert"], tmp_path)
    _, less_memory = adapted(MODELS["bert"], tmp_path, gradient_checkpointing=True)
    (expected, gradients), (found, others) = step(frozen, rows), step(less_memory, rows)
    assert found == pytest.approx(expected, abs=1e-6)
    for key, value in gradients.items():
        torch.testing.assert_close(others[key], value, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_judging_begins_at_the_first_adapter_too(pooling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trident_train.model import encoder as encoder_module

    whole, frozen = adapted(MODELS["bert"], tmp_path, pooling)
    rows = some_rows(40, vocabulary=90)
    expected = whole.embed_rows(rows)
    np.testing.assert_allclose(frozen.embed_rows(rows), expected, atol=1e-5)  # by PyTorch, few
    assert frozen.frozen is not None
    kept = dict(frozen.frozen.kept)
    assert len(kept) == len(set(map(tuple, rows)))
    monkeypatch.setattr(encoder_module, "FEWEST_TEXTS", 2)
    np.testing.assert_allclose(frozen.embed_rows(rows), expected, atol=1e-5)  # by the kernels
    assert all(frozen.frozen.kept[key] is states for key, states in kept.items())


def test_what_does_not_fit_is_run_each_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, roomy = adapted(MODELS["bert"], tmp_path)
    _, narrow = adapted(MODELS["bert"], tmp_path)
    rows = some_rows(20, vocabulary=90)
    assert roomy.frozen is not None
    assert narrow.frozen is not None
    narrow.frozen.kept_bytes = 100 * 48 * 4  # 100 tokens
    with caplog.at_level(logging.INFO, logger="trident_train"):
        roomy.frozen.keep(rows)
        narrow.frozen.keep(rows)
    assert caplog.messages[0] == "layers 1 to 2 are run once: hidden states of 23 texts kept (0 MiB)"
    assert "are run each time: they do not fit into 0 MiB (0 MiB)" in caplog.messages[1]
    assert 0 < narrow.frozen.size_bytes <= narrow.frozen.kept_bytes
    assert narrow.frozen.size_bytes == sum(states.nbytes for states in narrow.frozen.kept.values())
    assert len(narrow.frozen.kept) < 23
    before = len(narrow.frozen.kept)
    (expected, gradients), (found, others) = step(roomy, rows), step(narrow, rows)
    assert found == expected  # the kernels give a text the same bits in every batch
    assert all(torch.equal(others[key], value) for key, value in gradients.items())
    assert len(narrow.frozen.kept) == before


def test_other_kinds_run_all_layers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = MPNetConfig(**SIZES, **NO_DROPOUT)
    recipe = TrainRecipe(
        data=DataRecipe(pairs="never-read.csv"), lora=LoraRecipe(targets=("q", "k", "v"), top_layers=1)
    )
    model = arm_of(load_backbone(saved(config, tmp_path)), recipe)
    with caplog.at_level(logging.INFO, logger="trident_train"):
        assert FrozenLayers.of(model, recipe, recipe.text, pad_id=1) is None
    assert "lora.top_layers saves those below for bert, roberta, xlm-roberta" in caplog.text
    every = dataclasses.replace(recipe, lora=LoraRecipe(targets=("q", "k", "v")))
    assert FrozenLayers.of(model, every, recipe.text, pad_id=1) is None


@pytest.fixture
def upper(tiny_recipe: TrainRecipe) -> TrainRecipe:
    """Return the tiny recipe with adapters, and their dropout, in the last of the two layers."""
    return dataclasses.replace(
        tiny_recipe,
        lora=LoraRecipe(rank=4, dropout=0.1, targets=("all-linear",), top_layers=1),
        optimizer=OptimizerRecipe(epochs=2, batch_size=16, learning_rate=1e-2),
        checkpoint=CheckpointRecipe(every_steps=3),
    )


@pytest.mark.parametrize("by", ["kernels", "pytorch"])
def test_the_same_bits_for_the_same_seed_and_after_an_interruption(
    upper: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    if by == "pytorch":
        monkeypatch.setattr(frozen_layers, "kernel_twin", lambda *_, **__: None)

    class StoppedError(Exception):
        pass

    def stop(event: Event) -> None:
        if isinstance(event, Step) and event.step == 13:  # in the second epoch
            raise StoppedError

    train(upper, tmp_path / "whole")
    train(upper, tmp_path / "again")
    with pytest.raises(StoppedError):
        train(upper, tmp_path / "killed", report=stop)
    assert train(upper, tmp_path / "killed").resumed_from_step == 12
    whole, again, killed = [(tmp_path / name / WEIGHTS).read_bytes() for name in ("whole", "again", "killed")]
    assert whole == again
    assert whole == killed


def test_the_run_folder_gives_what_was_trained(upper: TrainRecipe, tmp_path: Path) -> None:
    trained: list[Training] = []

    def catch(training: Training) -> Any:
        trained.append(training)
        return run(training)

    run = Training.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "run", catch)
        train(upper, tmp_path / "run")
    encoder = trained[0].encoder
    assert encoder.frozen is not None
    texts = ["Alba sofa red", "Borex lamp", "Cimar rake green, for gardens"]
    found = encoder.embed(texts, "product")
    np.testing.assert_allclose(load_run(tmp_path / "run").embed(texts, "product"), found, atol=1e-5)
    (tmp_path / "merged").mkdir()
    merge(tmp_path / "run", tmp_path / "merged")
    merged = AutoModel.from_pretrained(tmp_path / "merged", attn_implementation="eager").eval()
    tokenizer = TextTokenizer.load(Path(upper.base_model), upper.text)
    np.testing.assert_allclose(Encoder(merged, tokenizer).embed(texts, "product"), found, atol=1e-5)
