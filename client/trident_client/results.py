"""What the client gives back."""

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
    """The answer to one query: hits best first, and which generation gave them.

    ``generation`` is its id; ``model_version`` its serial number, which is Triton's version of the ensemble.
    """

    query: str
    generation: str
    model_version: int
    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class ServerInfo:
    """The server behind an address.

    ``name`` is what it was started as, ``version`` tritonserver's own; ``model_versions`` are the serial numbers of the
    generations that it can search, in ascending order.
    """

    name: str
    version: str
    model_versions: tuple[int, ...]
