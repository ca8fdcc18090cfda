"""What an export is asked for, and what does not change while it runs: made once, handed to every stage."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from trident.data.catalogue import Catalogue
from trident.data.pairs import Pairs
from trident.generation.generation import ENCODER_FOLDER
from trident.generation.holds import Position
from trident.lexical.logged_queries import BlockList
from trident.lexical.suggestions import Suggested
from trident_export.config import ExportConfig
from trident_export.progress_rows import Stages

# Called with the number of products to embed; its context manager yields a function that counts those embedded.
EmbeddingProgress = Callable[[int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class ExportOrder:
    """What an export is asked for."""

    run: Path  # a run folder of ``trident train``
    catalogue: Path  # the products
    output: Path  # the folder of generations
    config: ExportConfig = field(default_factory=ExportConfig)
    reranker: Path | None = None  # a run folder of a reranker, the second stage; None: there is none
    vectors: Path | None = None  # a folder of ``trident embed`` whose embeddings are taken over; None embeds here
    holds: int | None = None  # number of the live catalogue at which the products' file was made; None: nobody said
    queries: Path | None = None  # what people asked, for suggestions: a query log, or a table with counts
    block_list: Path | None = None  # what no suggestion holds
    force: str | None = None  # why a refusal of the gate is overruled, kept in the manifest; None: it is not


@dataclass(frozen=True)
class AskedQueries:
    """What people asked often enough to be suggested, and what no suggestion holds."""

    queries: list[Suggested] = field(default_factory=list)
    blocked: BlockList = field(default_factory=BlockList)


@dataclass(frozen=True)
class ExportJob:
    """An export under way."""

    order: ExportOrder
    catalogue: Catalogue
    pairs: Pairs  # the run's held-out ones
    queries: list[str]  # of these, each once, that a server takes
    folder: Path  # what will be the generation
    parts: Path  # what the stages leave until it is moved into ``folder``
    stages: Stages  # takes the rows
    position: Position | None = None  # how far it goes in the log of the live catalogue

    @property
    def config(self) -> ExportConfig:
        """Index, precisions, engine, targets, threads."""
        return self.order.config

    @property
    def merged(self) -> Path:
        """The folder of the merged encoder."""
        return self.folder / ENCODER_FOLDER
