"""In-batch negatives: each relevant pair against every other product of the batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from trident_train.losses.batch import EmbeddedBatch


def infonce_loss(batch: EmbeddedBatch, *, temperature: float) -> Tensor:
    """Return the mean cross-entropy of the relevant product among the batch's products, a scalar.

    Other products known to be relevant for the query are masked out of its row, so that they are never pushed away;
    a text that occurs twice is one column, so that it is never its own negative. A made query has no row: nobody called
    a product relevant for it, and many others would be.

    Args:
        batch: Without a relevant pair the loss is 0.
        temperature: Cosines are divided by it.

    Source: van den Oord et al. 2018, equation 4; in-batch negatives as in Karpukhin et al. 2020 (DPR), section 3.2.
    """
    relevant = (batch.labels > 0.5) & batch.positives[batch.pair_query, batch.pair_product]  # (N,)
    if not relevant.any():
        return batch.queries.sum() * 0.0  # a batch of negatives only, as a last one may be: nothing to pull
    rows, columns = batch.pair_query[relevant], batch.pair_product[relevant]  # (R,), (R,)
    logits = batch.queries[rows] @ batch.products.T / temperature  # (R, P)
    others = batch.positives[rows].clone()  # (R, P)
    others[torch.arange(len(rows), device=rows.device), columns] = False
    return functional.cross_entropy(logits.masked_fill(others, float("-inf")), columns)
