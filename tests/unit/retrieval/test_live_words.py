"""Words over a live catalogue: what came is found by them, what is gone is not, and filters reach both legs."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
from trident.cluster import collection as collection_module
from trident.cluster.collection import StoredState
from trident.cluster.loading import ProductFiles, load
from trident.cluster.points import NEW_ROWS, StoredProduct, gone_point, point_of
from trident.data.catalogue import Catalogue
from trident.errors import StoreError
from trident.generation.generation import Identity
from trident.index.index import IndexConfig, VectorIndex
from trident.journal.folder import LiveFolder
from trident.journal.log import Log
from trident.journal.published import Published
from trident.lexical.index import LexicalConfig, LexicalIndex
from trident.lexical.spelling import Spelling
from trident.live.follower import Follower
from trident.live.operations import Product, Tombstone, encode_record
from trident.live.vectors import VectorFile
from trident.ranking.settings import RankingSettings
from trident.retrieval.cluster_retriever import ClusterRetriever
from trident.retrieval.live_retriever import LiveRetriever, RetrieverRows
from trident.retrieval.requests import KnobTensors, SearchKnobs, read_knobs, with_texts
from trident.retrieval.retriever import Hits, Retriever
from trident.retrieval.words import Words

DIMENSION, ENCODER = 8, "a" * 64
IDENTITY = Identity(id="0123456789abcdef", serial=3, encoder_fingerprint=ENCODER)
SCHEMA = Schema(fields=(Field(name="brand", type="keyword"),))
TITLES = [f"{('Sony', 'HP', 'Zeiss')[row % 3]} {('lamp', 'sofa')[row % 2]} KX-{1000 + row}T" for row in range(80)]
SETTINGS = RankingSettings(mode="hybrid", weight=0.5, depth=20, spelling=("dense", "lexical"), weak_below=0.99)


def embed(titles: list[str]) -> np.ndarray:
    return embed_by_hash(titles, DIMENSION)


def retriever_of(folder: Path, products: dict[str, str], settings: RankingSettings = SETTINGS) -> Retriever:
    folder.mkdir()
    titles = list(products.values())
    write_attributes(folder, columns_of(SCHEMA, [{"brand": title.split()[0]} for title in titles]), len(titles))
    index = VectorIndex.build(embed(titles), config=IndexConfig(ef=64), encoder_fingerprint=ENCODER)
    lexical = LexicalIndex.build(titles, LexicalConfig())
    words = Words(lexical, Spelling(lexical), settings)
    return Retriever(index, Catalogue([*products], titles, pa.table({})), IDENTITY, Attributes.load(folder), words)


class Shop:
    """A log over a generation, and what follows it."""

    def __init__(self, path: Path) -> None:
        folder = LiveFolder(path / "live")
        folder.make()
        self.log, self.published = Log.open(folder.log), Published(folder.published)
        self.published.write(self.log.last, self.log.lineage)
        self.base = retriever_of(path / "base", {f"p{row}": title for row, title in enumerate(TITLES)})
        vectors = VectorFile(folder.vectors("f", "g"), fingerprint="f", dimension=DIMENSION)
        self.live = LiveRetriever(self.base, Follower(folder, RetrieverRows(self.base), 0, vectors, embed))

    def write(self, **changes: str | None) -> None:
        records = [
            encode_record(
                product,
                Tombstone() if title is None else Product(title=title, attributes={"brand": title.split()[0]}),
            )
            for product, title in changes.items()
        ]
        self.published.write(self.log.append(records), self.log.lineage)


class StoreShop:
    """The same over a store, whose collection has what a log says."""

    def __init__(self, base: Retriever, live: ClusterRetriever) -> None:
        self.base, self.live, self.number = base, live, 0
        self._say()

    def write(self, **changes: str | None) -> None:
        collection, points = self.live.collection, []
        for product, title in changes.items():
            self.number += 1
            if title is None:
                points.append(gone_point(product, self.number, DIMENSION))
                continue
            row = int(product[1:]) if product.startswith("p") else NEW_ROWS + self.number
            brand = {"brand": title.split()[0]}
            kept = StoredProduct(id=product, title=title, attributes=brand, row=row, number=self.number)
            points.append(point_of(kept, embed([title])[0], collection.keys))
        collection.write(points, self.number)
        self._say()

    def _say(self) -> None:
        state = StoredState(generation=IDENTITY.id, loaded=len(TITLES), complete=True, number=self.number, log="a log")
        self.live.collection.write_state(state)


@pytest.fixture(params=["local", "cluster"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop | StoreShop]:
    """Return what is written in files, and in a store: every test here is of both."""
    if request.param == "local":
        yield Shop(tmp_path)
        return
    base = retriever_of(tmp_path / "base", {f"p{row}": title for row, title in enumerate(TITLES)})
    with stored(base, request.getfixturevalue("stand_in").address) as live:
        yield StoreShop(base, live)


def knobs(retriever: Retriever, text: str, **options: Any) -> SearchKnobs:
    sent = KnobTensors(options=np.array([[json.dumps(options).encode()]], dtype=np.object_))
    return retriever.spelled(with_texts(read_knobs(sent, 1, retriever.attributes), [(text, "query")]))[0]


def ask(retriever: Retriever, text: str, **options: Any) -> Hits:
    return retriever.retrieve(embed([text]), [knobs(retriever, text, **options)])


def ids(hits: Hits) -> list[str]:
    return [each.decode() for each in hits.product_ids[0].tolist() if each]


def test_without_changes_it_answers_as_the_generation(shop: Shop | StoreShop) -> None:
    for text in ("sony lamp", "kx1007t", "sonny sofa"):
        for options in ({}, {"mode": "lexical"}, {"explain": True}, {"filter": {"brand": "HP"}}, {"offset": 5}):
            live, base = ask(shop.live, text, **options), ask(shop.base, text, **options)
            assert ids(live) == ids(base)
            said = {"sequence": 0, **json.loads(base.details[0, 0])}
            if "way" in said and not shop.live.is_local:
                said["way"] = "cluster"
            assert json.loads(live.details[0, 0]) == said
            np.testing.assert_allclose(live.scores, base.scores, atol=1e-6)


def test_what_came_is_found_by_its_words_and_what_is_gone_is_not(shop: Shop | StoreShop) -> None:
    shop.write(n1="Acme zeppelin ZZ-9001Q", n2="Sony zeppelin", p7="HP zeppelin chair", p4=None)
    assert set(ids(ask(shop.live, "zeppelin", mode="lexical"))) == {"n1", "n2", "p7"}
    assert ids(ask(shop.live, "zz 9001 q"))[0] == "n1"
    assert ids(ask(shop.live, "zz9001q", filter={"brand": "Acme"}))[0] == "n1"
    assert "n1" not in ids(ask(shop.live, "zz9001q", filter={"brand": "Sony"}))
    assert ids(ask(shop.live, "zeppelin", mode="lexical", filter={"brand": "Sony"})) == ["n2"]
    assert "p4" not in ids(ask(shop.live, "kx1004t"))
    assert ids(ask(shop.base, "kx1004t"))[0] == "p4"
    assert "p7" not in ids(ask(shop.live, "kx1007t", mode="lexical"))  # it has another title now
    shop.write(n1=None)
    assert set(ids(ask(shop.live, "zeppelin", mode="lexical"))) == {"n2", "p7"}


def test_spelling_knows_what_came(shop: Shop | StoreShop) -> None:
    assert json.loads(ask(shop.live, "lamq").details[0, 0])["corrected"] == "lamp"
    shop.write(n1="Acme lamq zeppelin")
    found = ask(shop.live, "lamq")
    assert "corrected" not in json.loads(found.details[0, 0])
    assert ids(ask(shop.live, "lamq", mode="lexical")) == ["n1"]
    assert json.loads(ask(shop.live, "zepelin").details[0, 0])["corrected"] == "zeppelin"
    typed = with_texts([SearchKnobs()], [("lamq", "query")])
    assert shop.live.spelled(typed, of_base=True)[0].corrected == "lamp"  # as golden queries are asked


def test_an_answer_is_that_of_an_export_of_the_same_products(shop: Shop | StoreShop, tmp_path: Path) -> None:
    """The statistics of words are the generation's: of titles that it has already, scores are the same."""
    shop.write(**{f"n{row}": TITLES[row] for row in range(3)})
    exported = retriever_of(
        tmp_path / "export",
        {f"p{row}": title for row, title in enumerate(TITLES)} | {f"n{row}": TITLES[row] for row in range(3)},
    )
    for text in ("sony lamp", "kx1001t"):
        assert set(ids(ask(shop.live, text))[:4]) == set(ids(ask(exported, text))[:4])


def test_places_that_are_begun_anew_keep_their_words(shop: Shop | StoreShop) -> None:
    for turn in range(40):
        shop.write(**{f"n{row}": f"Acme w{'abcdefghij'[turn % 10]}ord KY-{turn}{row:03d}" for row in range(60)})
        assert len(ids(ask(shop.live, f"w{'abcdefghij'[turn % 10]}ord", mode="lexical"))) == 10
    assert ids(ask(shop.live, "ky39007"))[0] == "n7"
    live = shop.live
    lexical = (live._now() if isinstance(live, ClusterRetriever) else live.products()).lexical
    assert lexical is not None
    assert lexical.codes("ky38007") == {}


def test_answers_of_the_generation_and_of_the_catalogue_in_one_batch(shop: Shop | StoreShop) -> None:
    shop.write(n1="Acme zeppelin ZZ-9001Q")
    asked = [knobs(shop.live, text) for text in ("zz9001q", "kx1004t", "zz9001q")]
    hits = shop.live.retrieve(embed(["a", "b", "c"]), asked, of_base=[True, False, False])
    assert hits.product_ids[2, 0] == b"n1"
    assert b"n1" not in hits.product_ids[0].tolist()
    assert hits.product_ids[1, 0] == b"p4"
    assert hits.weak == {row for row in range(3) if hits.scores[row].max() < 0.99}


@pytest.fixture
def in_store(tmp_path: Path, stand_in: Any) -> Iterator[StoreShop]:
    base = retriever_of(tmp_path / "base", {f"p{row}": title for row, title in enumerate(TITLES)})
    with stored(base, stand_in.address) as live:
        yield StoreShop(base, live)


def test_what_is_beyond_the_number_of_a_store_comes_once(in_store: StoreShop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group is written before the collection says so: a reader may see it in between, and again behind that."""
    monkeypatch.setattr(collection_module, "CHANGES", 2)  # points that are fetched at once
    with monkeypatch.context() as patched:
        patched.setattr(in_store, "_say", lambda: None)
        in_store.write(n1="Acme zeppelin", n2="Acme zeppelin", n3="Acme zeppelin", p4=None)
    assert ids(ask(in_store.live, "zeppelin", mode="lexical", spelling=False)) == []
    in_store.number -= 2
    in_store._say()
    assert set(ids(ask(in_store.live, "zeppelin", mode="lexical"))) == {"n1", "n2", "n3"}
    in_store.number += 2
    in_store.write(n2=None)
    found = ask(in_store.live, "zeppelin", mode="lexical")
    assert (sorted(ids(found)), json.loads(found.details[0, 0])["sequence"]) == (["n1", "n3"], 5)
    assert in_store.live._now().snapshot.tail_rows == 2
    assert "p4" not in ids(ask(in_store.live, "kx1004t"))


def test_a_store_that_was_loaded_again_is_followed_from_there(in_store: StoreShop) -> None:
    in_store.write(n1="Acme zeppelin", p4=None)
    assert ids(ask(in_store.live, "zeppelin", mode="lexical")) == ["n1"]
    products = ProductFiles(
        in_store.base.product_ids, in_store.base.titles, in_store.base.attributes, in_store.base.index
    )
    in_store.live.collection.connection.drop(in_store.live.collection.name)
    load(in_store.live.collection, products, StoredState(generation=IDENTITY.id))
    assert ids(ask(in_store.live, "zeppelin", mode="lexical")) == []
    assert ids(ask(in_store.live, "kx1004t"))[0] == "p4"


def test_what_is_no_product_of_ours_is_an_error(in_store: StoreShop) -> None:
    live = in_store.live
    nobody = gone_point("n1", 1, DIMENSION)
    payload = {name: value for name, value in (nobody.payload or {}).items() if name != "id"}
    live.collection.write([nobody.model_copy(update={"payload": payload})], 1)
    in_store.number = 1
    in_store._say()
    with pytest.raises(StoreError, match=r"must hold products with their numbers, got a point without: somebody else"):
        ask(live, "sony lamp")
    live.golden.connection.drop(live.golden.name)
    live.golden.create()
    with pytest.raises(StoreError, match=r"must say to which number generation 0123456789abcdef goes, got nothing: it"):
        ClusterRetriever(live.collection, live.golden, IDENTITY, live.files)


def test_nobody_compares_every_product_for_words_either(in_store: StoreShop) -> None:
    with pytest.raises(StoreError, match=r"are in a store: they cannot all be compared$"):
        in_store.live._now().nearest_exactly(embed(["a"]), 3, None)
