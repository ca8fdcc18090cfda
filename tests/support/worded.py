"""Products with words, and how tests ask for them."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trident.attributes.attributes import Attributes
from trident.attributes.building import write_attributes
from trident.attributes.inference import infer
from trident.data.catalogue import Catalogue
from trident.generation.generation import Identity
from trident.index.index import IndexConfig, VectorIndex
from trident.lexical.index import LexicalConfig, LexicalIndex
from trident.lexical.spelling import Spelling
from trident.ranking.settings import RankingSettings
from trident.retrieval.options import Page
from trident.retrieval.requests import KnobTensors, SearchKnobs, read_asked, read_knobs, with_texts
from trident.retrieval.retriever import Hits, Retriever
from trident.retrieval.words import Words
from trident.rules.effects import Effect, NamedProducts

COUNT, DIMENSION, DEPTH = 1500, 8, 40
ENCODER = "a" * 64
IDENTITY = Identity(id="0123456789abcdef", serial=3, encoder_fingerprint=ENCODER)
DRAW = random.Random(4)
KINDS = ("headphones", "notebook", "usb-c hub", "coffee grinder", "printer", "keyboard")
BRANDS = [DRAW.choice(("HP", "Dell", "Sony", "Zeiss")) for _ in range(COUNT)]
TITLES = [f"{BRANDS[row]} {DRAW.choice(KINDS)} {DRAW.choice('KLM')}X-{2000 + row}T{row % 9}" for row in range(COUNT)]
SETTINGS = RankingSettings(mode="hybrid", weight=0.4, depth=DEPTH, spelling=("dense", "lexical"))


def unit_rows(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


VECTORS, QUERIES = unit_rows(COUNT, seed=0), unit_rows(60, seed=1)


def built(folder: Path) -> Retriever:
    """Return products with words, brands and prices, in files of a folder."""
    table = pa.table({"brand": BRANDS, "price": [float(row % 40) for row in range(COUNT)]})
    write_attributes(folder, infer(table, {}, "products"), COUNT)
    index = VectorIndex.build(VECTORS, config=IndexConfig(ef=64), encoder_fingerprint=ENCODER)
    catalogue = Catalogue([f"p{row}" for row in range(COUNT)], TITLES, table)
    lexical = LexicalIndex.build(TITLES, LexicalConfig())
    words = Words(lexical, Spelling(lexical), SETTINGS)
    return Retriever(index, catalogue, IDENTITY, Attributes.load(folder), words)


def some(retriever: Retriever, count: int) -> int:
    """Return how often something is tried: less often in a store, whose stand-in looks at every product in Python."""
    return count if retriever.is_local else max(4, count // 10)


def told(retriever: Retriever, **settings: Any) -> Retriever:
    """Return the same with other settings."""
    assert retriever.words is not None
    return retriever.with_words(replace(retriever.words, settings=replace(retriever.words.settings, **settings)))


def knobs(retriever: Retriever, text: str, k: int = 10, min_score: float | None = None, **options: Any) -> SearchKnobs:
    lowest = None if min_score is None else np.array([[min_score]], dtype=np.float32)
    sent = KnobTensors(
        k=np.array([[k]]), min_score=lowest, options=np.array([[json.dumps(options).encode()]], dtype=np.object_)
    )
    read = read_knobs(sent, 1, retriever.attributes)
    texts = read_asked(np.array([[text.encode()]], dtype=np.object_), None, read)
    retriever.check_pages(read)
    return retriever.spelled(with_texts(read, texts))[0]


def ask(retriever: Retriever, text: str, query: int = 0, **options: Any) -> Hits:
    return retriever.retrieve(QUERIES[query : query + 1], [knobs(retriever, text, **options)])


def ids(hits: Hits, row: int = 0) -> list[str]:
    return [each.decode() for each in hits.product_ids[row].tolist() if each]


def details(hits: Hits, row: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(hits.details[row, 0])
    return found


def ruled(knob: SearchKnobs, **what: Any) -> SearchKnobs:
    """Return knobs with what merchandisers' rules do."""
    none = NamedProducts((), np.zeros(0, dtype=np.int64))
    effect = Effect("1", **{"pins": none, "excluded": none, **what})
    return replace(knob, page=replace(knob.page or Page(), effect=effect))
