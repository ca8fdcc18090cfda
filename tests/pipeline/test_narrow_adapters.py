"""LoRA in bfloat16 on a CPU: what PEFT's own layer computes, from the same weights, and what goes through PEFT."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from torch import Tensor

from trident_train.model.arms import add_adapters
from trident_train.model.encoder import load_backbone
from trident_train.model.narrow_adapters import NarrowAdapter
from trident_train.recipe import LoraRecipe

IDS = torch.tensor([[2, 5, 9, 7, 3], [2, 6, 4, 3, 0]])
RECIPE = LoraRecipe(rank=4, alpha=8, targets=("all-linear",))


@pytest.fixture
def adapted(tiny_model: Path) -> peft.PeftModel:
    """A model whose adapters say something."""
    torch.manual_seed(0)
    model = add_adapters(load_backbone(tiny_model), RECIPE, base_model=str(tiny_model))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3)
    return model


def as_peft_has_it(adapted: peft.PeftModel) -> peft.PeftModel:
    plain = copy.deepcopy(adapted)
    for module in plain.modules():
        if isinstance(module, NarrowAdapter):
            module.__class__ = peft.tuners.lora.Linear
    return plain


def run(model: peft.PeftModel, *, narrow: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Return hidden states, and the gradients of what trains by the sum of a product with them."""
    model.zero_grad()
    model.eval()  # no dropout: both see the same
    with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
        hidden = model(input_ids=IDS, attention_mask=(IDS > 0).long()).last_hidden_state.float()
    weights = torch.linspace(-1, 1, hidden.numel()).reshape(hidden.shape)
    (hidden * weights).sum().backward()
    return hidden.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def far(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


def test_it_is_as_near_to_float32_as_pefts_own_layer(adapted: peft.PeftModel) -> None:
    plain = as_peft_has_it(adapted)
    exact, exact_gradients = run(plain, narrow=False)
    found, gradients = run(adapted, narrow=True)
    by_peft, gradients_by_peft = run(plain, narrow=True)
    assert 0 < far(found, exact) < 1.2 * far(by_peft, exact)
    assert gradients.keys() == exact_gradients.keys() == gradients_by_peft.keys()
    assert gradients
    for name, exact_gradient in exact_gradients.items():
        assert gradients[name].dtype == torch.float32
        assert far(gradients[name], exact_gradient) < 1.5 * far(gradients_by_peft[name], exact_gradient) + 1e-3, name


def test_a_step_of_an_adapter_is_seen_by_the_next_run(adapted: peft.PeftModel) -> None:
    before, _ = run(adapted, narrow=True)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.neg_()
    after, _ = run(adapted, narrow=True)
    assert far(after, before) > 0.05
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.neg_()
    again, _ = run(adapted, narrow=True)
    assert torch.equal(again, before)


def test_frozen_weights_that_change_are_narrowed_again(adapted: peft.PeftModel) -> None:
    before, _ = run(adapted, narrow=True)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "base_layer.weight" in name:
                weight.mul_(1.5)
    assert far(run(adapted, narrow=True)[0], before) > 0.05


def test_float32_disabled_adapters_and_dropout_go_through_peft(adapted: peft.PeftModel, tiny_model: Path) -> None:
    plain = as_peft_has_it(adapted)
    assert torch.equal(run(adapted, narrow=False)[0], run(plain, narrow=False)[0])
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad(), adapted.disable_adapter():
        without = adapted(input_ids=IDS).last_hidden_state
        assert torch.equal(without, load_backbone(tiny_model).eval()(input_ids=IDS).last_hidden_state)
    dropping = add_adapters(
        load_backbone(tiny_model), LoraRecipe(rank=4, alpha=8, targets=("all-linear",), dropout=0.5), base_model="tiny"
    ).train()
    with torch.autocast("cpu", torch.bfloat16):
        torch.manual_seed(1)
        found = dropping(input_ids=IDS).last_hidden_state
        torch.manual_seed(1)
        assert torch.equal(found, as_peft_has_it(dropping)(input_ids=IDS).last_hidden_state)


def test_what_is_saved_is_an_adapter_of_peft(adapted: peft.PeftModel, tiny_model: Path, tmp_path: Path) -> None:
    run(adapted, narrow=True)  # what was narrowed is not saved
    adapted.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert not any("custom" in key for key in saved)
    loaded = peft.PeftModel.from_pretrained(load_backbone(tiny_model), tmp_path)
    assert not any(isinstance(module, NarrowAdapter) for module in loaded.modules())
    loaded.eval(), adapted.eval()
    assert torch.equal(loaded(input_ids=IDS).last_hidden_state, adapted(input_ids=IDS).last_hidden_state)
    merged = adapted.merge_and_unload()
    np.testing.assert_allclose(
        merged.eval()(input_ids=IDS).last_hidden_state.detach(),
        loaded.eval()(input_ids=IDS).last_hidden_state.detach(),
        atol=1e-4,
    )
