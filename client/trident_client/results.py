"""What the client gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
    ``details`` is what else the server says of the answer, empty where there is nothing. ``id`` is the answer's own,
    made by the client; the server's query log knows it, for what people did with the answer.
    """

    query: str
    generation: str
    model_version: int
    hits: tuple[Hit, ...]
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)
    id: str = field(default="", compare=False)


@dataclass(frozen=True)
class ServerInfo:
    """The server behind an address.

    ``name`` is what it was started as, ``version`` tritonserver's own; ``model_versions`` are the serial numbers of the
    generations that it can search, in ascending order.
    """

    name: str
    version: str
    model_versions: tuple[int, ...]
