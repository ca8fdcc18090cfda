"""A loss that uses grades: of two pairs, the one with the higher grade should have the higher cosine."""

from __future__ import annotations

import torch
from torch import Tensor

from trident_train.losses.batch import EmbeddedBatch


def cosent_loss(batch: EmbeddedBatch, *, temperature: float) -> Tensor:
    """Return log(1 + sum over pairs i, j with grade_i > grade_j of exp((s_j - s_i) / temperature)), a scalar.

    A batch whose grades are all equal has a loss of 0.

    Args:
        batch: Its grades order the pairs, across queries.
        temperature: Differences of cosines are divided by it.

    Source: Su 2022, CoSENT (https://kexue.fm/archives/8847); ``CoSENTLoss`` of sentence-transformers with scale
    1 / temperature.
    """
    scaled = batch.similarities() / temperature  # (N,)
    difference = scaled[None, :] - scaled[:, None]  # (N, N): row i, column j holds s_j - s_i
    ordered = batch.grades[:, None] > batch.grades[None, :]  # (N, N)
    terms = difference.masked_fill(~ordered, float("-inf")).flatten()
    return torch.logsumexp(torch.cat([terms.new_zeros(1), terms]), dim=0)
