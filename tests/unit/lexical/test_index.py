"""The lexical index against bm25s called directly, under filters of every share, and its model numbers."""

from __future__ import annotations

import random
from collections.abc import Sequence

import bm25s
import numpy as np
import pyarrow as pa
import pytest

from trident.attributes.attributes import Attributes
from trident.attributes.building import write_attributes
from trident.attributes.inference import infer
from trident.errors import ConfigError
from trident.lexical.analyzer import Analyzer, AnalyzerConfig
from trident.lexical.index import (
    CODE_ROWS,
    EXACT,
    MOST_TOKENS,
    NEAR,
    LexicalConfig,
    LexicalIndex,
    field_texts,
    tokenize,
)
from trident.lexical.postings import Bm25, Postings, idf


def made_queries(titles: Sequence[str], count: int) -> list[str]:
    draw = random.Random(11)
    queries = []
    for _ in range(count):
        words = [
            word for _ in range(draw.randrange(1, 4)) for word in draw.choice(titles).split()[: draw.randrange(1, 5)]
        ]
        queries.append(" ".join(words))
    return [*queries, "nothing of this", "usbc", "black black black"]


def reference(titles: Sequence[str], bm25: Bm25) -> tuple[bm25s.BM25, Analyzer]:
    analyzer = Analyzer(AnalyzerConfig())
    direct = bm25s.BM25(k1=bm25.k1, b=bm25.b, method="lucene", backend="numpy")
    direct.index([analyzer.tokens(title) for title in titles], show_progress=False)
    return direct, analyzer


@pytest.mark.parametrize("bm25", [Bm25(), Bm25(k1=1.5, b=0.75), Bm25(k1=0.0, b=0.0)])
def test_scores_are_those_of_bm25s(titles: Sequence[str], bm25: Bm25) -> None:
    index = LexicalIndex.build(titles, LexicalConfig(bm25=bm25))
    direct, analyzer = reference(titles, bm25)
    for query in made_queries(titles, 60):
        tokens = [token for token in dict.fromkeys(analyzer.tokens(query)) if token in direct.vocab_dict]
        expected = direct.get_scores(tokens) if tokens else np.zeros(len(titles))
        best = sorted(np.flatnonzero(expected).tolist(), key=lambda row: (-expected[row], row))[:25]
        rows, scores = index.search(query, 25)
        assert rows.tolist() == best
        np.testing.assert_allclose(scores, expected[best], rtol=1e-6)


@pytest.mark.parametrize("share", [0.003, 0.01, 0.1, 0.5, 0.99, 1.0])
def test_a_filter_loses_nothing_at_any_share(titles: Sequence[str], lexical: LexicalIndex, share: float) -> None:
    draw = np.random.default_rng(5)
    for query in made_queries(titles, 30):
        size = max(1, int(share * len(titles)))
        permitted = np.sort(draw.choice(len(titles), size, replace=False)).astype(np.uint32)
        everything, scores = lexical.search(query, len(titles))
        kept = np.isin(everything, permitted)
        rows, found = lexical.search(query, 7, permitted)
        assert rows.tolist() == everything[kept][:7].tolist()
        assert found.tolist() == scores[kept][:7].tolist()
    assert lexical.search("sony", 5, np.zeros(0, dtype=np.uint32))[0].tolist() == []


def test_equal_scores_stand_in_the_catalogue_s_order() -> None:
    index = LexicalIndex.build(["red sofa"] * 30 + ["blue sofa"] * 30, LexicalConfig())
    assert index.search("sofa", 20)[0].tolist() == list(range(20))
    assert index.search("blue sofa", 40)[0].tolist() == [*range(30, 60), *range(10)]


def test_a_long_query_is_read_to_a_bound(lexical: LexicalIndex, titles: Sequence[str]) -> None:
    text = " ".join(titles)
    assert len(lexical.tokens(text)) == MOST_TOKENS
    assert lexical.tokens(text) == lexical.tokens(text + " sony" * 1000)
    assert len(lexical.search(text, 10)[0]) == 10


def test_titles_without_a_token_are_never_found() -> None:
    index = LexicalIndex.build(["…", "--", "!"], LexicalConfig())
    assert index.search("…", 3)[0].tolist() == []
    assert index.query("anything 123456").tokens == ()
    assert LexicalIndex.build(["…", "sofa"], LexicalConfig()).search("sofa …", 3)[0].tolist() == [1]


def test_fields_count_as_often_as_their_weight(tmp_path) -> None:
    table = pa.table({"brand": ["Sony", "Acme", None], "price": [1.0, 2.0, 3.0], "tags": [["red", "new"], [], None]})
    write_attributes(tmp_path, infer(table, {}, "products"), 3)
    attributes = Attributes.load(tmp_path)
    titles = ["headphones", "headphones", "headphones sony"]
    fields = {name: list(field_texts(attributes, name)) for name in ("brand", "tags")}
    assert fields == {"brand": ["Sony", "Acme", ""], "tags": ["red new", "", ""]}
    tokenized = tokenize(titles, fields, Analyzer(AnalyzerConfig()))
    without = LexicalIndex.of(tokenized, LexicalConfig())
    assert without.search("sony", 3)[0].tolist() == [2]
    heavy = LexicalIndex.of(tokenized, LexicalConfig(title=1, fields={"brand": 4, "tags": 1}))
    assert heavy.search("sony", 3)[0].tolist() == [0, 2]
    assert heavy.search("new", 3)[0].tolist() == [0]
    assert LexicalIndex.of(tokenized, LexicalConfig(title=0, fields={"brand": 1})).search("sony", 3)[0].tolist() == [0]
    with pytest.raises(ConfigError, match=r"must name attributes of text \(brand, tags\), got 'price'"):
        list(field_texts(attributes, "price"))
    with pytest.raises(ConfigError, match=r"must name attributes of text \(brand, tags\), got 'colour'"):
        list(field_texts(attributes, "colour"))


@pytest.mark.parametrize("form", ["{0}", "{1}", "{2}", "buy {0} now", "the {2} cheap"])
def test_a_model_number_is_found_however_it_is_typed(lexical: LexicalIndex, titles: Sequence[str], form: str) -> None:
    for row in range(0, 400, 40):
        code = titles[row].split()[1] if not titles[row].startswith("USB") else ""
        joined = code.replace("-", "").lower()
        spaced = code.replace("-", " ")
        assert lexical.codes(form.format(code, joined, spaced)) == {row: EXACT}


def test_the_beginning_of_a_model_number_or_its_parts_are_near(lexical: LexicalIndex, titles: Sequence[str]) -> None:
    code = titles[0].split()[1].replace("-", "").lower()
    assert lexical.codes(code[:-1]) == {0: NEAR}
    index = LexicalIndex.build(["Sony WH 1000 XM 4", "Sony WH 1000 XM 5", "Sony 4"], LexicalConfig())
    assert index.codes("wh1000xm4") == {0: NEAR}
    assert index.codes("zz1000xm4") == {}


def test_what_many_products_share_is_no_model_number() -> None:
    titles = [f"cable cat6a {row}" for row in range(CODE_ROWS + 1)]
    assert LexicalIndex.build(titles, LexicalConfig()).codes("cat6a") == {}
    assert len(LexicalIndex.build(titles[:-1], LexicalConfig()).codes("cat6a")) == CODE_ROWS
    many = [f"part ab{row:04d}x" for row in range(2 * CODE_ROWS)]
    assert LexicalIndex.build(many, LexicalConfig()).codes("ab00x5") == {}
    assert LexicalIndex.build(many, LexicalConfig()).codes("ab00") == {}
    assert LexicalIndex.build(["x1 y", *many], LexicalConfig()).codes("ab00 part") == {}


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: Bm25(k1=-0.1), r"lexical.k1 must be >= 0, got -0.1"),
        (lambda: Bm25(b=1.1), r"lexical.b must be in \[0, 1\], got 1.1"),
        (lambda: LexicalConfig(fields={"brand": 11}), r"lexical weight of brand must be 0 to 10, got 11"),
        (lambda: LexicalConfig(title=0), r"the title or an attribute must have a weight above 0, got none"),
    ],
)
def test_settings_out_of_range_are_refused(make, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        make()


def test_what_a_token_is_worth_is_lucene_s() -> None:
    postings = Postings.build([[0], [0, 1], [0]], 2, Bm25())
    assert postings.frequency(1) == 1
    assert postings.scores[3] == pytest.approx(idf(3, 1) / (0.3 * (1 - 0.6 + 0.6 * 2 / (4 / 3)) + 1), rel=1e-5)
