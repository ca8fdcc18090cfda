"""The rows of the bundled sample, as they stand in its two files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "validation", "test"]
QueryKind = Literal["plain", "synonym", "use", "misspelling", "attribute", "brand", "accessory"]
Grade = Literal[0, 1, 2, 3]

RELEVANT_FROM = 2  # the lowest grade whose relevance_label is 1


@dataclass(frozen=True)
class Product:
    """One product of the catalogue; ids and titles are unique."""

    product_id: str
    product_title: str
    brand: str
    department: str
    product_type: str


@dataclass(frozen=True)
class Pair:
    """One judged pair.

    Attributes:
        grade: 3 what was asked for, 2 acceptable instead, 1 related only, 0 irrelevant.
        relevance_label: 1 when the grade is at least 2, else 0.
        split: All queries of one intent, however worded or misspelt, are in one split.
        query_kind: How the query asks.
    """

    query: str
    product_id: str
    product_title: str
    grade: Grade
    relevance_label: Literal[0, 1]
    split: Split
    query_kind: QueryKind


@dataclass(frozen=True)
class Sample:
    """Catalogue and judged pairs; every product of a pair is in the catalogue."""

    products: tuple[Product, ...]
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class SamplePaths:
    """Where ``write_sample`` put the two files."""

    products: Path
    pairs: Path
