"""A live catalogue answers as a generation that was exported of the same products does: ids, scores and details."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
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
from trident.cluster.collection import StoredState
from trident.cluster.points import NEW_ROWS, StoredProduct, gone_point, point_of
from trident.data.catalogue import Catalogue
from trident.errors import DataError
from trident.generation.generation import Identity
from trident.index.index import IndexConfig, VectorIndex
from trident.journal.folder import LiveFolder
from trident.journal.log import Log
from trident.journal.published import Published
from trident.live.follower import Follower
from trident.live.operations import Product, Tombstone, encode_record
from trident.live.vectors import VectorFile
from trident.retrieval.live_retriever import LiveRetriever, RetrieverRows
from trident.retrieval.requests import KnobTensors, SearchKnobs, read_asked, read_knobs, with_texts
from trident.retrieval.retriever import Hits, Retriever
from trident.retrieval.ruling import ServedRules
from trident.rules.published import RULES, write_published
from trident.rules.ruleset import RuleSet, parse_rules

DIMENSION, ENCODER = 8, "a" * 64
IDENTITY = Identity(id="0123456789abcdef", serial=3, encoder_fingerprint=ENCODER)
SCHEMA = Schema(
    fields=(
        Field(name="brand", type="keyword"),
        Field(name="price", type="number", borders=(10.0, 100.0)),
        Field(name="in_stock", type="boolean"),
        Field(name="tags", type="list"),
        Field(name="image", type="display"),
    )
)
BRANDS = ("HP", "Dell", "Größe", "茶", "Zeiss")
LATER = ("Acme", "Ikea", "Größer", "zz", "Émile", "0")  # before, between and behind those of the generation
Row = tuple[str, dict[str, Any]]


def embed(titles: list[str]) -> np.ndarray:
    return embed_by_hash(titles, DIMENSION)


def attributes_of(draw: random.Random, *, later: bool) -> dict[str, Any]:
    made = {
        "brand": draw.choice((*BRANDS, *(LATER if later else ()), None)),
        "price": draw.choice((None, 10.0, float(draw.randint(-5, 300)), draw.randint(0, 9) + 0.5)),
        "in_stock": draw.choice((True, None, False) if later else (True, None)),
        "tags": draw.sample(("new", "sale", "old", *(("b2b", "art") if later else ())), draw.randint(0, 3)),
        "image": f"https://example.org/{draw.randrange(1000)}.jpg",
    }
    return {name: value for name, value in made.items() if value not in (None, [])}


def retriever_of(folder: Path, rows: dict[str, Row]) -> Retriever:
    """Return what an export of some products serves."""
    folder.mkdir()
    titles = [title for title, _ in rows.values()]
    write_attributes(folder, columns_of(SCHEMA, [each for _, each in rows.values()]), len(rows))
    SCHEMA.save(folder / "attributes.json")  # borders that do not depend on the values
    index = VectorIndex.build(embed(titles), config=IndexConfig(ef=64), encoder_fingerprint=ENCODER)
    return Retriever(index, Catalogue([*rows], titles, pa.table({})), IDENTITY, Attributes.load(folder))


class Shop:
    """A log over a generation, what follows it, and what must be there: the generation's order, then the log's."""

    def __init__(self, path: Path, seed: int, products: int = 70) -> None:
        self.draw, self.path, self.exports = random.Random(seed), path, 0
        self.base: dict[str, Row] = {
            f"p{row}": (f"title {self.draw.randrange(60)}", attributes_of(self.draw, later=False))
            for row in range(products)
        }
        folder = LiveFolder(path / "live")
        folder.make()
        self.log, self.published = Log.open(folder.log), Published(folder.published)
        self.published.write(self.log.last, self.log.lineage)
        base = retriever_of(path / "base", self.base)
        vectors = VectorFile(folder.vectors("f", "g"), fingerprint="f", dimension=DIMENSION)
        self.follower = Follower(folder, RetrieverRows(base), 0, vectors, embed)
        self.live = LiveRetriever(base, self.follower)
        self.of_base, self.tail = dict(self.base), dict[str, Row]()

    def write(self, *changes: tuple[str, Row | None]) -> None:
        records = []
        for product, row in changes:
            self.of_base.pop(product, None)
            self.tail.pop(product, None)
            if row is not None:
                is_of_base = product in self.base and self.base[product][0] == row[0]
                (self.of_base if is_of_base else self.tail)[product] = row
            entry = Tombstone() if row is None else Product(title=row[0], attributes=row[1])
            records.append(encode_record(product, entry))
        self.published.write(self.log.append(records), self.log.lineage)

    def change(self) -> None:
        chosen = self.draw.sample([*self.base, *(f"n{number}" for number in range(30))], self.draw.randint(1, 15))
        self.write(*((product, self.changed(product)) for product in chosen))

    def changed(self, product: str) -> Row | None:
        if self.draw.random() < 0.25:
            return None
        title = self.draw.choice((f"title {self.draw.randrange(90)}", self.base.get(product, ("a title",))[0]))
        return title, attributes_of(self.draw, later=True)

    def exported(self) -> Retriever:
        ordered = {product: self.of_base[product] for product in self.base if product in self.of_base}
        self.exports += 1
        return retriever_of(self.path / f"export-{self.exports}", ordered | self.tail)


class StoreShop(Shop):
    """The same, whose products are in a store: what is written there is what the log says."""

    def __init__(self, path: Path, seed: int, address: str) -> None:
        super().__init__(path, seed)
        self.stack = ExitStack()
        self.live = self.stack.enter_context(stored(self.live.base, address))  # type: ignore[assignment]
        self.row_of = {product: row for row, product in enumerate(self.base)}
        self.write()

    def write(self, *changes: tuple[str, Row | None]) -> None:
        if changes:
            super().write(*changes)
        collection, points = self.live.collection, []  # type: ignore[attr-defined]
        for number, (product, row) in enumerate(changes, start=self.log.last - len(changes) + 1):
            if row is None:
                points.append(gone_point(product, number, DIMENSION))
                continue
            place = self.row_of.get(product, NEW_ROWS + number)
            kept = StoredProduct(id=product, title=row[0], attributes=row[1], row=place, number=number)
            points.append(point_of(kept, embed([row[0]])[0], collection.keys))
        collection.write(points, self.log.last)
        collection.write_state(
            StoredState(generation=IDENTITY.id, loaded=70, complete=True, number=self.log.last, log="a log")
        )


@pytest.fixture
def store_shop(tmp_path: Path, stand_in: Any) -> Iterator[StoreShop]:
    shop = StoreShop(tmp_path, 21, stand_in.address)
    with shop.stack:
        yield shop


def a_filter(draw: random.Random, deep: int = 2) -> dict[str, Any]:
    every: list[dict[str, Any]] = [
        {"brand": draw.choice((*BRANDS, *LATER, "nobody"))},
        {"brand": draw.sample((*BRANDS, *LATER), 3), "price": {"lt": draw.randint(0, 200)}},
        {"price": {"gte": 10, "lte": draw.randint(10, 300)}},
        {"price": [10, draw.randint(0, 9) + 0.5]},
        {"price": {"missing": draw.random() < 0.5}},
        {"in_stock": draw.random() < 0.5},
        {"in_stock": {"exists": draw.random() < 0.5}},
        {"tags": draw.choice(("new", "b2b", "art"))},
        {"tags": {"all": ["new", "sale"]}},
        {"tags": {"missing": True}},
        {"brand": {"not": ["HP", "Acme"]}},
    ]
    if deep:
        inner = [a_filter(draw, deep - 1) for _ in range(2)]
        every += [{"any": inner}, {"not": inner[0]}, {"all": inner}]
    return draw.choice(every)


def a_question(draw: random.Random, ids: list[str]) -> tuple[str, dict[str, Any]]:
    """Return a text, empty for none, and the keys of a query."""
    keys: dict[str, Any] = {
        "filter": a_filter(draw),
        "fields": draw.sample([field.name for field in SCHEMA.fields], 3),
        "facets": draw.choice((["brand", "price", "tags", "in_stock"], {"brand": 3, "price": [0, 10, 50]})),
        "sort": draw.choice(("price", "-price", "brand", "-brand", ["in_stock", "-price"], ["-brand", "price"])),
        "group": draw.choice(("brand", "price", "in_stock")),
        "offset": draw.randint(1, 20),
    }
    chosen = {name: keys[name] for name in draw.sample([*keys], draw.randint(1, 4))}
    kind = draw.random()
    if kind < 0.25:
        return "", chosen
    if kind < 0.4:
        return "", chosen | {"like": draw.choice(ids)}
    return f"title {draw.randrange(90)}", chosen


def ask(retriever: Retriever, text: str, k: int, options: dict[str, Any], served: ServedRules | None = None) -> Hits:
    sent = KnobTensors(k=np.array([[k]]), options=np.array([[json.dumps(options).encode()]], dtype=np.object_))
    read = read_knobs(sent, 1, retriever.attributes)
    texts = read_asked(np.array([[text.encode()]], dtype=np.object_), None, read)
    knobs = with_texts(read, texts)
    if served is not None:
        knobs = served.applied(knobs, texts)
    return retriever.retrieve(embed([text]), knobs)


def said(hits: Hits) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    found: dict[str, Any] = json.loads(hits.details[0, 0])
    count = int(hits.counts[0, 0])
    pairs = zip(hits.product_ids[0, :count].tolist(), hits.titles[0, :count].tolist(), strict=True)
    return [(product.decode(), title.decode()) for product, title in pairs], found


@pytest.mark.parametrize("seed", range(6))
def test_a_live_catalogue_answers_as_an_export_of_it(tmp_path: Path, seed: int) -> None:
    shop = Shop(tmp_path, seed)
    for _ in range(10):
        for _ in range(shop.draw.randint(1, 4)):
            shop.change()
        fresh = shop.exported()
        ids = list(fresh.product_ids)
        for _ in range(25):
            text, options = a_question(shop.draw, ids)
            k = shop.draw.choice((1, 5, 20, 100))
            live, exported = ask(shop.live, text, k, options), ask(fresh, text, k, options)
            (found, details), (expected, wanted) = said(live), said(exported)
            assert found == expected, (text, options)
            np.testing.assert_allclose(live.scores, exported.scores, atol=1e-6)
            assert details.pop("sequence") == shop.log.last
            assert (details.pop("way", None) is None) == (wanted.pop("way", None) is None)
            assert details == wanted, (text, options)


def test_a_store_answers_as_an_export_of_what_it_has(store_shop: StoreShop) -> None:
    """Products of a new title stand at their old place there, so that the order of equal ones is another."""
    shop = store_shop
    for _ in range(4):
        shop.change()
        fresh = shop.exported()
        ids = list(fresh.product_ids)
        for _ in range(12):
            text, options = a_question(shop.draw, ids)
            kept = {key: value for key, value in options.items() if key not in ("sort", "group", "offset")}
            options = kept or {"fields": ["brand"]}
            for k in (5, 200):
                live, exported = ask(shop.live, text, k, options), ask(fresh, text, k, options)
                (found, details), (expected, wanted) = said(live), said(exported)
                assert len(found) == len(expected), (text, options)
                np.testing.assert_allclose(live.scores, exported.scores, atol=1e-6)
                assert details.pop("sequence") == shop.log.last
                assert details.get("facets") == wanted.get("facets")
                assert details.get("total") == wanted.get("total")
            assert sorted(found) == sorted(expected)
            if "attributes" in details:
                by_id = dict(zip([each for each, _ in expected], wanted["attributes"], strict=True))
                assert details["attributes"] == [by_id[each] for each, _ in found]


def test_rules_hold_over_a_store_as_over_an_export_of_it(
    store_shop: StoreShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RULES, str(tmp_path / "rules.json"))
    rules_hold(store_shop, tmp_path / "rules.json", rounds=4, questions=12)


def some_rules(draw: random.Random, ids: list[str]) -> RuleSet:
    def queries() -> list[str]:
        return [f"title {number}" for number in draw.sample(range(90), 40)]

    every = [*ids, *(f"n{number}" for number in range(30)), "nobody"]
    found = parse_rules(
        {
            "pins": [{"queries": queries(), "products": draw.sample(every, 5)}],
            "exclusions": [
                {"queries": queries(), "products": draw.sample(every, 12)},
                {"products": [draw.choice(every)]},
            ],
            "boosts": [
                {"queries": queries(), "filter": a_filter(draw, 1), "by": draw.choice((0.3, -0.3))} for _ in range(3)
            ],
            "redirects": [{"queries": queries(), "to": "/here"}],
        },
        "rules",
    )
    assert found.faults == ()
    return found.rules


@pytest.mark.parametrize("seed", range(3))
def test_rules_hold_over_a_live_catalogue_as_over_an_export_of_it(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RULES, str(tmp_path / "rules.json"))
    assert rules_hold(Shop(tmp_path, seed + 10), tmp_path / "rules.json", rounds=8, questions=25) > 100


def rules_hold(shop: Shop, path: Path, *, rounds: int, questions: int) -> int:
    """Hold answers by rules, over what is written meanwhile, to those of an export; return how many rules spoke of."""
    over_live, ruled = ServedRules(shop.live), 0
    for _ in range(rounds):
        shop.change()
        fresh = shop.exported()
        ids = list(fresh.product_ids)
        write_published(path, some_rules(shop.draw, [*shop.base]), "rules.toml")
        over_live.refresh()
        over_export = ServedRules(fresh)
        for _ in range(questions):
            text, options = a_question(shop.draw, ids)
            k = shop.draw.choice((1, 5, 20, 100))
            live, exported = ask(shop.live, text, k, options, over_live), ask(fresh, text, k, options, over_export)
            (found, details), (expected, wanted) = said(live), said(exported)
            assert found == expected, (text, options)
            np.testing.assert_allclose(live.scores, exported.scores, atol=1e-6)
            for each in (details, wanted):
                each.pop("way", None)
            assert details.pop("sequence") == shop.log.last
            assert details == wanted, (text, options)
            ruled += "rules" in details
    assert ruled > rounds * questions // 2
    return ruled


def test_changes_without_an_end_take_no_more_room(tmp_path: Path) -> None:
    shop = Shop(tmp_path, 3)
    shop.write(("new", ("a new title", {"price": 1.0})))
    for number in range(60):
        shop.write(*((f"p{row}", (shop.base[f"p{row}"][0], {"brand": f"brand {number}"})) for row in range(60)))
        shop.write(("new", ("a new title", {"price": float(number)})))
        shop.live.products()
    snapshot = shop.follower.snapshot
    assert len(snapshot.places.rows) <= 2048
    found, details = said(ask(shop.live, "", 1000, {"filter": {"brand": "brand 59"}, "facets": ["brand"]}))
    assert details["total"] == len(found) == 60
    assert details["facets"]["brand"]["different"] <= len(BRANDS) + 1
    assert said(ask(shop.live, "", 9, {"filter": {"price": 59}}))[0] == [("new", "a new title")]


def test_a_page_that_is_held_stays_as_it_was(tmp_path: Path) -> None:
    shop = Shop(tmp_path, 5)
    shop.write(("p1", (shop.base["p1"][0], {"brand": "Acme"})), ("new", ("a title", {"brand": "Acme"})))
    before = shop.live.products()
    page = read_knobs(
        KnobTensors(options=np.array([[b'{"filter": {"brand": "Acme"}}']], dtype=np.object_)), 1, shop.live.attributes
    )[0].page
    assert page is not None
    assert page.filter is not None
    assert [each[0] for each in before.texts(before.passing(page.filter).astype(np.int64)[:, None])[0]] == [
        b"p1",
        b"new",
    ]
    shop.write(("p1", None), ("new", ("another", {"brand": "Zeiss"})))
    after = shop.live.products()
    assert len(after.passing(page.filter)) == 0
    assert len(before.passing(page.filter)) == 2
    assert (before.number, after.number) == (2, 4)
    assert after.tail.tolist() == [after.row("new")]


def test_like_names_the_number_where_a_product_is_gone(tmp_path: Path) -> None:
    shop = Shop(tmp_path, 6)
    shop.write(("p1", None))
    with pytest.raises(DataError, match=r"^like must be the id of a product of the catalogue at number 1, got 'p1'$"):
        ask(shop.live, "", 3, {"like": "p1"})


def test_what_is_asked_of_the_generation_alone_knows_nothing_of_changes(tmp_path: Path) -> None:
    shop = Shop(tmp_path, 7)
    shop.write(*((product, None) for product in shop.base))
    queries = embed(["title 1", "title 2"])
    hits = shop.live.retrieve(queries, [SearchKnobs(k=5)] * 2, of_base=[True, False])
    assert hits.counts[:, 0].tolist() == [5, 0]
    assert hits.details[:, 0].tolist() == [b"{}", b'{"sequence":70}']
    assert said(ask(shop.live, "", 5, {"sort": "price"}))[0] == []
