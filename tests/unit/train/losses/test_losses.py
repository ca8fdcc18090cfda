"""Losses: value and gradient against independent references."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from trident_train.loop.loop import loss_of
from trident_train.losses import EmbeddedBatch, cosent_loss, cosine_loss, infonce_loss, taught_loss
from trident_train.recipe import LossRecipe

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
        grades=torch.tensor([4.0, 2.0, 3.0, 1.5, 2.5], dtype=torch.float64),
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


def test_cosent_equals_the_formula_over_all_pairs_of_different_grade() -> None:
    sample = batch(unit(3, 6, 0), unit(4, 6, 1))
    cosines, grades = sample.similarities().tolist(), sample.grades.tolist()
    total = 1.0
    for high, better in zip(cosines, grades, strict=True):
        for low, worse in zip(cosines, grades, strict=True):
            if better > worse:
                total += math.exp((low - high) / TEMPERATURE)
    assert cosent_loss(sample, temperature=TEMPERATURE).item() == pytest.approx(math.log(total))
    equal = replace(sample, grades=torch.ones(5))
    assert cosent_loss(equal, temperature=TEMPERATURE).item() == 0.0


def test_cosent_beside_infonce_orders_judged_pairs_only() -> None:
    sample = batch(unit(3, 6, 0), unit(4, 6, 1))
    mined = replace(sample, labels=torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0], dtype=torch.float64))
    four = {name: getattr(sample, name)[:4] for name in ("pair_query", "pair_product", "labels", "grades")}
    expected = (
        infonce_loss(sample, temperature=TEMPERATURE)
        + 0.3 * cosent_loss(replace(sample, **four), temperature=TEMPERATURE)
    )  # fmt: skip
    recipe = LossRecipe(name="infonce", temperature=TEMPERATURE, cosent_weight=0.3)
    assert loss_of(mined, recipe).item() == pytest.approx(expected.item())


def taught_reference(queries: np.ndarray, products: np.ndarray) -> float:
    """Return Margin-MSE of the batch's lists in plain numpy: three lists of one pair, then one of (2, 3) and (2, 0)."""
    cosines = queries @ products.T / TEMPERATURE
    student = [cosines[2, 3] - cosines[2, 0]]  # the other lists have nothing beside their first pair
    teacher = [1.5 - 2.5]
    return float(np.mean((np.array(student) - np.array(teacher)) ** 2))


def test_cosines_over_the_temperature_are_drawn_to_the_teachers_margins() -> None:
    queries, products = unit(3, 6, 0), unit(4, 6, 1)
    sample = batch(queries, products)
    margins = taught_reference(queries.detach().numpy(), products.detach().numpy())
    assert taught_loss(sample, temperature=TEMPERATURE).item() == pytest.approx(margins)
    labels = infonce_loss(sample, temperature=TEMPERATURE).item()
    both = taught_loss(sample, temperature=TEMPERATURE, teacher_share=0.3).item()
    assert both == pytest.approx(0.3 * margins + 0.7 * labels)
    shifted = replace(sample, grades=sample.grades + 7)
    assert taught_loss(shifted, temperature=TEMPERATURE).item() == pytest.approx(margins)  # only differences count


def test_several_lists_weigh_by_their_others() -> None:
    """Lists of two, three and one pair: three margins, each as much as another."""
    generator = np.random.default_rng(5)
    queries, products = unit(3, 6, 0), unit(4, 6, 1)
    query, product = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 2, 1, 3, 0, 2])
    logits = generator.normal(size=6)
    sample = EmbeddedBatch(
        queries=queries,
        products=products,
        pair_query=torch.from_numpy(query),
        pair_product=torch.from_numpy(product),
        labels=torch.tensor([1.0, -1.0, 1.0, 0.0, -1.0, 1.0]),
        grades=torch.from_numpy(logits),
        positives=torch.zeros(3, 4, dtype=torch.bool),
    )
    cosines = (queries.detach().numpy()[query] * products.detach().numpy()[product]).sum(1) / TEMPERATURE
    errors = [(cosines[a] - cosines[b]) - (logits[a] - logits[b]) for a, b in ((0, 1), (2, 3), (2, 4))]
    assert taught_loss(sample, temperature=TEMPERATURE).item() == pytest.approx(np.mean(np.square(errors)))
    nothing = replace(sample, labels=torch.ones(6))
    assert taught_loss(nothing, temperature=TEMPERATURE).item() == 0.0


def test_a_made_query_pulls_nothing_by_infonce() -> None:
    queries, products = unit(3, 6, 0), unit(4, 6, 1)
    sample = batch(queries, products)
    positives = sample.positives.clone()
    positives[1, 2] = False  # as of a query that was made of product 2
    without = replace(sample, labels=torch.tensor([1.0, 1.0, -1.0, 1.0, 0.0], dtype=torch.float64))
    made = replace(sample, positives=positives)
    assert infonce_loss(made, temperature=TEMPERATURE).item() == pytest.approx(
        infonce_loss(replace(without, positives=positives), temperature=TEMPERATURE).item()
    )
    assert infonce_loss(made, temperature=TEMPERATURE).item() != infonce_loss(sample, temperature=TEMPERATURE).item()


LOSSES: dict[str, Callable[[EmbeddedBatch], Tensor]] = {
    "cosine": cosine_loss,
    "infonce": lambda sample: infonce_loss(sample, temperature=TEMPERATURE),
    "cosent": lambda sample: cosent_loss(sample, temperature=TEMPERATURE),
    "margins": lambda sample: taught_loss(sample, temperature=TEMPERATURE),
    "margins and infonce": lambda sample: taught_loss(sample, temperature=TEMPERATURE, teacher_share=0.5),
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
        grades=torch.tensor([0.0]),
        positives=torch.zeros(1, 1, dtype=torch.bool),
    )
    assert cosine_loss(sample).item() == 0.0
