"""Pairs that are all relevant, as clicks are: trained with InfoNCE, judged among drawn products."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from trident.data.catalogue import read_catalogue
from trident.data.pairs import Pairs, normalized_query, read_pairs
from trident.errors import ConfigError, DataError
from trident_train.data.relevant_only import OTHERS, products_of, with_others
from trident_train.data.sources import load_sources
from trident_train.recipe import DataRecipe, SourceRecipe, TrainRecipe
from trident_train.run import train


def clicks(queries: int = 30, *, products: int = 30) -> Pairs:
    titles = [f"title {number % products}" for number in range(queries)]
    labels = np.ones(queries, dtype=np.int8)
    return Pairs([f"query {number}" for number in range(queries)], titles, labels, labels.astype(np.float32), titles)


def saved(path: Path, pairs: Pairs) -> str:
    pairs.save(path)
    return str(path)


def test_others_are_drawn_for_each_query_and_are_not_relevant_to_it() -> None:
    pairs = clicks(200, products=80)
    pairs = dataclasses.replace(pairs, queries=[query.replace("0", " 0") for query in pairs.queries])
    among = with_others(pairs, products_of(pairs, None), "p.csv")
    assert len(among) == 200 * (1 + OTHERS)
    assert among.labels.sum() == 200
    for query in dict.fromkeys(among.queries):
        titles = [title for each, title in zip(among.queries, among.titles, strict=True) if each == query]
        assert len(set(titles)) == 1 + OTHERS
    again = with_others(pairs, products_of(pairs, None), "p.csv")
    assert again.titles == among.titles
    assert {normalized_query(query) for query in among.queries} == {normalized_query(each) for each in pairs.queries}


def test_a_product_keeps_the_title_of_the_pairs(tmp_path: Path) -> None:
    pairs = clicks(40)
    ids = [title.removeprefix("title ") for title in pairs.titles]
    rows = "".join(f"{number},another title {number}\n" for number in range(500))
    (tmp_path / "c.csv").write_text("product_id,product_title\n" + rows)
    catalogue = read_catalogue(tmp_path / "c.csv")
    pairs = dataclasses.replace(pairs, product_ids=ids)
    among = with_others(pairs, products_of(pairs, catalogue), "p.csv")
    assert len(among) == 40 * (1 + OTHERS)
    among.save(tmp_path / "p.parquet")
    assert read_pairs(tmp_path / "p.parquet").titles == among.titles


def test_clicks_are_split_and_judged_by_ranking(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recipe = DataRecipe(pairs=saved(tmp_path / "p.parquet", clicks()), test_share=0.3, validation_share=0.2)
    with caplog.at_level("INFO"):
        (source,) = load_sources(recipe, loss="infonce")
    assert source.parts.train.labels.all()
    assert source.parts.test.labels.sum() == 9
    assert len(source.parts.test) == 9 * 30
    assert "all pairs are relevant; the held-out queries are judged by how high theirs stand among" in caplog.text


@pytest.mark.parametrize("loss", ["cosine", "cosent", "distillation"])
def test_losses_that_need_irrelevant_pairs_say_so(tmp_path: Path, loss: str) -> None:
    recipe = DataRecipe(pairs=saved(tmp_path / "p.parquet", clicks()))
    with pytest.raises(DataError, match=f"loss.name '{loss}' needs relevant and irrelevant pairs, got 21 relevant of "
                       r"21 in the train split of .*: train with loss\.name = \"infonce\""):  # fmt: skip
        load_sources(recipe, loss=loss)


def test_clicks_on_one_product_cannot_be_ranked(tmp_path: Path) -> None:
    recipe = DataRecipe(pairs=saved(tmp_path / "p.parquet", clicks(products=1)))
    with pytest.raises(DataError, match="judged by ranking them among other products, got none that is not relevant"):
        load_sources(recipe, loss="infonce")


def test_clicks_are_trained_and_judged(tmp_path: Path, tiny_recipe: TrainRecipe, tiny_data: Path) -> None:
    recipe = dataclasses.replace(
        tiny_recipe,
        data=DataRecipe(pairs=saved(tmp_path / "p.parquet", clicks()), test_share=0.3, validation_share=0.2),
        loss=dataclasses.replace(tiny_recipe.loss, name="infonce"),
        optimizer=dataclasses.replace(tiny_recipe.optimizer, epochs=1),
    )
    report = train(recipe, tmp_path / "run")
    assert {row.name for row in report.test} == {"random", "BM25", "pretrained", "lora"}
    assert all(0 < row.judged.ndcg_at_10 <= 1 for row in report.test)


CSV = "query,product_id,product_title,relevance_label\n" + "".join(
    f"q{number},{number}.0,title {number} {label},{label}\n" for number in range(20) for label in (1,)
)


def test_ids_that_do_not_meet_are_told_or_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "p.csv").write_text(CSV)
    (tmp_path / "c.csv").write_text("product_id,product_title\n" + "".join(f"{row},t {row}\n" for row in range(20)))
    source = {"pairs": str(tmp_path / "p.csv"), "catalogue": tmp_path / "c.csv"}
    load_sources(DataRecipe(**source), loss="infonce")  # type: ignore[arg-type]
    assert r"20 of the 20 products of" in caplog.text
    for recipe, ranked in ((DataRecipe(**source, rank_catalogue=True), False), (DataRecipe(**source), True)):  # type: ignore[arg-type]
        with pytest.raises(DataError, match=r"20 are there when spelt otherwise \('0.0' as '0'\): mend the ids"):
            load_sources(recipe, loss="infonce", ranked=ranked)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"columns": {"grades": "gain"}}, r"data.columns: unknown name 'grades' \(did you mean 'grade'\?\)"),
        ({"gains": {"E": -1.0}}, "data.gains: a gain must be >= 0, got -1 for 'E'"),
        ({"catalogue_columns": {"product_id": "sku"}}, "data.catalogue_columns needs data.catalogue, got none"),
        ({"catalogue_encoding": "cp1252"}, "data.catalogue_encoding needs data.catalogue, got none"),
        (
            {"catalogue": Path("c.csv"), "catalogue_columns": {"query": "q"}},
            "data.catalogue_columns: unknown name 'query'",
        ),
    ],
)
def test_recipes_that_read_nothing(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SourceRecipe(pairs="p.csv", **keys)  # type: ignore[arg-type]


def test_a_shops_own_names_letters_and_encodings(tmp_path: Path) -> None:
    rows = "".join(f"Mühle {row};{sku};{label}\n" for row in range(20) for sku, label in (("a", "E"), ("b", "I")))
    (tmp_path / "p.csv").write_bytes(f"search_term;sku;esci\n{rows}".encode("cp1252"))
    (tmp_path / "c.tsv").write_bytes("sku\tname\na\tKaffeemühle\nb\tTeekanne\n".encode("utf-16"))
    (source,) = load_sources(
        DataRecipe(
            pairs=str(tmp_path / "p.csv"),
            columns={"query": "search_term", "product_id": "sku", "relevance_label": "esci"},
            encoding="cp1252",
            gains={"E": 1.0, "I": 0.0},
            catalogue=tmp_path / "c.tsv",
            catalogue_columns={"product_id": "sku", "product_title": "name"},
        )
    )
    assert set(source.parts.train.titles) == {"Kaffeemühle", "Teekanne"}
    with pytest.raises(DataError, match=r"map it with data\.catalogue_columns\.product_id = \"COLUMN\""):
        load_sources(DataRecipe(pairs=str(tmp_path / "p.csv"), catalogue=tmp_path / "c.tsv"))
