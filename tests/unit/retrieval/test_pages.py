"""Filters, order, groups, counts, further pages, browsing and similar products, against exact search in plain NumPy."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from trident.attributes.attributes import Attributes
from trident.attributes.building import write_attributes
from trident.attributes.inference import infer
from trident.data.catalogue import Catalogue
from trident.errors import DataError, GenerationError
from trident.generation.generation import Identity
from trident.index.index import IndexConfig, VectorIndex
from trident.retrieval.requests import KnobTensors, SearchKnobs, read_asked, read_knobs, with_texts
from trident.retrieval.retriever import Hits, Retriever

COUNT, DIMENSION = 700, 8
ENCODER = "a" * 64
IDENTITY = Identity(id="0123456789abcdef", serial=3, encoder_fingerprint=ENCODER)
DRAW = random.Random(4)
BRANDS = [DRAW.choice(("HP", "Dell", "Zeiss", None)) for _ in range(COUNT)]
PRICES = [DRAW.choice((None, float(DRAW.randint(0, 40)))) for _ in range(COUNT)]


def unit_rows(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


VECTORS = unit_rows(COUNT, seed=0)
VECTORS[100:110] = VECTORS[7]  # equal vectors: ties by row
QUERIES = unit_rows(4, seed=1)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    folder = tmp_path_factory.mktemp("version")
    columns = {"brand": pa.array(BRANDS, pa.string()), "price": pa.array(PRICES, pa.float64())}
    table = pa.table({**columns, "place": pa.array([float(row * 37 % COUNT) for row in range(COUNT)])})
    write_attributes(folder, infer(table, {}, "products"), COUNT)
    index = VectorIndex.build(VECTORS, config=IndexConfig(ef=64), encoder_fingerprint=ENCODER)
    catalogue = Catalogue([f"p{row}" for row in range(COUNT)], [f"title {row}" for row in range(COUNT)], table)
    return Retriever(index, catalogue, IDENTITY, Attributes.load(folder))


def way(retriever: Retriever, of_files: str) -> str:
    return of_files if retriever.is_local else "cluster"


def knobs(retriever: Retriever, text: str = "sofa", k: int = 10, **options: Any) -> SearchKnobs:
    sent = KnobTensors(k=np.array([[k]]), options=np.array([[json.dumps(options).encode()]], dtype=np.object_))
    read = read_knobs(sent, 1, retriever.attributes)
    texts = read_asked(np.array([[text.encode()]], dtype=np.object_), None, read)
    return with_texts(read, texts)[0]


def ask(retriever: Retriever, knob: SearchKnobs, query: int = 0) -> Hits:
    return retriever.retrieve(QUERIES[query : query + 1], [knob])


def rows_of(hits: Hits) -> list[int]:
    return [int(each[1:]) for each in hits.product_ids[0, : hits.counts[0, 0]].tolist()]


def details(hits: Hits) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(hits.details[0, 0])
    return found


def best(query: np.ndarray, rows: list[int]) -> list[int]:
    scores = (VECTORS.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
    return sorted(rows, key=lambda row: (-scores[row], row))


def passing(brand: str | None = None, below: float | None = None) -> list[int]:
    return [
        row
        for row in range(COUNT)
        if (brand is None or BRANDS[row] == brand)
        and (below is None or (PRICES[row] is not None and PRICES[row] < below))
    ]


def test_a_filter_finds_the_nearest_of_what_passes(retriever: Retriever) -> None:
    for query in range(4):
        hits = ask(retriever, knobs(retriever, filter={"brand": "HP", "price": {"lt": 20}}), query)
        expected = best(QUERIES[query], passing("HP", 20))[:10]
        assert rows_of(hits) == expected
        np.testing.assert_allclose(hits.scores[0], VECTORS[expected] @ QUERIES[query], atol=1e-6)
        assert details(hits) == {"way": way(retriever, "gathered")}
        assert hits.ways == (way(retriever, "gathered"),)


def test_the_nearest_are_those_of_exact_search(retriever: Retriever) -> None:
    hits = retriever.retrieve(QUERIES, [SearchKnobs(k=20)] * 4)
    for query in range(4):
        expected = best(QUERIES[query], list(range(COUNT)))[:20]
        assert [int(each[1:]) for each in hits.product_ids[query].tolist()] == expected
        np.testing.assert_allclose(hits.scores[query], VECTORS[expected] @ QUERIES[query], atol=1e-6)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 1.0])
def test_recall_is_whole_whatever_share_passes(retriever: Retriever, share: float) -> None:
    below = max(1, round(share * COUNT))
    rows = [row for row in range(COUNT) if row * 37 % COUNT < below]
    for query in range(4):
        hits = ask(retriever, knobs(retriever, filter={"place": {"lt": below}}, k=10), query)
        assert rows_of(hits) == best(QUERIES[query], rows)[:10]


def test_nothing_passes_and_few_pass(retriever: Retriever) -> None:
    hits = ask(retriever, knobs(retriever, filter={"brand": "nobody"}))
    assert hits.counts.tolist() == [[0]]
    assert details(hits) == {"way": way(retriever, "gathered")}
    assert len(rows_of(ask(retriever, knobs(retriever, k=1000, filter={"brand": "HP"})))) == len(passing("HP"))


def test_a_page_alone_is_a_page_among_others(retriever: Retriever) -> None:
    asked = [
        knobs(retriever, filter={"brand": "HP"}, fields=["price"], k=3),
        SearchKnobs(k=7),
        knobs(retriever, text="", sort="price", k=12),
        SearchKnobs(k=2, min_score=0.9),
    ]
    together = retriever.retrieve(QUERIES, asked)
    for row, knob in enumerate(asked):
        alone = retriever.retrieve(QUERIES[row : row + 1], [knob])
        part = together.rows(row, row + 1, knob.k)
        for name, values in part.tensors().items():
            np.testing.assert_array_equal(values, alone.tensors()[name], name)
        assert part.ways == alone.ways


def test_attributes_stand_beside_the_products(retriever: Retriever) -> None:
    hits = ask(retriever, knobs(retriever, fields=["price", "brand"], k=5))
    expected = [
        {"price": None if PRICES[row] is None else int(PRICES[row] or 0), "brand": BRANDS[row]} for row in rows_of(hits)
    ]
    assert details(hits) == {"attributes": expected}


@pytest.mark.parametrize("options", [{}, {"filter": {"brand": ["HP", "Dell"]}}, {"sort": "-price"}, {"group": "price"}])
def test_pages_continue_each_other(retriever: Retriever, options: dict[str, Any]) -> None:
    whole = rows_of(ask(retriever, knobs(retriever, k=120, offset=0, fields=["brand"], **options)))
    pages = []
    for offset in range(0, 120, 30):
        pages += rows_of(ask(retriever, knobs(retriever, k=30, fields=["brand"], offset=offset, **options)))
    assert pages[:60] == whole[:60]
    assert len(set(pages)) == len(pages)


def test_sort_and_group_take_the_best(retriever: Retriever) -> None:
    everything = best(QUERIES[0], passing("HP"))
    found = rows_of(ask(retriever, knobs(retriever, filter={"brand": "HP"}, sort="price", k=20)))
    assert found == sorted(everything, key=lambda row: (PRICES[row] is None, PRICES[row] or 0))[:20]
    found = rows_of(ask(retriever, knobs(retriever, filter={"brand": "HP"}, group="price", k=20)))
    seen: set[float] = set()
    expected = []
    for row in everything:
        price = PRICES[row]
        if price is None or price not in seen:
            expected.append(row)
        if price is not None:
            seen.add(price)
    assert found == expected[:20]


def test_counts_leave_out_their_own_condition(retriever: Retriever) -> None:
    wanted = {"brand": "HP", "price": {"lt": 20}}
    hits = ask(retriever, knobs(retriever, filter=wanted, facets=["brand", "price"]))
    facets = details(hits)["facets"]
    counts = {each["value"]: each["count"] for each in facets["brand"]["values"]}
    assert counts == {name: sum(BRANDS[row] == name for row in passing(below=20)) for name in ("HP", "Dell", "Zeiss")}
    assert facets["brand"]["missing"] == sum(BRANDS[row] is None for row in passing(below=20))
    assert sum(each["count"] for each in facets["price"]["ranges"]) == sum(
        PRICES[row] is not None for row in passing("HP")
    )
    assert rows_of(hits) == best(QUERIES[0], passing("HP", 20))[:10]


def test_without_a_query_everything_that_passes_is_browsed(retriever: Retriever) -> None:
    hits = ask(retriever, knobs(retriever, text=" ", filter={"brand": "HP"}, sort="-price", offset=5, k=8))
    expected = sorted(passing("HP"), key=lambda row: (PRICES[row] is None, -(PRICES[row] or 0)))
    assert rows_of(hits) == expected[5:13]
    assert details(hits) == {"way": "browse", "total": len(expected)}
    assert hits.scores.tolist() == [[0.0] * 8]
    everything = ask(retriever, knobs(retriever, text="", fields=[], offset=COUNT - 3, k=9))
    assert rows_of(everything) == [COUNT - 3, COUNT - 2, COUNT - 1]
    assert details(everything)["total"] == COUNT
    grouped = ask(
        retriever, knobs(retriever, text="", group="brand", filter={"brand": {"exists": True}}, facets=["brand"])
    )
    assert [BRANDS[row] for row in rows_of(grouped)] == list(dict.fromkeys(filter(None, BRANDS)))
    assert details(grouped)["total"] == 3
    assert details(grouped)["facets"]["brand"]["missing"] == BRANDS.count(None)


def test_products_like_another_are_without_it(retriever: Retriever) -> None:
    hits = ask(retriever, knobs(retriever, text="", like="p7", k=15))
    expected = [row for row in best(VECTORS[7], list(range(COUNT))) if row != 7][:15]
    assert rows_of(hits) == expected
    assert rows_of(hits)[:10] == list(range(100, 110))
    assert hits.scores[0, 0] == pytest.approx(1)
    filtered = ask(retriever, knobs(retriever, text="", like="p7", filter={"brand": "Dell"}, k=15))
    assert (
        rows_of(filtered)
        == [row for row in expected if BRANDS[row] == "Dell"][:15]
        + [row for row in best(VECTORS[7], passing("Dell")) if row not in expected and row != 7][
            : 15 - sum(BRANDS[row] == "Dell" for row in expected)
        ]
    )
    with pytest.raises(
        DataError, match=r"^like must be the id of a product of generation 0123456789abcdef, got 'p9999'$"
    ):
        ask(retriever, knobs(retriever, text="", like="p9999"))


def test_min_score_holds_for_pages(retriever: Retriever) -> None:
    knob = knobs(retriever, filter={"brand": "HP"}, k=50, facets=["price"])
    border = float(ask(retriever, knob).scores[0, 20])
    kept = ask(retriever, SearchKnobs(k=50, min_score=border, page=knob.page))
    assert kept.counts[0, 0] == 21


@pytest.mark.parametrize(
    ("text", "options", "line"),
    [
        ("sofa", {"like": "p1"}, "^like stands instead of a query, got both: 'sofa' and 'p1'$"),
        (
            "sofa",
            {"offset": 991},
            r"^offset and k together must be at most 1,000 in a search, got 991 and 10: narrow it",
        ),
        ("sofa", {"offset": -1}, r"^'offset' must be >= 0, got -1 .options.$"),
        ("sofa", {"offset": 1.5}, "^'offset' must be of type int, got 1.5 of type float .options.$"),
        ("", {"like": ""}, "^'like' must be the id of a product, got '' .options.$"),
        ("", {}, "^query must not be empty, got ''$"),
        ("sofa", {"fields": "brand"}, r'^fields must be a list of fields such as \["brand"\], got "brand"$'),
        (
            "sofa",
            {"fields": ["brnad"]},
            "^fields has no field 'brnad' .did you mean 'brand'.*: it has brand, price, place$",
        ),
        ("sofa", {"filter": {"brand": 7}}, "^filter: brand is a keyword and takes a text, got 7$"),
        ("sofa", {"sequence": 3}, "^options has no key 'sequence' in this generation"),
        ("sofa", {"filter": {"brand": "x" * 10_000_000}}, "^options must have at most 100,000 bytes, got 10,000,0"),
    ],
)
def test_what_no_page_is_is_refused(retriever: Retriever, text: str, options: dict[str, Any], line: str) -> None:
    with pytest.raises(DataError, match=line):
        knobs(retriever, text=text, **options)


def test_who_sees_embeddings_only_refuses_products(retriever: Retriever) -> None:
    with pytest.raises(DataError, match=r"^like is answered by the variant cpu alone: this one searches embeddings$"):
        retriever.check(QUERIES[:1], [knobs(retriever, text="", like="p1")])
    retriever.check(QUERIES[:1], [knobs(retriever, filter={"brand": "HP"})])


def test_attributes_of_another_catalogue_are_refused(local: Retriever) -> None:
    catalogue = Catalogue([f"p{row}" for row in range(COUNT)], ["t"] * COUNT, pa.table({}))
    with pytest.raises(
        GenerationError, match=r"^attributes and catalogue of generation .* got 5 and 700: export again$"
    ):
        Retriever(local.index, catalogue, IDENTITY, Attributes.none(5))
