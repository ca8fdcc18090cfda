"""The pretrained model as its own teacher, corrected by labels: what it ranks well stays, relevant pairs go up."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from trident_train.losses.batch import EmbeddedBatch


def distillation_loss(batch: EmbeddedBatch, *, margin: float, temperature: float) -> Tensor:
    """Return the mean over queries of KL(softmax(t / temperature) || softmax(s / temperature)), a scalar.

    Over the batch's products, s are the cosines of the model in training, t those of the pretrained model plus
    ``margin`` times the relevance: 0 for a product that is not, or that nobody judged, 1 for the highest grade.

    Args:
        batch: With the teacher's cosines.
        margin: Cosine that full relevance adds.
        temperature: Cosines are divided by it.

    Source: Hinton et al. 2015, Distilling the knowledge in a neural network; the pretrained model as teacher as in
    Li and Hoiem 2016, Learning without forgetting; a listwise target as in Cao et al. 2007, ListNet.
    """
    if batch.teacher is None:
        raise ValueError("distillation needs the teacher's cosines, got none")
    target = (batch.teacher + margin * batch.relevance()) / temperature  # (Q, P)
    learned = batch.queries @ batch.products.T / temperature  # (Q, P)
    return functional.kl_div(
        functional.log_softmax(learned, dim=1),
        functional.log_softmax(target, dim=1),
        reduction="batchmean",
        log_target=True,
    )
