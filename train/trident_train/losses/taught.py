"""A reranker teaches an encoder: cosines are drawn to the margins of its logits."""

from __future__ import annotations

import torch
from torch import Tensor

from trident_train.losses.batch import EmbeddedBatch
from trident_train.losses.infonce import infonce_loss
from trident_train.losses.lists import margin_loss


def taught_loss(batch: EmbeddedBatch, *, temperature: float, teacher_share: float = 1.0) -> Tensor:
    """Return ``teacher_share`` of Margin-MSE and the rest of InfoNCE, a scalar.

    A margin is what a list's first pair has over another one of it. The student's logit is its cosine over the
    temperature, as in InfoNCE, so that both parts want one scale and cosines stay what is served.

    Args:
        batch: Whose every pair with label 1 starts a list; ``grades`` are the teacher's logits.
        temperature: Cosines are divided by it.
        teacher_share: Above 0, at most 1.

    Source: Hofstätter et al. 2020, equation 3, for the margins.
    """
    lists = torch.cumsum(batch.labels == 1, dim=0) - 1  # (N,)
    margins = margin_loss(batch.similarities() / temperature, batch.grades, lists)
    if teacher_share == 1:
        return margins
    return teacher_share * margins + (1 - teacher_share) * infonce_loss(batch, temperature=temperature)
