"""One loss a file, and what a batch gives them.

Rooms that it may import: data.
"""

from trident_train.losses.batch import EmbeddedBatch
from trident_train.losses.cosent import cosent_loss
from trident_train.losses.cosine import cosine_loss
from trident_train.losses.infonce import infonce_loss
from trident_train.losses.lists import listwise_loss, margin_loss, pairwise_loss, pointwise_loss
from trident_train.losses.taught import taught_loss

__all__ = [
    "EmbeddedBatch",
    "cosent_loss",
    "cosine_loss",
    "infonce_loss",
    "listwise_loss",
    "margin_loss",
    "pairwise_loss",
    "pointwise_loss",
    "taught_loss",
]
