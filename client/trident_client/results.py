"""What the client gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Hit:
    """A product that was found; ``score`` is the cosine of query and product, -1 to 1; 0 where there is no query.

    ``attributes`` are the ``fields`` that were asked for, None where the product has no such value. ``probability`` is
    the chance that the product is relevant; None where the generation has no calibration. ``explain`` says what decided
    its place, where that was asked for: ``cosine``, ``bm25``, ``dense_rank``, ``lexical_rank``, ``fused``,
    ``model_numbers``.
    """

    product_id: str
    score: float
    title: str
    attributes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    probability: float | None = None
    explain: Mapping[str, Any] = field(default_factory=dict, hash=False)


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

    @property
    def facets(self) -> Mapping[str, Any]:
        """Counts of each facet that was asked for: ``values`` or ``ranges``, and ``missing``."""
        found: Mapping[str, Any] = self.details.get("facets", {})
        return found

    @property
    def corrected(self) -> str | None:
        """What was searched instead of what was typed; None: that itself."""
        corrected: str | None = self.details.get("corrected")
        return corrected

    @property
    def weak(self) -> bool:
        """Whether hardly an answer like this one holds what was looked for."""
        return bool(self.details.get("weak", False))

    @property
    def total(self) -> int | None:
        """How many products there are on all pages, where there was no query; None: that is not counted."""
        total: int | None = self.details.get("total")
        return total

    @property
    def timings_ms(self) -> Mapping[str, float] | None:
        """Milliseconds that the stages of the answer's batch took; None: not asked for, or the answer is of the cache.

        What the server keeps in its response cache has the times, and the id, of the request that was worked on.
        """
        if self.details.get("timings_of") != self.id.rpartition("-")[0]:
            return None
        timings: Mapping[str, float] | None = self.details.get("timings_ms")
        return timings


@dataclass(frozen=True)
class Suggestion:
    """What somebody may be about to type; ``source`` is ``query``, which others asked, or ``phrase``, of the titles."""

    text: str
    source: str


@dataclass(frozen=True)
class SuggestResult:
    """The suggestions for a prefix, best first, and the generation that gave them."""

    prefix: str
    generation: str
    model_version: int
    suggestions: tuple[Suggestion, ...]


@dataclass(frozen=True)
class ServerInfo:
    """The server behind an address.

    ``name`` is what it was started as, ``version`` tritonserver's own; ``model_versions`` are the serial numbers of the
    generations that it can search, in ascending order.
    """

    name: str
    version: str
    model_versions: tuple[int, ...]
