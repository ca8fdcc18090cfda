"""Which way a query is searched: few permitted vectors are compared one by one, most by a walk through the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trident.errors import ConfigError

Way = Literal["gathered", "all", "graph"]


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """Where one way takes over from another, as measured when the index was built.

    The first two miss nothing.

    Raises:
        ConfigError: If a value is outside its range.
    """

    exact_up_to: int = 50_000  # vectors; of so many all are compared where a query permits all
    gathered_up_to: float = 0.25  # share of the vectors; up to it the permitted are gathered, above all are compared
    graph_from: float = 0.5  # share of the vectors; from it on the graph, where there are more than exact_up_to

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.exact_up_to < 0:
            raise ConfigError(f"exact_up_to must be >= 0 vectors, got {self.exact_up_to}")
        for name, share in (("gathered_up_to", self.gathered_up_to), ("graph_from", self.graph_from)):
            if not share >= 0:
                raise ConfigError(f"{name} must be a share >= 0, got {share}")

    def exact_way(self, permitted: int, count: int) -> Way:
        """Return the faster of the two ways that miss nothing, for so many permitted of so many vectors."""
        return "gathered" if permitted <= self.gathered_up_to * count and permitted < count else "all"

    def way(self, permitted: int, count: int, *, named_ef: bool) -> Way:
        """Return how to search so many permitted of so many vectors.

        Args:
            permitted: Vectors that may be answered.
            count: Vectors.
            named_ef: Whether the query says how deep the graph is to be searched.
        """
        if permitted == count:
            return "graph" if named_ef or count > self.exact_up_to else "all"
        if count > self.exact_up_to and permitted >= self.graph_from * count:
            return "graph"
        return self.exact_way(permitted, count)
