"""The training loop of ``trident_train``, one batch at a time, to be measured beside the original's."""

from __future__ import annotations

from trident_train.loop.batches import BatchPlan, TokenizedPairs, gather_batch
from trident_train.loop.single_steps import training_of
from trident_train.model.encoder import Encoder, length_groups
from trident_train.recipe import TrainRecipe


class OurWay:
    """The loop of ``trident_train``."""

    def __init__(self, recipe: TrainRecipe, pairs: TokenizedPairs) -> None:
        """Load the model and set up the loop in the recipe's precision."""
        self.pairs = pairs
        self.training = training_of(recipe, pairs)

    @property
    def encoder(self) -> Encoder:
        """The model as it is now."""
        return self.training.encoder

    def step(self, plan: BatchPlan) -> None:
        """Train on one batch."""
        self.training.wrapped.train()
        self.training.run_step([gather_batch(self.pairs, plan)])

    def tokens(self, plan: BatchPlan) -> int:
        """Return the tokens that a batch runs through the model, padding included."""
        batch = gather_batch(self.pairs, plan)
        sides = [[len(row) for row in rows] for rows in (batch.query_rows, batch.product_rows)]
        return sum(len(group) * lengths[group[0]] for lengths in sides for group in length_groups(lengths))
