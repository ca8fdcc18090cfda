"""Token embeddings to one embedding of unit length: the last two layers of every encoder of Trident.

Training, export and parity checks call the same functions. They work on PyTorch tensors without importing PyTorch,
so that this package stays free of it; in the exported graph they are ordinary nodes.
"""

from __future__ import annotations

from typing import Any, Literal

# 1e-9, the usual guard, is 0 in float16 and gives NaN on a row of padding only; this one survives float16.
SMALLEST_NORM = 1e-6


def pool(token_embeddings: Any, attention_mask: Any, pooling: Literal["mean", "cls"]) -> Any:
    """Return one embedding a row: the mean over the tokens that the mask keeps, or the first token.

    Args:
        token_embeddings: (B, L, D) tensor.
        attention_mask: (B, L) tensor of 0 and 1.
        pooling: ``"mean"`` or ``"cls"``.

    Returns:
        (B, D) tensor of the type of ``token_embeddings``; a row of padding only gives zeros.

    Source: mean pooling as in Sentence-BERT (Reimers and Gurevych 2019, section 3).
    """
    if pooling == "cls":
        return token_embeddings[:, 0]  # (B, D)
    mask = attention_mask.to(token_embeddings.dtype)[:, :, None]  # (B, L, 1)
    return (token_embeddings * mask).sum(1) / mask.sum(1).clamp(min=1.0)  # (B, D)


def normalize(embedding: Any) -> Any:
    """Return (B, D) embeddings divided by their Euclidean norm; a row of zeros stays zeros."""
    squared = (embedding * embedding).sum(-1, keepdim=True)  # (B, 1)
    return embedding / squared.sqrt().clamp(min=SMALLEST_NORM)  # (B, D)
