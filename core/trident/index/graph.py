"""The graph over the different vectors, HNSW, built by the kernels: the same bytes on any number of threads.

Source: Malkov and Yashunin 2016, "Efficient and robust approximate nearest neighbor search using HNSW graphs";
rounds of insertions: Manohar et al. 2024, "ParlayANN".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trident.errors import ConfigError, VectorIndexError
from trident.index.codes import Codes
from trident.index.kernels import kernels

ROUND_SHARE = 0.01  # of the vectors, added at once at most
HIGHEST_LEVEL = 15


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """How the graph is built and searched.

    Raises:
        ConfigError: If a value is outside its range.
    """

    m: int = 32  # links a vector (twice as many on the lowest layer), 2 to 100
    ef_construction: int = 500  # candidates kept while building, >= m
    ef: int | None = None  # candidates kept while searching unless a query says otherwise, >= 1; None: measured
    seed: int = 42  # of the layers and of the order in which vectors are added, 0 to 2**31 - 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 2 <= self.m <= 100:
            raise ConfigError(f"m must be 2 to 100 links, got {self.m}")
        if self.ef_construction < self.m:
            raise ConfigError(f"ef_construction must be >= m ({self.m}) to fill the links, got {self.ef_construction}")
        if self.ef is not None and self.ef < 1:
            raise ConfigError(f"ef must be >= 1, got {self.ef}")
        if not 0 <= self.seed < 2**31:
            raise ConfigError(f"seed must be 0 to {2**31 - 1}, got {self.seed}")


@dataclass(frozen=True, eq=False)
class Graph:
    """Links by label, and the layers above.

    ``lowest`` is (U, 2 m) uint32, filled up with 2**32 - 1; ``upper`` is (rows, 2 + m) uint32: a label, its row a layer
    below, and links to rows. A search starts at row ``upper_entry``, or at label ``entry`` where there is none.
    """

    lowest: NDArray[np.uint32]
    upper: NDArray[np.uint32]
    entry: int
    upper_entry: int


def build_graph(
    codes: Codes, config: IndexConfig, *, threads: int = 1, progress: Callable[[int], None] | None = None
) -> Graph:
    """Return the graph over the vectors of codes.

    Args:
        codes: Of the different vectors.
        config: Links, candidates and seed.
        threads: Change nothing but the time.
        progress: Called with the number of vectors that a round has added.

    Raises:
        VectorIndexError: If the kernels are not there.
    """
    module = kernels()
    if module is None:
        raise VectorIndexError("a graph needs the kernels: install them: pip install ./kernels")
    count = len(codes.rows)
    draw = np.random.default_rng(config.seed)
    # Variants stand side by side in catalogues; added side by side they fill each other's links, and are not found.
    order = draw.permutation(count).astype(np.uint32)
    levels = np.floor(-np.log1p(-draw.random(count)) / math.log(config.m))
    builder = module.Builder(
        codes.rows,
        codes.scales,
        order,
        np.minimum(levels, HIGHEST_LEVEL).astype(np.uint8),
        links=config.m,
        ef=config.ef_construction,
        largest_round=max(1, int(ROUND_SHARE * count)),
        threads=threads,
    )
    done = 0
    while done < count:
        before, done = done, builder.add_round()
        if progress is not None:
            progress(done - before)
    return Graph(*builder.graph())
