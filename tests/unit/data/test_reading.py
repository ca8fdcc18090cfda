"""Columns that are mapped, and options that errors name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from trident.bench.queries import draw_queries
from trident.comparison.compared_queries import read_queries
from trident.data.catalogue import read_catalogue
from trident.data.pairs import read_pairs
from trident.data.reading import (
    COMMAND,
    COMMAND_PAIRS,
    EXPORT_CATALOGUE,
    PAIR_COLUMNS,
    QUERY_COLUMNS,
    Options,
    Reading,
    parse_columns,
    recipe_catalogue_options,
    recipe_options,
)
from trident.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("grades=gain", "--column: unknown name 'grades' (did you mean 'grade'?) (known: query, product_title,"),
        ("title", "--column takes NAME=COLUMN, got 'title'"),
        ("grade=", "--column takes NAME=COLUMN, got 'grade='"),
        ("grade= ", "--column: 'grade' must be mapped to a column, got none"),
    ],
)
def test_items_that_map_nothing(item: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_columns([item], PAIR_COLUMNS)


def test_a_name_is_mapped_once() -> None:
    assert parse_columns(["query=a=b", "query=a=b"], QUERY_COLUMNS) == {"query": "a=b"}
    with pytest.raises(ConfigError, match="--column maps a name once, got 'query' to 'a' and to 'b'"):
        parse_columns(["query=a", "query=b"], QUERY_COLUMNS)


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        (COMMAND, "--column product_title=COLUMN"),
        (EXPORT_CATALOGUE, "--set columns.product_title=COLUMN"),
        (recipe_options("data.sources.films"), 'data.sources.films.columns.product_title = "COLUMN"'),
        (recipe_catalogue_options(), 'data.catalogue_columns.product_title = "COLUMN"'),
    ],
)
def test_a_missing_column_names_an_option_of_the_command(tmp_path: Path, options: Options, remedy: str) -> None:
    (tmp_path / "c.csv").write_text("product_id,name\n1,Lamp\n")
    with pytest.raises(DataError, match=re.escape(f"found product_id, name; map it with {remedy}")):
        read_catalogue(tmp_path / "c.csv", Reading(options=options))


@pytest.mark.parametrize("read", [read_queries, lambda path, reading: draw_queries(path, reading, count=1)])
def test_queries_have_column_names_and_encodings_too(tmp_path: Path, read: Callable[..., list[str]]) -> None:
    (tmp_path / "q.csv").write_bytes("search_term;n\nMühle;1\n".encode("cp1252"))
    assert read(tmp_path / "q.csv", Reading(columns={"query": "search_term"}, encoding="cp1252")) == ["Mühle"]
    with pytest.raises(DataError, match=r"column 'query' is missing in .*map it with --column query=COLUMN"):
        read(tmp_path / "q.csv", Reading(encoding="cp1252"))
    with pytest.raises(DataError, match=r"column 'serch_term' is missing in .*, where --column query=serch_term looks "
                       r"for it \(did you mean 'search_term'\?\)"):  # fmt: skip
        read(tmp_path / "q.csv", Reading(columns={"query": "serch_term"}, encoding="cp1252"))
    (tmp_path / "q.TXT").write_bytes("Mühle\n".encode("utf-16"))
    assert read(tmp_path / "q.TXT", Reading()) == ["Mühle"]
    with pytest.raises(DataError, match=r"q\.TXT has no columns that could be mapped"):
        read(tmp_path / "q.TXT", Reading(columns={"query": "a"}))


def test_an_optional_column_that_is_mapped_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("query,product_title,relevance_label,gain\na,b,1,3\n")
    with pytest.raises(DataError, match=r"column 'gains' is missing .*grade=gains looks for it \(did you mean 'gain'"):
        read_pairs(tmp_path / "p.csv", Reading(columns={"grade": "gains"}))
    assert read_pairs(tmp_path / "p.csv", Reading(columns={"grade": "gain"})).grades.tolist() == [3.0]


def test_a_title_that_is_mapped_for_the_wrong_file_says_how_the_catalogue_is_mapped(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("query,product_id,relevance_label\na,1,1\n")
    (tmp_path / "c.csv").write_text("product_id,name\n1,Lamp\n")
    catalogue = read_catalogue(tmp_path / "c.csv", Reading(columns={"product_title": "name"}))
    for options, remedy in (
        (COMMAND_PAIRS, "--catalogue-column product_title=name"),
        (recipe_options(), 'data.catalogue_columns.product_title = "name"'),
    ):
        reading = Reading(columns={"product_title": "name"}, options=options)
        with pytest.raises(DataError, match=re.escape(f"a column of the catalogue is mapped with {remedy}")):
            read_pairs(tmp_path / "p.csv", reading, catalogue=catalogue)


def test_one_column_may_be_mapped_twice(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("title\nLamp\n")
    columns = {"product_id": "title", "product_title": "title"}
    assert read_catalogue(tmp_path / "c.csv", Reading(columns=columns)).product_ids == ["Lamp"]


def test_a_locale_tells_products_of_one_id_apart(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("query,product_id,product_title,relevance_label,country\nhose,A2,Hose,1,us\nrohr,A2,Rohr,1,de\n")
    with pytest.raises(DataError, match=r"map that column with --column product_locale=COLUMN"):
        read_pairs(path)
    assert read_pairs(path, Reading(columns={"product_locale": "country"})).product_ids == ["us:A2", "de:A2"]
    path.write_text("query,product_title,relevance_label,country\nhose,Hose,1,us\n")
    with pytest.raises(DataError, match=r"product_locale is mapped and .*p\.csv has no column product_id"):
        read_pairs(path, Reading(columns={"product_locale": "country"}))
