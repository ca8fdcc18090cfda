"""Optimization profiles from the lengths of real texts: what a plan is tuned for, and the most that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trident.config import from_table
from trident.encoder.tokenization import TextTokenizer
from trident.errors import GenerationError
from trident.generation.generation import Generation

FIXED_SHARE = 0.99  # of queries fit the length that the served tokenizer pads to
TYPICAL_SHARE = 0.9  # of products fit the length that a plan is tuned for
QUERY_BATCHES = (8, 64)  # rows: of a busy server's batch; the server's max_batch_size
PRODUCT_BATCHES = (64, 256)  # rows: of the bulk of a catalogue
SAMPLE = 20_000  # texts whose lengths are counted


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Shapes (rows, tokens) of the smallest, the typical and the largest batch."""

    name: str
    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]

    def __str__(self) -> str:
        """Return the typical and the largest shape."""
        return f"{self.name} {self.opt[0]}x{self.opt[1]} to {self.max[0]}x{self.max[1]}"


def make_profiles(tokenizer: TextTokenizer, queries: Sequence[str], titles: Sequence[str]) -> list[Profile]:
    """Return the profiles for texts like these: queries first, which is what Triton serves, then products for bulk.

    A plan is tuned for the length that queries are padded to (99% of them fit), and for products for the length that
    90% of the titles fit, which are embedded sorted by length.

    Args:
        tokenizer: Its contract gives the longest lengths.
        queries: Real ones.
        titles: Of the catalogue.
    """
    contract = tokenizer.contract
    query_tokens = length_of_share(FIXED_SHARE, [len(row) for row in tokenizer.token_ids(_some(queries), "query")])
    product_tokens = length_of_share(TYPICAL_SHARE, [len(row) for row in tokenizer.token_ids(_some(titles), "product")])
    return [
        Profile(
            name="query",
            min=(1, 1),
            opt=(QUERY_BATCHES[0], query_tokens),
            max=(QUERY_BATCHES[1], contract.query_max_tokens),
        ),
        Profile(
            name="product",
            min=(1, 1),
            opt=(PRODUCT_BATCHES[0], product_tokens),
            max=(PRODUCT_BATCHES[1], contract.product_max_tokens),
        ),
    ]


def length_of_share(share: float, lengths: Sequence[int]) -> int:
    """Return the smallest of the lengths that a share of them does not exceed."""
    return int(np.quantile(lengths, share, method="inverted_cdf"))


def generation_profiles(generation: Generation) -> list[Profile]:
    """Return the profiles that a generation's manifest has.

    Raises:
        GenerationError: If it has none.
    """
    if not generation.manifest.profiles:
        raise GenerationError(
            f"generation {generation.id} has no profiles: an earlier version of Trident made it; export again"
        )
    return [from_table(Profile, table, where=f"generation {generation.id}") for table in generation.manifest.profiles]


def _some(texts: Sequence[str]) -> Sequence[str]:
    return texts[:: max(len(texts) // SAMPLE, 1)]
