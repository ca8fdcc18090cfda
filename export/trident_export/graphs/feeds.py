"""What a graph is fed with for a batch: of texts, or of pairs, whose tokens have types too."""

from __future__ import annotations

from typing import Any

from trident.encoder.pairs import TOKEN_TYPE_IDS, PairBatch
from trident.encoder.tokenization import TokenBatch
from trident.retrieval.tensors import ATTENTION_MASK, INPUT_IDS

Batch = TokenBatch | PairBatch


def feeds_of(batch: Batch) -> dict[str, Any]:
    """Return the inputs of a graph by name."""
    feeds = {INPUT_IDS: batch.input_ids, ATTENTION_MASK: batch.attention_mask}
    return {**feeds, TOKEN_TYPE_IDS: batch.token_type_ids} if isinstance(batch, PairBatch) else feeds
