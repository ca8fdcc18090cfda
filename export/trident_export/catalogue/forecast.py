"""What the long part of an export will take, and whether there is room for it: told before, refused in a line.

Bytes follow from the numbers of products and dimensions, and from an index over a sample of the catalogue's own titles.
Time is measured on that sample: embedding takes as long a title as it does there; adding a vector to the graph takes
as much longer as the graph has doublings more (a + b log n, from two sizes).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trident.errors import ExportError
from trident.generation.capacity import Free, free_disk, free_memory, longest_file, size_text
from trident.progress import time_text

GRAPH_BYTES = 320  # of a vector's links where no sample says: M = 32, and what else is kept of it
MERGING_BYTES = 300  # of a product, while equal vectors are looked for


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a sample of the catalogue took."""

    titles_per_s: float  # embedded
    index_bytes: float  # of one vector, on disk
    smaller: tuple[int, float]  # vectors, and seconds for each, of a small graph
    larger: tuple[int, float]  # the same of a larger one

    def index_s(self, vectors: int) -> float:
        """Return the seconds that a graph over so many vectors will take."""
        (few, least), (many, most) = self.smaller, self.larger
        slope = max(0.0, (most - least) / math.log(many / few))
        return vectors * (most + slope * math.log(max(1.0, vectors / many)))


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What the rest of an export takes."""

    products: int
    memory_bytes: float
    embeddings: tuple[Path, float]  # the folder beside that of the generations, and the bytes that it lacks
    generation: tuple[Path, float]  # the folder of generations, the same
    longest_file_bytes: float
    seconds: float | None  # None: it was not measured

    def text(self) -> str:
        """Return the needs in a line."""
        disk = self.embeddings[1] + self.generation[1]
        sizes = f"about {size_text(self.memory_bytes)} of memory and {size_text(disk)} of disk"
        return sizes if self.seconds is None else f"{sizes}; embedding and index: {time_text(self.seconds)}"


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a catalogue before it is embedded."""

    products: int
    dimension: int
    catalogue_bytes: int
    parts_bytes: int  # of what the export has left so far: merged model and graphs
    embeds: bool = True  # False: vectors are taken over


def needs_of(known: Known, *, embeddings: Path, generations: Path, sample: Sample | None = None) -> Needs:
    """Return what the rest of an export takes.

    Args:
        known: Of the catalogue.
        embeddings: The folder that vectors are written to; what a killed export left there is there already.
        generations: The folder of generations.
        sample: What was measured on some titles; None: nothing was.
    """
    vectors = 4.0 * known.dimension * known.products
    of_one = 4 * known.dimension + GRAPH_BYTES if sample is None else sample.index_bytes
    index = of_one * known.products
    held = _bytes_in(embeddings)
    seconds = None
    if sample is not None:
        seconds = sample.index_s(known.products) + (known.products / sample.titles_per_s if known.embeds else 0.0)
    return Needs(
        products=known.products,
        memory_bytes=vectors + index + MERGING_BYTES * known.products,
        embeddings=(embeddings, max(0.0, vectors - held) if known.embeds else 0.0),
        generation=(generations, index + known.catalogue_bytes + known.parts_bytes),
        longest_file_bytes=max(vectors if known.embeds else 0.0, index, known.catalogue_bytes),
        seconds=seconds,
    )


def require_room(
    needs: Needs,
    *,
    memory: Callable[[], Free] = free_memory,
    disk: Callable[[Path], Free] = free_disk,
    longest: Callable[[], int | None] = longest_file,
) -> None:
    """Refuse what cannot fit.

    Args:
        needs: Of the export.
        memory: Says how much is free.
        disk: The same of a folder.
        longest: Says how long a file may be.

    Raises:
        ExportError: With what is needed, what there is, and what to do.
    """
    what = f"an export of {needs.products:,} products needs about"
    free = memory()
    if needs.memory_bytes > free.size_bytes:
        raise ExportError(
            f"{what} {size_text(needs.memory_bytes)} of memory, got {size_text(free.size_bytes)} free, {free.of}: "
            "give it more, or export fewer products"
        )
    for folder, size_bytes in (_together(needs), needs.generation):
        free = disk(folder)
        if size_bytes > free.size_bytes:
            raise ExportError(
                f"{what} {size_text(size_bytes)} of disk, got {size_text(free.size_bytes)} free, {free.of}: free some, "
                "or choose another --out"
            )
    most = longest()
    if most is not None and needs.longest_file_bytes > most:
        raise ExportError(
            f"{what} {size_text(needs.longest_file_bytes)} in one file, got at most {size_text(most)} (ulimit -f): "
            "raise that limit"
        )


def measure(
    embed: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    build: Callable[[NDArray[np.float32], Path], int],
    *,
    products: int,
    sizes: tuple[int, int],
    folder: Path,
) -> Sample:
    """Return what a sample of products takes.

    Args:
        embed: Embeds rows of the catalogue.
        build: Builds an index over vectors in a folder and returns the bytes that it has there.
        products: Of the catalogue; the sample is spread evenly over it.
        sizes: Of a small sample and of a larger one that holds it.
        folder: For what is written meanwhile.
    """
    rows = np.linspace(0, products - 1, sizes[1]).astype(np.int64)
    started = time.perf_counter()
    vectors = embed(rows)
    titles_per_s = len(rows) / (time.perf_counter() - started)
    taken: list[tuple[int, float]] = []
    index_bytes = 0.0
    for size in sizes:
        some = np.ascontiguousarray(vectors[:: len(rows) // size][:size])
        place = folder / f"index.{size}"
        place.mkdir()
        started = time.perf_counter()
        index_bytes = build(some, place) / size
        taken.append((size, (time.perf_counter() - started) / size))
    return Sample(titles_per_s=titles_per_s, index_bytes=index_bytes, smaller=taken[0], larger=taken[1])


def _together(needs: Needs) -> tuple[Path, float]:
    """Return what is written where the embeddings lie: the generation too, if that is the same file system."""
    (embeddings, vectors), (generations, generation) = needs.embeddings, needs.generation
    same = _there(embeddings).stat().st_dev == _there(generations).stat().st_dev
    return embeddings, vectors + generation if same else vectors


def _there(path: Path) -> Path:
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())


def _bytes_in(folder: Path) -> int:
    """Return the bytes that the files of a folder take on the disk; 0 where it is not there."""
    return sum(512 * path.stat().st_blocks for path in folder.glob("*") if path.is_file())
