"""Graphs of lower precision: what they prove, what is shipped, and what a ruined one says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from trident.data.catalogue import read_catalogue
from trident.data.pairs import read_pairs
from trident.encoder.encoder import OnnxEncoder
from trident.encoder.tokenization import TextTokenizer, pad
from trident.errors import ConfigError, ExportError
from trident.generation.generation import Generation, Identity
from trident_export.config import ExportConfig, PrecisionConfig
from trident_export.graphs import graphs
from trident_export.graphs.fp16 import convert_fp16, drop_repeated_casts
from trident_export.graphs.fuse import fuse_projections
from trident_export.graphs.int8 import quantize_int8
from trident_export.job import ExportOrder
from trident_export.judge import precisions
from trident_export.judge.parity import ProbeTexts
from trident_export.judge.precisions import Reference, judge_precision, measure_speed
from trident_export.pipeline import export_generation

HALF, BYTE = "model.fp16.onnx", "model.int8.onnx"


def folder_of(generation: Generation) -> Path:
    return generation.version_folder("encoder")


@pytest.fixture
def graph(generation: Generation) -> Path:
    return folder_of(generation) / "model.onnx"


@pytest.fixture
def reference(generation: Generation, graph: Path, tokenizer: TextTokenizer, tiny_data: Path) -> Reference:
    pairs = read_pairs(generation.folder / "test.parquet")
    encoder = OnnxEncoder.load(graph)
    rows = tokenizer.token_ids(read_catalogue(tiny_data / "products.csv").titles, "product")
    vectors = encoder.embed_ids(rows, pad_id=tokenizer.pad_id)
    return Reference(encoder, tokenizer, pairs, list(dict.fromkeys(pairs.queries)), vectors)


def export(run: Path, data: Path, output: Path, precision: PrecisionConfig) -> Generation:
    config = ExportConfig(threads=1, precision=precision)
    return export_generation(ExportOrder(run, data / "products.csv", output, config))


def scaled(source: Path, output: Path, part: str, factor: float) -> Path:
    """Write a graph with the layers whose weights have the shape of ``part`` multiplied."""
    model = onnx.load(str(source))
    changed = 0
    for tensor in model.graph.initializer:
        matrix = part == "matrix" and len(tensor.dims) == 2 and tensor.data_type == onnx.TensorProto.FLOAT
        if part in tensor.name or matrix:
            value = numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), tensor.name))
            changed += 1
    assert changed
    onnx.save(model, str(output))
    return output


def test_as_many_queries_are_asked_as_decide(
    reference: Reference, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = OnnxEncoder.load(graph)
    assert reference.overlap(encoder, 0.95) == [1.0] * 14  # fewer than are asked first: all of them
    monkeypatch.setattr(precisions, "ASKED_FIRST", 3)
    assert reference.overlap(encoder, 0.95) == [1.0] * 3
    assert reference.overlap(encoder, 1.0) == [1.0] * 14  # a mean that equals its target decides nothing
    assert precisions.decides([0.9, 1.0, 0.9], 0.5)
    assert not precisions.decides([0.9, 1.0, 0.9], 0.95)
    assert not precisions.decides([1.0, 1.0], 0.5)


def test_both_are_shipped_and_proven(generation: Generation) -> None:
    proofs = {proof["precision"]: proof for proof in generation.manifest.precisions}
    assert set(proofs) == {"fp16", "int8"}
    for proof in proofs.values():
        assert proof["shipped"]
        assert not proof["reason"]
        assert proof["overlap_at_10"] >= 0.95
        assert proof["change"]["ndcg_at_10"]["low"] <= proof["change"]["ndcg_at_10"]["high"]
    assert proofs["fp16"]["smallest_cosine"] > 0.9999
    for name in ("model.onnx", HALF, BYTE):
        assert f"model_repository/encoder/{generation.serial}/{name}" in generation.manifest.files
    rows = {row["stage"]: row for row in generation.manifest.stages}
    assert "1x8" in rows["int8"]["speed"]
    assert "32x16" in rows["int8"]["speed"]
    assert rows["fp16"]["size_bytes"] < 0.75 * rows["onnx"]["size_bytes"]


def test_an_8_bit_embedding_does_not_depend_on_its_batch(generation: Generation, tokenizer: TextTokenizer) -> None:
    encoder = OnnxEncoder.load(folder_of(generation) / BYTE)
    rows = tokenizer.token_ids(["sofa", "red lamp", "Alba kettle blue", "x" * 40], "query")
    together = encoder.embed(pad(rows, pad_id=tokenizer.pad_id))
    for row, expected in zip(rows, together, strict=True):
        np.testing.assert_allclose(encoder.embed(pad([row], pad_id=tokenizer.pad_id))[0], expected, atol=1e-5)


def test_8_bits_are_8_bits_and_float16_keeps_pooling_in_float32(generation: Generation) -> None:
    byte = onnx.load(str(folder_of(generation) / BYTE))
    matrices = [tensor for tensor in byte.graph.initializer if len(tensor.dims) == 2]
    # four layers in each of two blocks; none signed, which would overflow on a CPU without VNNI
    assert sum(tensor.data_type == onnx.TensorProto.UINT8 for tensor in matrices) >= 8
    assert not any(tensor.data_type == onnx.TensorProto.INT8 for tensor in matrices)
    half = onnx.load(str(folder_of(generation) / HALF))
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer if len(tensor.dims) == 2}
    assert onnx.TensorProto.FLOAT16 in kinds.values()
    assert onnx.TensorProto.FLOAT not in kinds.values()
    pooling = {tensor.data_type for tensor in half.graph.initializer if tensor.name.startswith("pooling_")}
    assert onnx.TensorProto.FLOAT in pooling
    assert onnx.TensorProto.FLOAT16 not in pooling


def test_the_joined_projections_change_nothing(generation: Generation, graph: Path, tokenizer: TextTokenizer) -> None:
    model = onnx.load(str(graph))
    assert sum(node.op_type == "Split" for node in model.graph.node) == 2  # one a block
    assert fuse_projections(model, weights_in=graph.parent) == 0  # they are joined already
    operators = [node.op_type for node in model.graph.node]
    assert model.opset_import[0].version == 18
    assert operators.count("LayerNormalization") == 5  # one node each: two a block, and the embeddings'
    assert "ReduceMean" not in operators


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_same_graph_gives_the_same_bytes(
    graph: Path, tokenizer: TextTokenizer, tmp_path: Path, precision: str
) -> None:
    calibration = graphs.calibration_batches(tokenizer, ["red sofa", "Alba lamp blue"])
    one, other = (graphs.make_graph(precision, graph, tmp_path / name, calibration) for name in ("a", "b"))
    assert one.read_bytes() == other.read_bytes()


def judged(reference: Reference, make: Callable[[], Path]) -> str:
    proof = judge_precision("broken", make, reference, load=OnnxEncoder.load, overlap_target=0.95)
    assert not proof.shipped
    assert proof.line().startswith("not shipped: ")
    return proof.reason


def test_an_overflow_in_float16_is_found(reference: Reference, graph: Path, tmp_path: Path) -> None:
    large = scaled(graph, tmp_path / "large.onnx", "matrix", 3e4)
    assert np.isfinite(OnnxEncoder.load(large).embed(pad([[2, 7, 3]], pad_id=0))).all()

    def make() -> Path:
        convert_fp16(large, tmp_path / HALF)
        return tmp_path / HALF

    assert "must give finite values, got NaN or infinity" in judged(reference, make)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_what_the_libraries_refuse_is_not_shipped(
    reference: Reference, graph: Path, tokenizer: TextTokenizer, tmp_path: Path, precision: str
) -> None:
    model = onnx.load(str(graph))
    next(node for node in model.graph.node if node.op_type == "Softmax").op_type = "Softmix"
    onnx.save(model, str(tmp_path / "unknown.onnx"))
    calibration = graphs.calibration_batches(tokenizer, ["red sofa"])
    reason = judged(
        reference, partial(graphs.make_graph, precision, tmp_path / "unknown.onnx", tmp_path / HALF, calibration)
    )
    assert reason.startswith(f"{precision} cannot be made of unknown.onnx: ")
    assert "Softmix" in reason


def test_float16_is_not_made_of_a_graph_that_cannot_be_cut(graph: Path, tmp_path: Path) -> None:
    model = onnx.load(str(graph))
    nodes = model.graph.node
    last = max(row for row, node in enumerate(nodes) if node.op_type == "LayerNormalization")
    nodes[last + 1].input[0] = nodes[0].output[0]
    onnx.save(model, str(tmp_path / "entangled.onnx"))
    message = rf"pooling must read nothing but the last layer, got {nodes[0].output[0]} in .*entangled\.onnx"
    with pytest.raises(ExportError, match=message):
        convert_fp16(tmp_path / "entangled.onnx", tmp_path / HALF)
    for node in nodes:
        node.op_type = node.op_type.replace("LayerNormalization", "Softmax")
    onnx.save(model, str(tmp_path / "bare.onnx"))
    with pytest.raises(
        ExportError, match=r"float16 needs a graph with layer normalisation .*, got none in .*bare\.onn"
    ):
        convert_fp16(tmp_path / "bare.onnx", tmp_path / HALF)
    assert not (tmp_path / HALF).exists()


def test_the_longest_row_must_fit_float16_as_well(graph: Path, tokenizer: TextTokenizer, tmp_path: Path) -> None:
    model = onnx.load(str(graph))
    (positions,) = [tensor for tensor in model.graph.initializer if "position_embeddings" in tensor.name]
    value = numpy_helper.to_array(positions).copy()
    value[25:] = 3e5  # where no query or title comes
    positions.CopyFrom(numpy_helper.from_array(value, positions.name))
    onnx.save(model, str(tmp_path / "long.onnx"))
    texts = ["red sofa"]
    calibration = graphs.calibration_batches(tokenizer, texts)
    graphs.make_graph("fp16", tmp_path / "long.onnx", tmp_path / HALF, calibration)
    probes = list(ProbeTexts(tokenizer, texts, texts).batches())
    assert min(batch.attention_mask.sum(1).min() for batch in probes) == 0  # a row of padding only
    with pytest.raises(ExportError, match=r"float16 holds values up to 65,504, got [\d,]{7,} as \w+"):
        graphs.make_graph("fp16", tmp_path / "long.onnx", tmp_path / HALF, calibration, probes=probes)


def test_8_bits_that_ruin_ranking_are_found(
    reference: Reference, graph: Path, tokenizer: TextTokenizer, tmp_path: Path
) -> None:
    quantize_int8(graph, tmp_path / BYTE, graphs.calibration_batches(tokenizer, ["red sofa"]))
    model = onnx.load(str(tmp_path / BYTE))
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.UINT8 and len(tensor.dims) == 2:
            value = numpy_helper.to_array(tensor) // 64 * 64  # as if they had two bits
            tensor.CopyFrom(numpy_helper.from_array(value.astype(np.uint8), tensor.name))
    onnx.save(model, str(tmp_path / BYTE))
    reason = judged(reference, lambda: tmp_path / BYTE)
    assert reason.startswith("overlap@10 with float32 must be at least 0.95, got 0.")


def test_worse_quality_is_found_where_the_overlap_is_waved_through(
    reference: Reference, graph: Path, tmp_path: Path
) -> None:
    ruined = scaled(graph, tmp_path / "ruined.onnx", "word_embeddings", -1.0)
    proof = judge_precision("ruined", lambda: ruined, reference, load=OnnxEncoder.load, overlap_target=0.0)
    assert proof.reason == "its quality is below float32's beyond chance"
    assert proof.change is not None
    assert proof.change.worst() < 0


def test_int8_is_served_when_told(tiny_run: Path, tiny_data: Path, tmp_path: Path, generation: Generation) -> None:
    made = export(tiny_run, tiny_data, tmp_path / "g", PrecisionConfig(served="int8", made=("int8",)))
    assert Identity.load(made.version_folder("encoder")).graph == "model.int8.unpadded.onnx"
    assert made.id != generation.id


def test_speed_is_measured_for_every_graph_and_shape(graph: Path) -> None:
    encoder = OnnxEncoder.load(graph)
    speed = measure_speed({"one": encoder, "other": encoder})
    assert set(speed) == {"one", "other"}
    for values in speed.values():
        assert set(values) == {"1x8", "32x16"}
        assert min(values.values()) > 0


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"precision\.overlap_target must be in \[0, 1\], got 2"):
        PrecisionConfig(overlap_target=2)
    with pytest.raises(ConfigError, match=r"precision\.made must hold int8, .* got \('fp16',\)"):
        PrecisionConfig(made=("fp16",), served="int8")


def test_equal_casts_become_one() -> None:
    """As ONNX Runtime before 1.32 writes them: one for each reader of a constant, all of one name."""
    cast = onnx.helper.make_node("Cast", ["weight"], ["weight_cast"], name="cast", to=onnx.TensorProto.FLOAT)
    other = onnx.helper.make_node("Cast", ["bias"], ["bias_cast"], name="other", to=onnx.TensorProto.FLOAT)
    add = onnx.helper.make_node("Add", ["weight_cast", "bias_cast"], ["sum"])
    graph = onnx.helper.make_graph([cast, other, cast, add, add], "casts", [], [])
    drop_repeated_casts(graph)
    assert [node.op_type for node in graph.node] == ["Cast", "Cast", "Add", "Add"]
    assert [node.output[0] for node in graph.node[:2]] == ["weight_cast", "bias_cast"]
