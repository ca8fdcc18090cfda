"""Losses: value and gradient against independent references."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from trident_train.losses import EmbeddedBatch, cosine_loss, infonce_loss

TEMPERATURE = 0.1


def unit(rows: int, columns: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    return (values / values.norm(dim=1, keepdim=True)).requires_grad_()


def batch(queries: Tensor, products: Tensor) -> EmbeddedBatch:
    """Return 5 pairs over 3 queries and 4 products; query 0 has two relevant products."""
    positives = torch.zeros(3, 4, dtype=torch.bool)
    positives[0, 0] = positives[0, 1] = positives[1, 2] = positives[2, 3] = True
    return EmbeddedBatch(
        queries=queries,
        products=products,
        pair_query=torch.tensor([0, 0, 1, 2, 2]),
        pair_product=torch.tensor([0, 1, 2, 3, 0]),
        labels=torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0], dtype=torch.float64),
        positives=positives,
    )


def numeric_gradient(loss: Callable[[EmbeddedBatch], Tensor], values: Tensor, *others: Tensor) -> np.ndarray:
    """Return the gradient by central differences, in float64."""
    gradient = np.zeros(values.shape)
    for place in np.ndindex(*values.shape):
        shifted = []
        for step in (1e-6, -1e-6):
            moved = values.detach().clone()
            moved[place] += step
            shifted.append(loss(batch(moved, *others)).item())
        gradient[place] = (shifted[0] - shifted[1]) / 2e-6
    return gradient


def test_cosine_loss_equals_the_formula() -> None:
    queries, products = unit(3, 6, 0), unit(4, 6, 1)
    sample = batch(queries, products)
    expected = []
    for query, product, label in zip(
        sample.pair_query.tolist(), sample.pair_product.tolist(), sample.labels.tolist(), strict=True
    ):
        cosine = (queries[query] @ products[product]).item()
        expected.append((label * (1 - cosine) + max((1 - label) * cosine, 0.0)) ** 2)
    assert cosine_loss(sample).item() == pytest.approx(sum(expected) / len(expected))


def test_infonce_equals_the_formula_with_known_positives_masked() -> None:
    queries, products = unit(3, 6, 0), unit(4, 6, 1)
    logits = (queries @ products.T / TEMPERATURE).tolist()
    # query 0 with product 0: product 1 is relevant too and must not count as a negative
    allowed = {(0, 0): (0, 2, 3), (0, 1): (1, 2, 3), (1, 2): (0, 1, 2, 3), (2, 3): (0, 1, 2, 3)}
    expected = [
        math.log(sum(math.exp(logits[query][other]) for other in others)) - logits[query][product]
        for (query, product), others in allowed.items()
    ]
    found = infonce_loss(batch(queries, products), temperature=TEMPERATURE)
    assert found.item() == pytest.approx(sum(expected) / len(expected))


LOSSES: dict[str, Callable[[EmbeddedBatch], Tensor]] = {
    "cosine": cosine_loss,
    "infonce": lambda sample: infonce_loss(sample, temperature=TEMPERATURE),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_central_differences(name: str) -> None:
    queries, products = unit(3, 6, 2), unit(4, 6, 3)
    loss = LOSSES[name]
    loss(batch(queries, products)).backward()
    assert queries.grad is not None
    assert products.grad is not None
    np.testing.assert_allclose(queries.grad.numpy(), numeric_gradient(loss, queries, products.detach()), atol=1e-6)

    def swapped(moved: Tensor) -> float:
        return loss(batch(queries.detach(), moved)).item()

    step, place = 1e-6, (2, 3)
    moved = [products.detach().clone() for _ in range(2)]
    moved[0][place] += step
    moved[1][place] -= step
    assert products.grad[place].item() == pytest.approx((swapped(moved[0]) - swapped(moved[1])) / (2 * step), abs=1e-6)


def test_mined_negatives_push() -> None:
    queries, products = unit(3, 6, 0), unit(4, 6, 1)
    whole = batch(queries, products)
    mined = replace(whole, labels=torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0], dtype=torch.float64))
    assert infonce_loss(mined, temperature=TEMPERATURE).item() == pytest.approx(
        infonce_loss(whole, temperature=TEMPERATURE).item()
    )


def test_batches_without_anything_to_learn_cost_nothing_and_break_nothing() -> None:
    queries, products = unit(3, 6, 0), unit(4, 6, 1)
    sample = batch(queries, products)
    loss = infonce_loss(replace(sample, labels=torch.zeros(5)), temperature=TEMPERATURE)
    loss.backward()
    assert loss.item() == 0.0
    assert queries.grad is not None
    assert not queries.grad.abs().any()


def test_irrelevant_pairs_below_zero_cost_nothing() -> None:
    queries = torch.tensor([[1.0, 0.0]])
    products = torch.tensor([[-1.0, 0.0]])
    sample = EmbeddedBatch(
        queries=queries,
        products=products,
        pair_query=torch.tensor([0]),
        pair_product=torch.tensor([0]),
        labels=torch.tensor([0.0]),
        positives=torch.zeros(1, 1, dtype=torch.bool),
    )
    assert cosine_loss(sample).item() == 0.0
