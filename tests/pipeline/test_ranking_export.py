"""An export with words: what the manifest says of them, golden answers both ways, and what is refused afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from trident.data.catalogue import CATALOGUE_FILE, Catalogue
from trident.data.pairs import Pairs
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
from trident_export.stages.lexical import _weakness


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
