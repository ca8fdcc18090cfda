"""What a search gives back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hit:
    """A product that was found; ``score`` is the cosine of query and product, -1 to 1."""

    product_id: str
    score: float
    title: str


@dataclass(frozen=True)
class SearchResult:
    """The answer to one query: hits best first, and the id of the generation that gave them."""

    query: str
    generation: str
    hits: tuple[Hit, ...]
