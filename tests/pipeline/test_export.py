"""Export for real on a tiny run: every stage's proof, and refusals that leave nothing behind."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
import trident_kernels
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from trident.data.catalogue import read_catalogue
from trident.data.pairs import read_pairs
from trident.encoder.base_model import weights_fingerprint
from trident.encoder.encoder import OnnxEncoder
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.errors import ConfigError, DataError, ExportError, GenerationError, ModelError, TridentError
from trident.generation.generation import Generation, find_generation, list_generations
from trident.index.exact_search import exact_search
from trident.index.index import VectorIndex
from trident.search.searcher import Searcher
from trident_export.config import ExportConfig, PrecisionConfig
from trident_export.graphs.graph_file import check_graph
from trident_export.graphs.onnx_graph import EncoderGraph, export_onnx
from trident_export.job import ExportOrder
from trident_export.judge.parity import Expected, ProbeTexts, chosen_lengths, prove_parity, torch_embeddings
from trident_export.merge.adapter import require_equal
from trident_export.merge.merge import ENCODER, load_backbone, merge
from trident_export.pipeline import export_generation
from trident_export.progress_rows import Stage
from trident_export.repository import render
from trident_train.report.run_folder import load_run

PLAIN = ExportConfig(threads=1, precision=PrecisionConfig(made=()))


def export(
    run: Path,
    catalogue: Path,
    output: Path,
    config: ExportConfig = PLAIN,
    report: Callable[[Stage], None] = lambda _: None,
) -> Generation:
    return export_generation(ExportOrder(run, catalogue, output, config), report=report)


@pytest.fixture
def run_copy(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def served(generation: Generation, model: str) -> Path:
    return generation.version_folder(model)


def test_a_catalogue_may_be_a_folder_of_parts(
    generation: Generation, tiny_run: Path, tiny_data: Path, tmp_path
) -> None:
    """The parts of one table make the generation that the table makes; its manifest names them by all their bytes."""
    header, *rows = (tiny_data / "products.csv").read_text().splitlines(keepends=True)
    folder = tmp_path / "products"
    folder.mkdir()
    for name, part in (("a.csv", rows[:50]), ("b.csv", rows[50:])):
        (folder / name).write_text("".join([header, *part]))
    made = export(tiny_run, folder, tmp_path / "generations")
    assert made.manifest.parts["catalogue"] == generation.manifest.parts["catalogue"]
    both = "".join(
        f"{name}:{hashlib.sha256((folder / name).read_bytes()).hexdigest()}\n" for name in ("a.csv", "b.csv")
    )
    assert made.manifest.parents["catalogue"] == f"products sha256:{hashlib.sha256(both.encode()).hexdigest()}"


def test_the_generation_is_whole(generation: Generation, tiny_run: Path) -> None:
    generation.verify_files()
    manifest = generation.manifest
    assert [row["stage"] for row in manifest.stages] == [
        "attributes", "suggestions", "merge", "onnx", "parity", "unpadded", "kernels", "catalogue", "index", "fp16",
        "int8", "int8 unpadded", "int8 kernels", "lexical", "ranking", "golden", "quality", "calibration",
        "repository", "gate",
    ]  # fmt: skip
    assert manifest.products == 144
    trained = json.loads((tiny_run / "report.json").read_text())["test"][-1]["judged"]["roc_auc"]["value"]
    assert manifest.quality["judged"]["roc_auc"]["value"] == pytest.approx(trained, abs=1e-3)
    assert manifest.parents["base_weights"]
    contract = TextContract.load(generation.folder / "encoder")
    tokenizer = TextTokenizer.load(generation.folder / "encoder", contract)
    assert manifest.fingerprints == {
        "weights": weights_fingerprint(generation.folder / "encoder"),
        "tokenizer": tokenizer.fingerprint,
        "text": contract.fingerprint,
    }
    joint = hashlib.sha256("\n".join(manifest.fingerprints[name] for name in ("weights", "tokenizer", "text")).encode())
    assert manifest.encoder_fingerprint == joint.hexdigest()
    assert not any(name in manifest.parts for name in manifest.fingerprints)  # ids are made of the joint one


def test_merged_model_equals_base_plus_adapter_and_not_base(generation: Generation, tiny_run: Path) -> None:
    texts = ["crimson kettle", "Alba sofa red", "x"]
    trained = load_run(tiny_run).embed(texts, "query")
    folder = generation.folder / "encoder"
    graph = EncoderGraph(load_backbone(folder), TextContract.load(folder))
    onnx_encoder = OnnxEncoder.load(served(generation, "encoder") / "model.onnx")
    tokenizer = TextTokenizer.load(folder, TextContract.load(folder))
    found = onnx_encoder.embed_ids(tokenizer.token_ids(texts, "query"), pad_id=tokenizer.pad_id)
    np.testing.assert_allclose(found, trained, atol=1e-5)
    proof = prove_parity(
        onnx_encoder, Expected(partial(torch_embeddings, graph), "PyTorch"), ProbeTexts(tokenizer, texts, texts)
    )
    assert proof.smallest_cosine > 0.99999


def test_merged_folder_loads_in_plain_transformers(generation: Generation) -> None:
    _, info = AutoModel.from_pretrained(str(generation.folder / "encoder"), output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]


def test_index_answers_like_exact_search(generation: Generation, tiny_data: Path) -> None:
    catalogue = read_catalogue(tiny_data / "products.csv")
    folder = generation.folder / "encoder"
    tokenizer = TextTokenizer.load(folder, TextContract.load(folder))
    encoder = OnnxEncoder.load(served(generation, "encoder") / "model.onnx")
    index = VectorIndex.load(served(generation, "retriever"))
    vectors = encoder.embed_ids(tokenizer.token_ids(catalogue.titles, "product"), pad_id=tokenizer.pad_id)
    golden = json.loads((generation.folder / "golden.json").read_text())
    queries = encoder.embed_ids(
        tokenizer.token_ids([answer["query"] for answer in golden], "query"), pad_id=tokenizer.pad_id
    )
    exact = exact_search(vectors, queries, 10)
    np.testing.assert_allclose(index.search(queries, 10).scores, exact.scores, atol=1e-5)
    for row, answer in enumerate(golden):
        np.testing.assert_allclose(answer["scores"], exact.scores[row], atol=1e-5)


def test_the_same_inputs_give_the_same_generation(generation: Generation, tiny_run: Path, tiny_data: Path) -> None:
    folder = generation.folder.parent
    again = export(tiny_run, tiny_data / "products.csv", folder, ExportConfig(threads=1, reuse_graph=False))
    assert (again.id, again.serial) == (generation.id, generation.serial)
    assert len(list_generations(folder)) == 1


def test_serial_numbers_go_up_and_ids_differ(tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    first = export(tiny_run, tiny_data / "products.csv", tmp_path / "g")
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("".join((tiny_data / "products.csv").read_text().splitlines(keepends=True)[:50]))
    second = export(tiny_run, fewer, tmp_path / "g")
    assert first.id != second.id
    assert (first.serial, second.serial) == (1, 2)
    assert find_generation(tmp_path / "g").id == second.id
    assert find_generation(tmp_path / "g", first.id).serial == 1
    with pytest.raises(GenerationError, match=rf"generation '{first.id[:-1]}' is not in .*did you mean '{first.id}'"):
        find_generation(tmp_path / "g", first.id[:-1])


def test_an_adapter_whose_names_do_not_match_is_refused(run_copy: Path, tiny_data: Path, tmp_path: Path) -> None:
    path = run_copy / "adapter" / "adapter_model.safetensors"
    weights = {
        name.replace("base_model.model.", "base_model.model.wrapper."): value for name, value in load_file(path).items()
    }
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ExportError, match="the merged model must differ from its base"):
        export(run_copy, tiny_data / "products.csv", tmp_path / "generations")
    assert not (tmp_path / "generations").exists()


def test_a_reference_is_asked_once_for_each_batch(tokenizer: TextTokenizer) -> None:
    asked = []
    expected = Expected(lambda batch: asked.append(batch) or np.ones((len(batch.input_ids), 1)), "a reference")
    one, other = tokenizer.encode(["red sofa"], "query"), tokenizer.encode(["blue sofa", "lamp"], "query")
    for batch in (one, other, one, tokenizer.encode(["red sofa"], "query")):
        assert len(expected(batch)) == len(batch.input_ids)
    assert len(asked) == 2


def test_lengths_are_chosen_where_vectors_begin_and_end() -> None:
    assert chosen_lengths(3) == [1, 2, 3]
    assert chosen_lengths(40) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40]
    assert chosen_lengths(512)[-3:] == [497, 511, 512]


def test_a_changed_weight_breaks_parity(generation: Generation, tmp_path: Path) -> None:
    model = onnx.load(str(served(generation, "encoder") / "model.onnx"))
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = np.frombuffer(largest.raw_data, dtype=np.float32).copy()
    values[::2] += 0.5  # not all: layer normalisation would undo that
    largest.raw_data = values.tobytes()
    onnx.save(model, str(tmp_path / "model.onnx"))
    folder = generation.folder / "encoder"
    contract = TextContract.load(folder)
    with pytest.raises(ExportError, match=r"must equal PyTorch with a cosine of at least 0\.99999, got"):
        prove_parity(
            OnnxEncoder.load(tmp_path / "model.onnx"),
            Expected(partial(torch_embeddings, EncoderGraph(load_backbone(folder), contract)), "PyTorch"),
            ProbeTexts(TextTokenizer.load(folder, contract), ["crimson kettle"], ["Alba sofa red"]),
        )


def test_a_graph_that_gives_no_number_breaks_parity(generation: Generation, tmp_path: Path) -> None:
    model = onnx.load(str(served(generation, "encoder") / "model.onnx"))
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 2 and tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.raw_data = np.full(tuple(tensor.dims), np.nan, dtype=np.float32).tobytes()
    onnx.save(model, str(tmp_path / "model.onnx"))
    folder = generation.folder / "encoder"
    tokenizer = TextTokenizer.load(folder, contract := TextContract.load(folder))
    graph, encoder = EncoderGraph(load_backbone(folder), contract), OnnxEncoder.load(tmp_path / "model.onnx")
    expected = Expected(partial(torch_embeddings, graph), "PyTorch")
    with pytest.raises(ExportError, match=r"the ONNX graph must give finite values, got NaN or infinity for \(1, "):
        prove_parity(encoder, expected, ProbeTexts(tokenizer, ["sofa"], ["sofa"]))


def test_a_merge_that_rounds_too_much_is_refused(run_copy: Path, tmp_path: Path) -> None:
    path = run_copy / "adapter" / "adapter_model.safetensors"
    weights = load_file(path)
    for name, value in weights.items():  # two ranks that almost cancel: what is left of them is rounding
        if "lora_A" in name:
            value[1] = value[0] + 1e-5 * value[1]
        else:
            value[:, 1], value[:, 0] = -1e5 * value[:, 0], 1e5 * value[:, 0]
    save_file(weights, path, metadata={"format": "pt"})
    (tmp_path / "merged").mkdir()
    with pytest.raises(ExportError, match=r"must equal base \+ adapter within 0\.0001, got a difference of \d"):
        merge(run_copy, tmp_path / "merged")


def test_a_saved_model_that_is_another_is_refused(generation: Generation, tiny_model: Path) -> None:
    merged = load_backbone(generation.folder / "encoder")
    require_equal(generation.folder / "encoder", merged, ENCODER)
    with pytest.raises(ExportError, match="the saved model must equal the merged one when loaded again, got a differ"):
        require_equal(tiny_model, merged, ENCODER)


class Undecided(torch.nn.Module):
    """A backbone whose path depends on the text, which no graph can hold."""

    config = SimpleNamespace(vocab_size=10)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        """Return hidden values (B, L, 1)."""
        values = input_ids if input_ids.sum() > 5 else attention_mask
        return SimpleNamespace(last_hidden_state=values[..., None].float())


def test_what_onnx_cannot_hold_is_refused(generation: Generation, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="PyTorch could not export the encoder to ONNX: "):
        export_onnx(EncoderGraph(Undecided(), TextContract()), tmp_path / "model.onnx", encoder_fingerprint="0")
    model = onnx.load(str(served(generation, "encoder") / "model.onnx"))
    check_graph(model)
    model.graph.node[-1].input[0] = "nothing"
    with pytest.raises(ExportError, match="the ONNX checker refused the encoder: "):
        check_graph(model)


def test_a_broken_template_is_refused() -> None:
    with pytest.raises(ExportError, match=r"a template of model_repository/ is no model configuration: .*nonsense"):
        render('name: "search"\nnonsense: 1', serial=1, dimension=32)


class StoppedError(Exception):
    """Stands for the end of an export."""


def test_embeddings_are_of_one_export_at_a_time_and_the_next_one_goes_on(
    tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    output, config = tmp_path / "generations", PLAIN
    rows: list[Stage] = []

    def stop(stage: Stage) -> None:
        if stage.stage == "catalogue":
            with pytest.raises(TridentError, match=f"another export into {output} is embedding: wait until it has end"):
                export(tiny_run, tiny_data / "products.csv", output, config)
            raise StoppedError

    with pytest.raises(StoppedError):
        export(tiny_run, tiny_data / "products.csv", output, config, report=stop)
    assert [path.name for path in tmp_path.iterdir()] == [".generations.embeddings"]
    made = export(tiny_run, tiny_data / "products.csv", output, config, report=rows.append)
    (catalogue,) = [row for row in rows if row.stage == "catalogue"]
    means = f"the kernels ({trident_kernels.instructions()[0]})"
    assert (catalogue.proof, catalogue.speed) == (f"144 products embedded by {means}, 144 of them before", "")
    with contextlib.chdir(output):
        again = export(tiny_run, tiny_data / "products.csv", Path(), config, report=rows.append)
    assert (again.id, rows[-1].proof) == (made.id, f"{made.id} was there already")
    assert [path.name for path in tmp_path.iterdir()] == ["generations"]


def test_low_recall_is_refused(tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    from trident.index.index import IndexConfig

    config = ExportConfig(index=IndexConfig(m=2, ef_construction=2, ef=1), recall_target=1.0, threads=1)
    with pytest.raises(
        ExportError, match=r"recall@10 of the index must be at least 1.0, got 0\.\d+ at ef 1: raise index.ef"
    ):
        export(tiny_run, tiny_data / "products.csv", tmp_path / "generations", config)
    assert not (tmp_path / "generations").exists()


def test_bad_inputs_are_refused(tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    catalogue = tiny_data / "products.csv"
    with pytest.raises(ModelError, match=r"run folder .* does not exist"):
        export(tmp_path / "none", catalogue, tmp_path / "g")
    (tmp_path / "text.csv").write_text("product_id,product_title\n1, \n")
    with pytest.raises(DataError, match="'product_title' must not be empty"):
        export(tiny_run, tmp_path / "text.csv", tmp_path / "g")
    with pytest.raises(ConfigError, match="recall_target must be in"):
        ExportConfig(recall_target=0)
    with pytest.raises(ConfigError, match="threads must be >= 1"):
        ExportConfig(threads=0)
    with pytest.raises(GenerationError, match="holds no generation: make one with trident export"):
        find_generation(tmp_path)
    assert not (tmp_path / "g").exists()


def with_test_queries(run: Path, names: dict[str, str]) -> Path:
    """Change test queries of a run."""
    pairs = read_pairs(run / "test.parquet")
    queries = [names.get(query, query) for query in pairs.queries]
    dataclasses.replace(pairs, queries=queries).save(run / "test.parquet")
    return run


def test_queries_that_no_server_takes_are_not_golden(run_copy: Path, tiny_data: Path, tmp_path: Path) -> None:
    """The limits of requests hold at the export: what passes it can be served."""
    queries = list(dict.fromkeys(read_pairs(run_copy / "test.parquet").queries))
    long = {queries[0]: "é" * 5001, queries[1]: "sofa " * 2001}
    stages: list[Stage] = []
    made = export(with_test_queries(run_copy, long), tiny_data / "products.csv", tmp_path / "g", report=stages.append)
    assert [answer.query for answer in made.golden()] == queries[2:]
    assert len(set(read_pairs(made.folder / "test.parquet").queries)) == len(queries)  # the split itself is whole
    proof = next(stage.proof for stage in stages if stage.stage == "golden")
    assert proof == f"{len(queries) - 2} queries answered, 2 of the held-out ones are longer than a server takes"


def test_a_run_whose_queries_no_server_takes_is_refused(run_copy: Path, tiny_data: Path, tmp_path: Path) -> None:
    queries = dict.fromkeys(read_pairs(run_copy / "test.parquet").queries)
    run = with_test_queries(run_copy, {query: f"{query} " * 1000 + query for query in queries})
    message = (
        r"^held-out queries must be ones that a server takes, to be golden, got none of 14: query must have at most "
        r"10,000 bytes, got 1\d,\d+ \(.*test\.parquet\): train with shorter test queries$"
    )
    with pytest.raises(ExportError, match=message):
        export(run, tiny_data / "products.csv", tmp_path / "g")
    assert not (tmp_path / "g").exists() or not list((tmp_path / "g").glob("[0-9a-f]*"))


def test_another_base_is_refused(run_copy: Path, tmp_path: Path) -> None:
    base = json.loads((run_copy / "base.json").read_text())
    (run_copy / "base.json").write_text(json.dumps({**base, "weights_fingerprint": "0" * 64}))
    (tmp_path / "merged").mkdir()
    with pytest.raises(ModelError, match="belongs to weights 000000000000"):
        merge(run_copy, tmp_path / "merged")
    shutil.rmtree(run_copy / "adapter")
    with pytest.raises(ModelError, match="is no run folder: it has neither adapter/ nor model/"):
        merge(run_copy, tmp_path / "merged")


def test_a_catalogue_of_one_product(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("product_id,product_title\nonly,red lamp\n", encoding="utf-8")
    made = export(tiny_run, tmp_path / "one.csv", tmp_path / "generations")
    assert made.manifest.products == 1
    hits = Searcher.load(made).search(["red lamp"])
    assert (hits.product_ids[0].tolist(), hits.titles[0, 0], hits.counts.tolist()) == (
        [b"only", *[b""] * 9],
        b"red lamp",
        [[1]],
    )
