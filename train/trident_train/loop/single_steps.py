"""A recipe's loop without validation, to take single steps of: for measurements of time and memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from accelerate.utils import set_seed

from trident.encoder.base_model import find_model
from trident_train.loop.batches import UNJUDGED, TokenizedPairs
from trident_train.loop.loop import Training
from trident_train.loop.selection import Score
from trident_train.model.arms import arm_of
from trident_train.model.encoder import Encoder
from trident_train.model.frozen_layers import FrozenLayers
from trident_train.processes import accelerator_of
from trident_train.recipe import TrainRecipe


def training_of(recipe: TrainRecipe, pairs: TokenizedPairs | None = None) -> Training:
    """Load the recipe's model and return its loop over the pairs, or over random ones that fill one batch."""
    set_seed(recipe.seed)
    accelerator = accelerator_of(recipe, tracking=Path())
    encoder = Encoder.load(find_model(recipe.base_model), recipe.text)
    model = arm_of(encoder.model, recipe).to(accelerator.device)
    frozen = FrozenLayers.of(model, recipe, recipe.text, pad_id=encoder.tokenizer.pad_id)
    return Training(
        accelerator=accelerator,
        encoder=Encoder(model, encoder.tokenizer, accelerator, frozen),
        sources=[random_pairs(recipe, int(model.config.vocab_size)) if pairs is None else pairs],
        recipe=recipe,
        validate=lambda _: Score(value=0.0, metrics={}),
    )


def random_pairs(recipe: TrainRecipe, vocabulary: int) -> TokenizedPairs:
    """Return pairs that fill one batch of a recipe; every text is as long as the contract allows, none stands twice.

    Args:
        recipe: Batch size, loss, negatives and lengths.
        vocabulary: Token ids are below it.
    """
    units = recipe.optimizer.batch_size
    labels = np.arange(units) % 2  # both kinds
    rows_a_unit = 1
    if recipe.loss.name != "cosine":
        beside = [0.0] * recipe.loss.hard_negatives + [UNJUDGED] * recipe.negatives.mined
        rows_a_unit += len(beside)
        labels = np.array([1.0, *beside] * units)
    generator = np.random.default_rng(recipe.seed)
    products = units * rows_a_unit
    pair_query = np.repeat(np.arange(units), rows_a_unit)
    return TokenizedPairs(
        query_rows=generator.integers(vocabulary, size=(units, recipe.text.query_max_tokens)).tolist(),
        product_rows=generator.integers(vocabulary, size=(products, recipe.text.product_max_tokens)).tolist(),
        pair_query=pair_query,
        pair_product=np.arange(products),
        labels=labels.astype(np.float32),
        grades=np.maximum(labels, 0).astype(np.float32),
        positives=frozenset((int(pair_query[row]), row) for row in np.flatnonzero(labels == 1).tolist()),
    )
