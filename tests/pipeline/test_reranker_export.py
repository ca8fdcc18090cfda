"""A reranker in a generation: proven at the export, bound by fingerprints, what a searcher answers; sabotage."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trident_kernels
from safetensors.numpy import load_file, save_file
from transformers import AutoTokenizer

from trident.data.pairs import query_hashes, read_pairs
from trident.encoder.encoder import FINGERPRINT_KEY
from trident.encoder.pairs import PairRow, pair_rows
from trident.errors import ConfigError, DataError, GenerationError, ModelError
from trident.generation.generation import IDENTITY_FILE, RERANKER_FOLDER, Generation, Identity
from trident.quality.latency import SAMPLES, WARM_UP, latency_in_turns
from trident.ranking.calibration import DENSE
from trident.ranking.mixing import mixed
from trident.ranking.pair_scorer import PAIR_CODES_FILE, GraphScorer, KernelScorer, load_scorer
from trident.ranking.reranking import Reranker
from trident.ranking.trees import TREES_FILE
from trident.retrieval.requests import SearchKnobs
from trident.search.searcher import FIRST_STAGE_BY_VECTORS, Searcher
from trident.server.runtime_repository import check_identities
from trident_export.config import ExportConfig, PrecisionConfig
from trident_export.job import ExportOrder
from trident_export.merge.reranker import load_classifier
from trident_export.pipeline import export_generation

CONFIG = ExportConfig(threads=1)


@pytest.fixture
def copy(two_stages: Generation, tmp_path: Path) -> Generation:
    return Generation.load(Path(shutil.copytree(two_stages.folder, tmp_path / two_stages.id)))


def test_an_export_says_what_its_second_stage_does(two_stages: Generation) -> None:
    rows = {row["stage"]: row["proof"] for row in two_stages.manifest.stages}
    assert rows["reranker"].startswith("merged, differs from base + adapter by ")
    assert "logits differ from PyTorch by at most" in rows["reranker onnx"]
    assert "and not from batch to batch" in rows["reranker kernels"]
    assert "overlap@10 with float32" in rows["reranker int8"]
    runs = bool(trident_kernels.instructions_8_bits())
    in_8_bits = "logits do not differ from batch to batch" if runs else "not made: this processor"
    assert in_8_bits in rows["reranker int8 kernels"]
    assert rows["reranking"].startswith("on: NDCG@10 of validation queries ")
    assert "the logit's share 0.4" in rows["reranking"]
    quality = two_stages.manifest.quality
    change = quality["reranked"]["ndcg_at_10"] - quality["reranked"]["first_stage_ndcg_at_10"]
    assert quality["reranked"]["change"]["value"] == pytest.approx(change)
    assert set(quality["calibration"]) >= {"every_positive_known", DENSE}
    identity = Identity.load(two_stages.version_folder("pipeline"))
    assert (identity.reranker, identity.rerank) == (two_stages.manifest.parts["reranker"], 12)
    assert identity.rerank_weight == quality["reranked"]["weight"] == 0.4
    assert two_stages.manifest.parents["reranker"] == "two-stages-reranker"
    two_stages.verify_files()
    check_identities(two_stages)


def test_answers_are_those_of_transformers(two_stages: Generation) -> None:
    """Order, logits and scores of both stages, of every query of the test split: the tokens of transformers, the model
    as it was saved, the cosines that are served."""
    searcher = Searcher.load(two_stages)
    assert searcher.second_stage is not None
    folder = two_stages.folder / RERANKER_FOLDER
    tokenizer, model = AutoTokenizer.from_pretrained(str(folder)), load_classifier(folder)
    queries = [answer.query for answer in two_stages.golden()]
    dense = searcher.search(queries, [SearchKnobs(k=12, rerank=0)] * len(queries))
    found = searcher.search(queries, [SearchKnobs(k=12)] * len(queries))
    for row, query in enumerate(queries):
        titles = [title.decode() for title in dense.titles[row]]
        cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
        both = [[tokenizer.encode(text, add_special_tokens=False) for text in (query, title)] for title in titles]
        with torch.inference_mode():
            logits = [
                model(
                    input_ids=torch.tensor([[cls, *one, sep, *other, sep]]),
                    token_type_ids=torch.tensor([[0] * (len(one) + 2) + [1] * (len(other) + 1)]),
                ).logits.item()
                for one, other in both
            ]
        pairs = pair_rows(searcher.tokenizer, [query] * 12, titles)
        scorer, _ = load_scorer(folder, fingerprint=two_stages.manifest.parts["reranker"])
        assert scorer.score(pairs).tolist() == pytest.approx(logits, abs=1e-3)
        scores = 0.4 * np.array(logits) + 0.6 * 20 * dense.scores[row].astype(np.float64)
        both = mixed(scorer.score(pairs), dense.scores[row], 0.4)
        assert both.tolist() == pytest.approx(scores.tolist(), abs=1e-3)
        order = np.argsort(-both, kind="stable")
        assert found.titles[row].tolist() == [titles[place].encode() for place in order]
        assert json.loads(found.details[row, 0])["reranked"] == 12


def test_a_second_stage_takes_its_time_though_its_pairs_were_scored_before(two_stages: Generation) -> None:
    """The gate and compare-serving have asked the same queries before they time them."""
    searcher = Searcher.load(two_stages)
    assert searcher.second_stage is not None
    reranker = searcher.second_stage.reranker
    scorer, tokenizer = reranker.parts()
    scored: list[int] = []

    class Counted:
        def score(self, rows: list[PairRow]) -> np.ndarray:
            scored.append(len(rows))
            return scorer.score(rows)

    counted = Reranker(Counted(), tokenizer, cache=reranker.cache)
    searcher = replace(searcher, second_stage=replace(searcher.second_stage, reranker=counted))
    queries = [answer.query for answer in two_stages.golden()][:3]
    searcher.search(queries)
    assert reranker.cache.misses
    scored.clear()
    latency_in_turns({"one": searcher}, queries)
    assert scored == [12] * (WARM_UP + SAMPLES)


def test_the_kernels_in_8_bits_are_bound_and_near(two_stages: Generation, copy: Generation) -> None:
    """Of their own reranker only; without their file, or where a processor cannot, the graph in 8 bits serves."""
    if not trident_kernels.instructions_8_bits():
        pytest.skip("this processor has neither AVX2 nor ARM's dot product, which the kernels need for 8 bits")
    folder, fingerprint = two_stages.folder / RERANKER_FOLDER, two_stages.manifest.parts["reranker"]
    assert set(two_stages.manifest.parts) >= {"reranker/int8", "reranker/codes/int8"}
    codes, tokenizer = load_scorer(folder, fingerprint=fingerprint, precision="int8", threads=2)
    exact, _ = load_scorer(folder, fingerprint=fingerprint)
    graph, _ = load_scorer(folder, fingerprint=fingerprint, precision="int8", kernels="off")
    assert isinstance(codes, KernelScorer)
    assert isinstance(graph, GraphScorer)
    pairs = pair_rows(tokenizer, ["crimson sofa", "navy lamp " * 9] * 9, ["Alba sofa red", "Borex lamp " * 20] * 9)
    spread = float(exact.score(pairs).max() - exact.score(pairs).min())
    for each in (codes, graph):
        off = np.abs(each.score(pairs) - exact.score(pairs)).max()
        assert 0 < off < 0.1 * spread
    alone = np.concatenate([codes.score([pair]) for pair in pairs])
    assert np.array_equal(alone, codes.score(pairs))
    path = copy.folder / RERANKER_FOLDER / PAIR_CODES_FILE
    save_file(load_file(path), path, metadata={FINGERPRINT_KEY: "b" * 64})
    with pytest.raises(ModelError, match=r"weights .* must be of reranker [0-9a-f]{12}, got b{12}: export again"):
        load_scorer(copy.folder / RERANKER_FOLDER, fingerprint=fingerprint, precision="int8")
    path.unlink()
    without, _ = load_scorer(copy.folder / RERANKER_FOLDER, fingerprint=fingerprint, precision="int8")
    assert isinstance(without, GraphScorer)


def test_golden_answers_are_reranked(two_stages: Generation) -> None:
    searcher = Searcher.load(two_stages)
    golden = two_stages.golden()
    again = searcher.answer_again(golden)
    assert [answer.product_ids for answer in again] == [answer.product_ids for answer in golden]
    assert any(answer.scores != sorted(answer.scores, reverse=True) for answer in golden)
    reread = [answer for answer in golden if answer.mixed]
    assert [answer.options for answer in golden] == [""] * len(reread) + [FIRST_STAGE_BY_VECTORS] * len(reread)
    for answer in reread:  # what the order was decided by does not fall, and is that of both stages
        assert len(answer.mixed) == len(answer.product_ids)
        assert answer.mixed == sorted(answer.mixed, reverse=True)
    for answer in golden[len(reread) :]:  # the first stage alone, by cosines
        assert answer.by_vectors
        assert answer.scores == sorted(answer.scores, reverse=True)


def test_kernels_and_graph_give_the_same_logits(two_stages: Generation) -> None:
    folder, fingerprint = two_stages.folder / RERANKER_FOLDER, two_stages.manifest.parts["reranker"]
    kernels, tokenizer = load_scorer(folder, fingerprint=fingerprint, kernels="on", threads=2)
    graph, _ = load_scorer(folder, fingerprint=fingerprint, kernels="off")
    assert isinstance(kernels, KernelScorer)
    assert isinstance(graph, GraphScorer)
    pairs = pair_rows(tokenizer, ["crimson sofa", "navy lamp " * 9] * 9, ["Alba sofa red", "Borex lamp " * 20] * 9)
    assert graph.score(pairs) == pytest.approx(kernels.score(pairs), abs=1e-4)
    alone = np.concatenate([kernels.score([pair]) for pair in pairs])
    assert np.array_equal(alone, kernels.score(pairs))
    with pytest.raises(ModelError, match=r"cannot run 1 pairs: token ids must be 0 to"):
        kernels.score([replace(pairs[0], ids=[10**6])])
    with pytest.raises(ConfigError, match="kernels must be auto, on, off, got 'maybe'"):
        load_scorer(folder, fingerprint=fingerprint, kernels="maybe")


def test_a_reranker_of_another_generation_is_refused(copy: Generation) -> None:
    path = copy.folder / RERANKER_FOLDER / "model.safetensors"
    weights = load_file(path)
    weights["classifier.weight"] = weights["classifier.weight"] + 1
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"reranker .* must be that of the generation, [0-9a-f]{12}, got [0-9a-f]{12}"):
        Searcher.load(copy)
    shutil.rmtree(copy.folder / RERANKER_FOLDER)
    with pytest.raises(ModelError, match=r"reranker .* is missing, which the generation has: export again"):
        Searcher.load(copy)
    identity = Identity.load(copy.version_folder("pipeline"))
    replace(identity, reranker="b" * 64).save(copy.version_folder("pipeline"))
    with pytest.raises(GenerationError, match=r"reranker of its pipeline must be .* as in the manifest, got bbbb"):
        check_identities(copy)
    assert (copy.version_folder("pipeline") / IDENTITY_FILE).is_file()


def test_a_graph_of_another_reranker_is_refused(two_stages: Generation) -> None:
    graph = two_stages.folder / RERANKER_FOLDER / "model.onnx"
    with pytest.raises(ModelError, match=r"graph must be of reranker ffffffffffff, got [0-9a-f]{12}"):
        GraphScorer.load(graph, fingerprint="f" * 64, pad_id=0)
    with pytest.raises(ModelError, match=r"must have inputs attention_mask, input_ids and output logit, got "):
        GraphScorer.load(graph, fingerprint=two_stages.manifest.parts["reranker"], pad_id=0, kinds=1)
    with pytest.raises(ModelError, match=r"nowhere\.onnx does not exist: export again"):
        GraphScorer.load(graph.with_name("nowhere.onnx"), fingerprint="f" * 64, pad_id=0)


def test_the_run_of_an_encoder_is_no_reranker(both_runs: list[Path], tiny_data: Path, tmp_path: Path) -> None:
    order = ExportOrder(both_runs[0], tiny_data / "products.csv", tmp_path, CONFIG, reranker=both_runs[0])
    with pytest.raises(ModelError, match="the run of --reranker must be that of stage 'reranker', got one of"):
        export_generation(order)
    with pytest.raises(ModelError, match="the run must be that of stage 'encoder', got one of stage 'reranker'"):
        export_generation(replace(order, run=both_runs[1]))
    with pytest.raises(ModelError, match=r"is no run folder: recipe\.json cannot be read"):
        export_generation(replace(order, reranker=tmp_path))


@pytest.mark.parametrize("file", ["validation.parquet", "test.parquet"])
def test_a_reranker_that_was_trained_on_what_judges_it_is_refused(
    both_runs: list[Path], tiny_data: Path, tmp_path: Path, file: str
) -> None:
    reranker = Path(shutil.copytree(both_runs[1], tmp_path / "reranker"))
    trained = np.load(reranker / "trained_queries.npy")
    one = read_pairs(both_runs[0] / file).queries[0]
    np.save(reranker / "trained_queries.npy", np.append(trained, query_hashes([one])))
    order = ExportOrder(both_runs[0], tiny_data / "products.csv", tmp_path / "made", CONFIG, reranker=reranker)
    with pytest.raises(
        DataError, match=rf"judged by, got 1 of \d+ that .*reranker was trained on, such as '{one}': tr"
    ):
        export_generation(order)
    (reranker / "trained_queries.npy").unlink()
    with pytest.raises(ModelError, match=r"trained_queries\.npy is missing or damaged: train the reranker again"):
        export_generation(order)
    assert not list(tmp_path.glob("made/*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"judged_queries": 0}, "judged_queries must be >= 1, got 0"),
        ({"reranked": 201}, "reranked must be 1 to 200 candidates, got 201"),
        ({"rerank": -1}, "rerank must be 0 to 200 candidates, got -1"),
        ({"tree_attributes": ("price",)}, "tree_attributes need trees = true, got price"),
        (
            {"trees": True, "tree_attributes": ("a,b",)},
            "tree_attributes must have letters, digits and _ only, got 'a,b'",
        ),
        ({"rerank_weight": 0.0}, "rerank_weight must be above 0, at most 1, got 0.0"),
        ({"rerank_budget_ms": 0.0}, "rerank_budget_ms must be above 0 milliseconds, got 0.0"),
    ],
)
def test_settings_that_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExportConfig(**change)


def test_trees_say_whether_they_gain(both_runs: list[Path], tiny_data: Path, tmp_path: Path) -> None:
    """Kept or not: by queries that they were not fitted on; without a second stage they are refused."""
    config = replace(CONFIG, precision=PrecisionConfig(made=()), reranked=20, trees=True)
    order = ExportOrder(both_runs[0], tiny_data / "products.csv", tmp_path, config, reranker=both_runs[1])
    made = export_generation(order)
    (row,) = [row["proof"] for row in made.manifest.stages if row["stage"] == "trees"]
    assert "NDCG@10 over the reranker, validation queries " in row
    assert "gain by " in row
    kept = not row.startswith("not kept")
    assert ("trees" in made.manifest.parts) == kept
    assert (made.version_folder("retriever") / TREES_FILE).is_file() == kept
    with pytest.raises(DataError, match="trees order what a second stage scored: export with --reranker too"):
        export_generation(replace(order, reranker=None))
