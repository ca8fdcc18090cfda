"""Merchandisers' rules where vectors and words rank together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from made_vectors import embed_by_hash
from stored import stored

from trident.attributes.attributes import Attributes
from trident.attributes.building import write_attributes
from trident.attributes.inference import columns_of
from trident.attributes.schema import Field, Schema
from trident.data.catalogue import Catalogue
from trident.generation.generation import Identity
from trident.index.index import IndexConfig, VectorIndex
from trident.lexical.index import LexicalConfig, LexicalIndex
from trident.lexical.spelling import Spelling
from trident.ranking.settings import RankingSettings
from trident.retrieval.requests import KnobTensors, SearchKnobs, read_knobs, with_texts
from trident.retrieval.retriever import Hits, Retriever
from trident.retrieval.ruling import ServedRules
from trident.retrieval.words import Words
from trident.rules.published import RULES, write_published
from trident.rules.ruleset import parse_rules

DIMENSION, ENCODER = 8, "a" * 64
SCHEMA = Schema(fields=(Field(name="brand", type="keyword"),))
TITLES = [f"{('Sony', 'HP', 'Zeiss')[row % 3]} {('lamp', 'sofa')[row % 2]} KX-{1000 + row}T" for row in range(80)]
SETTINGS = RankingSettings(mode="hybrid", weight=0.5, depth=20, weak_below=0.0)


def embed(titles: list[str]) -> np.ndarray:
    return embed_by_hash(titles, DIMENSION)


class Asking:
    """Asks a retriever with words by rules that are published."""

    def __init__(self, folder: Path, path: Path, take: Callable[[Retriever], Retriever]) -> None:
        write_attributes(folder, columns_of(SCHEMA, [{"brand": title.split()[0]} for title in TITLES]), len(TITLES))
        index = VectorIndex.build(embed(TITLES), config=IndexConfig(ef=64), encoder_fingerprint=ENCODER)
        lexical = LexicalIndex.build(TITLES, LexicalConfig())
        words = Words(lexical, Spelling(lexical), SETTINGS)
        catalogue = Catalogue([f"p{row}" for row in range(len(TITLES))], TITLES, pa.table({}))
        identity = Identity(id="0123456789abcdef", serial=3, encoder_fingerprint=ENCODER)
        self.retriever = take(Retriever(index, catalogue, identity, Attributes.load(folder), words))
        self.path, self.served = path, ServedRules(self.retriever)

    def publish(self, **kinds: Any) -> None:
        found = parse_rules(kinds, "rules")
        assert found.faults == ()
        write_published(self.path, found.rules, "rules.toml")
        self.served.refresh()

    def knobs(self, text: str, **options: Any) -> SearchKnobs:
        sent = KnobTensors(options=np.array([[json.dumps(options).encode()]], dtype=np.object_))
        knobs = with_texts(read_knobs(sent, 1, self.retriever.attributes), [(text, "query")])
        return self.retriever.spelled(self.served.applied(knobs, [(text, "query")]))[0]

    def hits(self, text: str, **options: Any) -> Hits:
        return self.retriever.retrieve(embed([text]), [self.knobs(text, **options)])

    def rows(self, text: str, **options: Any) -> list[int]:
        return rows_of(self.hits(text, **options))


def rows_of(hits: Hits) -> list[int]:
    return [int(each[1:]) for each in hits.product_ids[0].tolist() if each]


def details(hits: Hits) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(hits.details[0, 0])
    return found


@pytest.fixture(params=["local", "cluster"])
def asking(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asking]:
    """Return what asks products in files, and the same in a store: every test here is of both."""
    monkeypatch.setenv(RULES, str(tmp_path / "rules.json"))
    with ExitStack() as stack:

        def take(local: Retriever) -> Retriever:
            if request.param == "local":
                return local
            return stack.enter_context(stored(local, request.getfixturevalue("stand_in").address))

        yield Asking(tmp_path, tmp_path / "rules.json", take)


def test_words_find_their_synonyms(asking: Asking) -> None:
    keys = {"mode": "lexical", "spelling": False}
    assert asking.rows("settee", **keys) == []
    asking.publish(synonyms=[{"both_ways": ["settee", "sofa"]}, {"word": "light", "finds": ["lamp"]}])
    assert {row % 2 for row in asking.rows("settee", **keys)} == {1}
    assert details(asking.hits("settee", **keys))["rules"]["synonyms"] == ["sofa"]
    assert {row % 2 for row in asking.rows("a light", **keys)} == {0}
    assert "rules" not in details(asking.hits("lamp", **keys))  # one way
    assert asking.rows("settee", mode="lexical", spelling=False, rules=False) == []


def test_pins_stand_before_what_vectors_and_words_find(asking: Asking) -> None:
    before = asking.hits("sony lamp", explain=True)
    last, best = 79, rows_of(before)
    asking.publish(pins=[{"queries": ["sony lamp"], "products": [f"p{last}", f"p{best[4]}"]}])
    hits = asking.hits("sony lamp", explain=True)
    assert rows_of(hits) == [last, best[4], *(row for row in best if row not in (last, best[4]))][:10]
    vectors = embed(TITLES)[rows_of(hits)]
    np.testing.assert_allclose(hits.scores[0], vectors @ embed(["sony lamp"])[0], atol=1e-6)
    explained = details(hits)["explain"]
    assert len(explained) == 10
    assert (
        explained[2:]
        == [each for row, each in zip(best, details(before)["explain"], strict=True) if row not in (last, best[4])][:8]
    )


def test_exclusions_reach_both_legs(asking: Asking) -> None:
    for keys in ({}, {"mode": "lexical"}, {"mode": "dense"}):
        asking.publish()
        best = asking.rows("sony lamp", **keys)
        whole = asking.rows("sony lamp", offset=10, **keys)
        asking.publish(exclusions=[{"queries": ["sony lamp"], "products": [f"p{row}" for row in best[:3]]}])
        assert asking.rows("sony lamp", **keys)[:7] == best[3:]
        assert len(asking.rows("sony lamp", **keys)) == min(10, 7 + len(whole))
        code = f"kx{1000 + best[0]}t"
        asking.publish(exclusions=[{"products": [f"p{best[0]}"]}])
        assert best[0] not in asking.rows(code, **keys)


def test_boosts_are_added_to_what_decides(asking: Asking) -> None:
    before = asking.hits("sony lamp", explain=True)
    fused = {row: each["fused"] for row, each in zip(rows_of(before), details(before)["explain"], strict=True)}
    asking.publish(boosts=[{"queries": ["sony lamp"], "filter": {"brand": "HP"}, "by": 1}])
    hits = asking.hits("sony lamp", explain=True)
    assert {TITLES[row].split()[0] for row in rows_of(hits)[:3]} == {"HP"}
    after = {row: each["fused"] for row, each in zip(rows_of(hits), details(hits)["explain"], strict=True)}
    assert all(after[row] == pytest.approx(fused[row]) for row in fused.keys() & after.keys())


def test_a_batch_is_answered_as_its_queries_alone(asking: Asking) -> None:
    asking.publish(pins=[{"queries": ["sony lamp"], "products": ["p5"]}], synonyms=[{"both_ways": ["settee", "sofa"]}])
    texts = ["sony lamp", "hp settee", "zeiss", "kx1007t"]
    together = asking.retriever.retrieve(embed(texts), [asking.knobs(text) for text in texts])
    for row, text in enumerate(texts):
        alone = asking.hits(text)
        assert together.product_ids[row].tolist() == alone.product_ids[0].tolist()
        assert together.details[row, 0] == alone.details[0, 0]
