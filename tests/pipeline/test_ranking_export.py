"""An export with words: what the manifest says of them, golden answers both ways, and what is refused afterwards."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from trident.data.catalogue import CATALOGUE_FILE, Catalogue
from trident.data.pairs import Pairs, pairs_of_catalogue, read_pairs
from trident.errors import ConfigError, GenerationError, VectorIndexError
from trident.generation.generation import Generation
from trident.lexical.files import ARRAYS_FILE, RECORD_FILE, read_lexical_record, save_lexical
from trident.lexical.index import LexicalIndex
from trident.quality.config import GateConfig
from trident.quality.gate import run_gate
from trident.quality.ranking_choice import FEWEST
from trident.ranking.settings import RANKING_FILE
from trident.retrieval.retriever import Retriever
from trident.search.searcher import Searcher
from trident_export.config import ExportConfig, LexicalOptions, PrecisionConfig
from trident_export.job import ExportOrder
from trident_export.pipeline import export_generation
from trident_export.stages.candidates import every_positive_known
from trident_export.stages.lexical import _weakness
from trident_train.recipe import DataRecipe, SourceRecipe, TrainRecipe
from trident_train.report.judge import Request, prepare
from trident_train.run import train


@pytest.fixture(scope="module")
def exported(
    tiny_run: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Generation, dict[str, str]]:
    """Return a generation whose words have a weight, and the proof of each stage."""
    folder = tmp_path_factory.mktemp("words") / "generations"
    options = LexicalOptions(weight=0.5, language="german", depth=30)
    config = ExportConfig(threads=1, precision=PrecisionConfig(made=()), lexical=options)
    proofs: dict[str, str] = {}
    order = ExportOrder(tiny_run, tiny_data / "products.csv", folder, config)
    made = export_generation(order, report=lambda row: proofs.update({row.stage: row.proof}))
    return made, proofs


def test_the_manifest_says_how_words_take_part(exported: tuple[Generation, dict[str, str]]) -> None:
    generation, proofs = exported
    ranking = generation.manifest.ranking
    assert (ranking["mode"], ranking["weight"], ranking["depth"]) == ("hybrid", 0.5, 30)
    assert set(ranking["chosen"]) == {"bm25", "weight", "spelling", "weak"}
    assert ranking["chosen"]["weight"]["queries"] < FEWEST  # of the tiny run: nothing is chosen by so few
    assert "words; k1 0.3, b 0.6" in proofs["lexical"]
    assert proofs["ranking"].startswith("hybrid, weight of words 0.5")
    served = Searcher.load(generation).retriever
    assert served.words is not None
    assert served.words.settings.weight == 0.5
    assert served.words.lexical.config.analyzer.language == "german"
    assert {f"lexical/{name}" for name in (ARRAYS_FILE, RECORD_FILE, RANKING_FILE)} < set(generation.manifest.parts)


def test_weak_queries_are_named_the_weakest_first(exported: tuple[Generation, dict[str, str]]) -> None:
    served = Searcher.load(exported[0])
    queries = [answer.query for answer in exported[0].golden() if not answer.options]
    hits = served.search(queries)
    weakest = np.argsort(hits.scores.max(axis=1), kind="stable").tolist()
    found = [hits.product_ids[row, 0].decode() for row in range(len(queries))]
    products = ["nowhere" if row in weakest[:5] else found[row] for row in range(len(queries))]  # five find nothing
    labels = np.ones(len(queries), dtype=np.int8)
    bound, seen = _weakness(served, Pairs(queries, queries, labels, labels.astype(np.float32), products))
    assert bound is not None
    assert seen["queries"] == len(queries) >= 10
    assert seen["weak_queries"][:5] == [queries[row] for row in weakest[:5]]
    assert len(seen["weak_queries"]) == seen["weak"]
    assert exported[0].manifest.ranking["chosen"]["weak"].get("weak_queries", []) == []  # too few validation queries


def test_golden_answers_stand_both_ways(exported: tuple[Generation, dict[str, str]]) -> None:
    golden = exported[0].golden()
    by_words = [answer for answer in golden if answer.fused]
    assert by_words
    assert [answer.query for answer in golden if answer.options] == [answer.query for answer in by_words]
    again = Searcher.load(exported[0]).answer_again(golden)
    assert [answer.product_ids for answer in again] == [answer.product_ids for answer in golden]


def test_the_gate_holds_a_generation_as_it_is_served(
    exported: tuple[Generation, dict[str, str]], tmp_path: Path
) -> None:
    copy = Generation.load(Path(shutil.copytree(exported[0].folder, tmp_path / exported[0].id)))
    config = GateConfig(threads=1)
    assert next(check for check in run_gate(copy, None, config).checks if check.name == "golden").passed
    part = copy.version_folder("retriever")
    titles = list(Catalogue.load(part / CATALOGUE_FILE).titles)
    config = read_lexical_record(part).config
    for name in (ARRAYS_FILE, RECORD_FILE):
        (part / name).unlink()
    save_lexical(LexicalIndex.build(titles[::-1], config), part, part / CATALOGUE_FILE)  # the words of other products
    golden = next(
        check for check in run_gate(copy, None, config=GateConfig(threads=1)).checks if check.name == "golden"
    )
    assert not golden.passed
    with pytest.raises(GenerationError, match=r"lexical.arrays (must have|was changed)"):
        copy.check_files()


@pytest.mark.parametrize("name", [ARRAYS_FILE, RECORD_FILE])
def test_words_of_another_generation_are_refused(
    exported: tuple[Generation, dict[str, str]], generation: Generation, tmp_path: Path, name: str
) -> None:
    part = Path(shutil.copytree(exported[0].version_folder("retriever"), tmp_path / "1"))
    shutil.copy(generation.version_folder("retriever") / name, part / name)
    with pytest.raises(VectorIndexError, match=r"lexical index .*(must have|was changed)"):
        Retriever.load(part)


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"lexical.k1 and lexical.b must both be given or neither, got 0.3 and None"):
        LexicalOptions(k1=0.3)
    with pytest.raises(ConfigError, match=r"lexical.depth must be 10 to 1,000 products, got 5"):
        LexicalOptions(depth=5)
    with pytest.raises(ConfigError, match=r"ranking.weight must be in \[0, 1\], got 2"):
        LexicalOptions(weight=2)
    with pytest.raises(ConfigError, match=r"lexical.language must be one of"):
        LexicalOptions(language="klingon")  # type: ignore[arg-type]


def test_of_several_sources_those_of_the_catalogue_choose_and_judge(
    tiny_recipe: TrainRecipe, tiny_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Ids of a run of several sources have the source's name in front; the catalogue's have not."""
    shop = read_pairs(tiny_data / "pairs.csv")
    others = replace(
        shop, queries=[f"{query} ozur" for query in shop.queries], product_ids=[f"x{each}" for each in shop.product_ids]
    )
    others.save(tmp_path / "others.parquet")
    catalogue = tiny_data / "products.csv"
    known = SourceRecipe(pairs=str(tiny_data / "pairs.csv"), catalogue=catalogue, every_positive_known=True)
    sources = {"shop": known, "others": SourceRecipe(pairs=str(tmp_path / "others.parquet"))}
    data = DataRecipe(sources=sources, validation_share=0.2, test_share=0.3)
    run = tmp_path / "run"
    train(replace(tiny_recipe, method="none", data=data), run)
    assert {each.partition(":")[0] for each in read_pairs(run / "test.parquet").product_ids} == {"shop", "others"}
    config = ExportConfig(threads=1, precision=PrecisionConfig(made=()))
    with caplog.at_level("INFO"):
        made = export_generation(ExportOrder(run, catalogue, tmp_path / "generations", config))
    assert "judged by the pairs of shop, whose products the catalogue" in caplog.text
    assert "are not in the catalogue" not in caplog.text
    kept = read_pairs(made.folder / "test.parquet")
    assert set(kept.product_ids) <= set(shop.product_ids)
    assert kept.queries
    chosen = made.manifest.ranking["chosen"]["weight"]["queries"]
    assert chosen == len({query for query in read_pairs(run / "validation.parquet").queries if "ozur" not in query})
    assert made.manifest.quality["catalogue"]["ndcg_at_10"] > 0
    assert every_positive_known(run, ("shop",))
    assert not every_positive_known(run)
    request = Request(model=str(run), pairs=run / "test.parquet", catalogue=catalogue)
    prepared = prepare(request)
    assert sorted(prepared.pairs.product_ids) == sorted(kept.product_ids)
    assert prepared.validation is not None
    assert set(prepared.validation.product_ids) <= set(shop.product_ids)
    assert any(note.startswith("validation pairs of shop, whose products") for note in prepared.notes)


def test_a_catalogue_of_no_source_leaves_the_pairs_as_they_are() -> None:
    shop = Catalogue([str(each) for each in range(4)], ["a", "b", "c", "d"], pa.table({}))
    few = [f"one:{each}" for each in (0, 1, 7, 8)] + [f"two:{each}" for each in (3, 7, 8)]
    count = len(few)
    labels = np.ones(count, dtype=np.int8)
    pairs = Pairs([f"q{each}" for each in few], few, labels, labels.astype(np.float32), few)
    found, names = pairs_of_catalogue(pairs, ["one", "two"], shop)
    assert (names, found.product_ids, found.queries[0]) == (("one",), ["0", "1", "7", "8"], "qone:0")
    assert pairs_of_catalogue(pairs, ["two", "three"], shop) == (pairs, ())
    assert pairs_of_catalogue(pairs, ["one"], shop) == (pairs, ())  # ids of one source are plain
