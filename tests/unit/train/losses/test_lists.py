"""Losses of a reranker against independent formulas, and their gradients against differences."""

from __future__ import annotations

import math

import pytest
import torch

from trident_train.losses import listwise_loss, margin_loss, pairwise_loss, pointwise_loss

LOGITS = torch.tensor([2.0, 1.0, -0.5, 0.25, 3.0, 0.0], dtype=torch.float64)
LISTS = torch.tensor([0, 0, 0, 1, 1, 2])  # the last has no other


def test_listwise_is_the_softmax_of_the_first_of_each_list() -> None:
    expected = [
        -math.log(math.exp(2) / (math.exp(2) + math.exp(1) + math.exp(-0.5))),
        -math.log(math.exp(0.25) / (math.exp(0.25) + math.exp(3))),
        0.0,
    ]
    assert listwise_loss(LOGITS.float(), LISTS).item() == pytest.approx(sum(expected) / 3, rel=1e-5)
    assert listwise_loss(1000 * LOGITS.float(), LISTS).isfinite()


def test_pairwise_compares_each_other_with_the_first() -> None:
    expected = [math.log1p(math.exp(difference)) for difference in (1 - 2, -0.5 - 2, 3 - 0.25)]
    assert pairwise_loss(LOGITS, LISTS).item() == pytest.approx(sum(expected) / 3)
    assert pairwise_loss(LOGITS[:1], LISTS[:1]).item() == 0


def test_pointwise_takes_shares_as_targets() -> None:
    targets = torch.tensor([1.0, 0.0, 0.25, 0.5, 1.0, 0.0], dtype=torch.float64)
    chances = 1 / (1 + torch.exp(-LOGITS))
    expected = -(targets * chances.log() + (1 - targets) * (1 - chances).log()).mean()
    assert pointwise_loss(LOGITS, targets).item() == pytest.approx(expected.item())


def test_margins_are_those_of_the_teacher() -> None:
    teacher = torch.tensor([1.0, 1.5, -2.0, 0.0, 0.5, 9.0], dtype=torch.float64)
    expected = [(2 - 1) - (1 - 1.5), (2 + 0.5) - (1 + 2.0), (0.25 - 3) - (0 - 0.5)]
    found = margin_loss(LOGITS, teacher, LISTS).item()
    assert found == pytest.approx(sum(difference**2 for difference in expected) / 3)
    assert margin_loss(LOGITS + 7, LOGITS, LISTS).item() == pytest.approx(0)  # only differences count


def test_gradients_are_the_differences() -> None:
    def pairwise(logits: torch.Tensor) -> torch.Tensor:
        return pairwise_loss(logits, LISTS)

    assert torch.autograd.gradcheck(pairwise, LOGITS.clone().requires_grad_())
    logits = LOGITS.float().requires_grad_()
    listwise_loss(logits, LISTS).backward()
    shares = torch.cat([torch.softmax(LOGITS[number == LISTS], dim=0) for number in range(3)])
    shares[[0, 3, 5]] -= 1
    assert logits.grad is not None
    assert torch.allclose(logits.grad.double(), shares / 3, atol=1e-6)
