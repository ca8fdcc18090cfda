"""The loss of the original experiment: relevant pairs are pulled to a cosine of 1, the others to 0 or below."""

from __future__ import annotations

from torch import Tensor

from trident_train.losses.batch import EmbeddedBatch


def cosine_loss(batch: EmbeddedBatch) -> Tensor:
    """Return mean((y (1 - s) + max((1 - y) s, 0))^2), a scalar, with s the cosine and y the label of a pair.

    Source: PEFT guide "LoRA for semantic similarity tasks", ``get_loss``.
    """
    cosine = batch.similarities()  # (N,)
    distance = batch.labels * (1 - cosine) + ((1 - batch.labels) * cosine).clamp(min=0)  # (N,)
    return distance.square().mean()
