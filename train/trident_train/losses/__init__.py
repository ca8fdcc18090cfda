"""Losses, one a file."""

from trident_train.losses.batch import EmbeddedBatch
from trident_train.losses.cosine import cosine_loss
from trident_train.losses.infonce import infonce_loss

__all__ = ["EmbeddedBatch", "cosine_loss", "infonce_loss"]
