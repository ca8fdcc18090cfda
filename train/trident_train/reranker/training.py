"""Trains a cross-encoder by the same loop as an encoder: batches of lists, checkpoints, the best weights kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trident_train.loop.batches import TokenizedBatch
from trident_train.loop.loop import Training
from trident_train.losses.lists import listwise_loss, margin_loss, pairwise_loss, pointwise_loss
from trident_train.processes import Share
from trident_train.recipe import LossRecipe
from trident_train.reranker.model import PairScorer


@dataclass
class RerankerTraining(Training):
    """What lives from step to step; ``encoder`` is a ``CrossEncoder``."""

    def module(self) -> torch.nn.Module:
        """Return what is run: the pairs of a batch to logits."""
        return PairScorer(self.encoder)  # type: ignore[arg-type]

    def loss(self, batch: TokenizedBatch) -> Tensor:
        """Return the loss of a batch; its pairs are scored by all processes together."""
        queries = [batch.query_rows[number] for number in batch.pair_query.tolist()]
        products = [batch.product_rows[number] for number in batch.pair_product.tolist()]
        lengths = [len(query) + len(product) for query, product in zip(queries, products, strict=True)]
        share = Share.of(lengths, self.accelerator)
        logits = self.wrapped([queries[row] for row in share.mine], [products[row] for row in share.mine])
        return loss_of_lists(share.gather(logits, len(queries)), batch, self.recipe.loss)


def loss_of_lists(logits: Tensor, batch: TokenizedBatch, recipe: LossRecipe) -> Tensor:
    """Return the recipe's loss of the logits (N,) of a batch, whose every relevant pair starts a list."""
    if recipe.name == "pointwise":
        targets = batch.grades if recipe.graded else (batch.labels == 1).float()
        return pointwise_loss(logits, targets.to(logits.device))
    lists = (torch.cumsum(batch.labels == 1, dim=0) - 1).to(logits.device)
    match recipe.name:
        case "pairwise":
            return pairwise_loss(logits, lists)
        case "margin":
            return margin_loss(logits, batch.grades.to(logits.device), lists)
    return listwise_loss(logits, lists)
