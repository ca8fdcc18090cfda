"""The original's recipe on a model of e5-large-v2's layers and heads: random weights, real steps.

The short form is sixteen times as narrow; the long one has the width too, 1.3 GB of weights.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate.utils import set_seed

from trident.config import load_recipe
from trident.data.pairs import Pairs
from trident_train.data.sources import load_sources
from trident_train.loop.batches import gather_batch, tokenize_pairs
from trident_train.loop.loop import Training
from trident_train.loop.selection import Score
from trident_train.model.arms import arm_of, trained_weights
from trident_train.model.encoder import Encoder
from trident_train.model.random_model import E5_LARGE, ModelShape, write_random_model
from trident_train.processes import accelerator_of
from trident_train.recipe import TrainRecipe

RECIPE = Path(__file__).parents[2] / "train" / "recipes" / "esci-e5-large-v2.toml"
ADAPTED = 24 * 3  # query, key and value of 24 layers


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(dataclasses.replace(E5_LARGE, width=64, intermediate=256), id="narrow"),
        pytest.param(E5_LARGE, id="whole", marks=pytest.mark.slow),
    ],
)
def shape(request: pytest.FixtureRequest) -> ModelShape:
    found: ModelShape = request.param
    return found


@pytest.fixture(scope="module")
def e5_large(shape: ModelShape, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = write_random_model(tmp_path_factory.mktemp("e5-large"), shape)
    yield folder
    (folder / "model.safetensors").unlink()  # 1.3 GB that no other test reads


@pytest.fixture
def recipe(e5_large: Path, tiny_data: Path) -> TrainRecipe:
    """Return the shipped recipe; only model, data and precision are those of this machine."""
    return load_recipe(
        TrainRecipe,
        RECIPE,
        [f"base_model={e5_large}", f"data.pairs={tiny_data / 'pairs.csv'}", "optimizer.mixed_precision=no"],
    )


@pytest.fixture
def pairs(recipe: TrainRecipe) -> Pairs:
    """Return two relevant and two irrelevant pairs."""
    train = load_sources(recipe.data)[0].parts.train
    return train.take([*np.flatnonzero(train.labels == 1)[:2], *np.flatnonzero(train.labels == 0)[:2]])


@pytest.fixture(autouse=True)
def free_memory() -> Iterator[None]:
    yield
    gc.collect()


def fingerprints(model: Any) -> dict[str, str]:
    return {
        name: hashlib.sha256(weight.detach().cpu().numpy().data).hexdigest()
        for name, weight in model.named_parameters()
    }


def changed_by_a_step(recipe: TrainRecipe, pairs: Pairs) -> tuple[Any, set[str]]:
    """Return the model after one optimisation step, and the names of the weights that it changed."""
    accelerator = accelerator_of(recipe, tracking=Path())
    set_seed(recipe.seed)
    encoder = Encoder.load(Path(recipe.base_model), recipe.text)
    model = arm_of(encoder.model, recipe)
    tokenized = tokenize_pairs(pairs, encoder.tokenizer)
    training = Training(
        accelerator=accelerator,
        encoder=Encoder(model, encoder.tokenizer, accelerator),
        sources=[tokenized],
        recipe=recipe,
        validate=lambda _: Score(value=0.0, metrics={}),
    )
    before = fingerprints(model)
    training.wrapped.train()
    (plan,) = training.plan(1)
    training.run_step([gather_batch(tokenized, plan)])
    after = fingerprints(model)
    return model, {name for name in before if after[name] != before[name]}


def test_the_recipe_is_the_original_s() -> None:
    recipe = load_recipe(TrainRecipe, RECIPE)
    assert (recipe.base_model, recipe.data.pairs) == ("intfloat/e5-large-v2", "smangrul/amazon_esci")
    assert (recipe.method, recipe.loss.name, recipe.seed) == ("lora", "cosine", 42)
    assert (recipe.text.query_max_tokens, recipe.text.product_max_tokens) == (70, 70)
    assert (recipe.text.query_template, recipe.text.product_template) == ("{text}", "{text}")
    lora, options = recipe.lora, recipe.optimizer
    assert (lora.rank, lora.alpha, lora.dropout, lora.targets) == (8, 16, 0.0, ("query", "key", "value"))
    assert (options.epochs, options.batch_size, options.learning_rate) == (3, 64, 5e-4)
    assert (options.schedule, options.warmup_share) == ("linear", 0.0)
    assert options.mixed_precision == "fp16"


def test_the_prefixes_of_e5_are_an_override() -> None:
    prefixes = ["text.query_template=query: {text}", "text.product_template=passage: {text}"]
    text = load_recipe(TrainRecipe, RECIPE, prefixes).text
    assert text.render("usb cable", "query") == "query: usb cable"
    assert text.render("USB-C Cable 2 m", "product") == "passage: USB-C Cable 2 m"


def test_embeddings_have_the_model_s_width_and_unit_length(
    recipe: TrainRecipe, pairs: Pairs, shape: ModelShape
) -> None:
    encoder = Encoder.load(Path(recipe.base_model), recipe.text)
    for embeddings in (encoder.embed(pairs.queries, "query"), encoder.embed(pairs.titles, "product")):
        assert embeddings.shape == (4, shape.width)
        assert np.linalg.norm(embeddings, axis=1) == pytest.approx(np.ones(4), abs=1e-5)


def test_a_lora_step_changes_adapters_only(
    recipe: TrainRecipe, pairs: Pairs, shape: ModelShape, tmp_path: Path
) -> None:
    model, changed = changed_by_a_step(recipe, pairs)
    weights = ADAPTED * 2 * 8 * shape.width  # A and B of rank 8; 1,179,648 at the whole width
    assert trained_weights(model) == weights
    # of the product B A only B: it starts at zero, and so does the gradient of A
    assert changed == {name for name, _ in model.named_parameters() if "lora_B" in name}
    assert len(changed) == ADAPTED
    model.save_pretrained(str(tmp_path))
    size = (tmp_path / "adapter_model.safetensors").stat().st_size
    assert weights * 4 < size < weights * 4 + 32_000


def test_a_full_step_changes_everything_but_the_pooler(
    recipe: TrainRecipe, pairs: Pairs, shape: ModelShape, e5_large: Path
) -> None:
    full = load_recipe(
        TrainRecipe,
        RECIPE,
        [f"base_model={e5_large}", f"data.pairs={recipe.data.pairs}", "optimizer.mixed_precision=no", "method=full"],
    )
    model, changed = changed_by_a_step(full, pairs)
    names = {name for name, _ in model.named_parameters()}
    assert names - changed == {"pooler.dense.weight", "pooler.dense.bias"}
    assert trained_weights(model) == sum(weight.numel() for weight in model.parameters()) - shape.width * (
        shape.width + 1
    )


def test_the_pretrained_arm_trains_nothing(recipe: TrainRecipe) -> None:
    none = load_recipe(TrainRecipe, RECIPE, ["method=none"])
    model = arm_of(Encoder.load(Path(recipe.base_model), recipe.text).model, none)
    assert trained_weights(model) == 0
    assert not any(weight.requires_grad for weight in model.parameters())
