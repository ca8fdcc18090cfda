"""The unpadded graph: it embeds as the padded one does, over no padding, whatever the architecture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedConfig,
    XLMRobertaConfig,
)

from trident.encoder.encoder import OnnxEncoder
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer, TokenBatch, pad
from trident.errors import ExportError
from trident.generation.generation import Generation, Identity
from trident_export.graphs.onnx_graph import EncoderGraph, export_onnx
from trident_export.graphs.unpad import convert_unpadded
from trident_export.judge.parity import Expected, ProbeTexts
from trident_export.progress_rows import Stages
from trident_export.stages.unpadded import export_unpadded

WIDTH = 16
SMALL = {"vocab_size": 60, "hidden_size": WIDTH, "num_attention_heads": 2, "max_position_embeddings": 40}
LAYERS = {"num_hidden_layers": 2, "intermediate_size": 32}
ARCHITECTURES = {
    "bert": BertConfig(**SMALL, **LAYERS),
    "bert, relu": BertConfig(**SMALL, **LAYERS, hidden_act="relu"),
    "distilbert": DistilBertConfig(
        vocab_size=60, dim=WIDTH, n_heads=2, n_layers=2, hidden_dim=32, max_position_embeddings=40
    ),
    "mpnet": MPNetConfig(**SMALL, **LAYERS),
    "xlm-roberta": XLMRobertaConfig(**SMALL, **LAYERS, pad_token_id=1),
    "modernbert": ModernBertConfig(
        **SMALL,
        **LAYERS,
        local_attention=4,
        pad_token_id=0,
        bos_token_id=1,
        cls_token_id=1,
        eos_token_id=2,
        sep_token_id=2,
    ),
}


def mixed_batch(pad_id: int = 0) -> TokenBatch:
    generator = np.random.default_rng(0)
    return pad([generator.integers(3, 50, size=length).tolist() for length in (5, 1, 12, 3, 7)], pad_id=pad_id)


def products_shapes(path: Path, batch: TokenBatch) -> list[tuple[int, ...]]:
    """Return the shapes of what a graph's products with weights give for a batch."""
    model = onnx.load(str(path))
    weights = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2}
    names = [node.output[0] for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    return [values.shape for values in session.run(names, feeds)]


@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        *((name, "mean") for name in ARCHITECTURES),
        *(pytest.param(name, "cls", marks=[] if name == "bert" else pytest.mark.slow) for name in ARCHITECTURES),
    ],
)
def test_every_architecture_embeds_the_same_over_its_tokens_alone(name: str, pooling: str, tmp_path: Path) -> None:
    config: PreTrainedConfig = ARCHITECTURES[name]
    torch.manual_seed(0)
    backbone = AutoModel.from_config(config, attn_implementation="eager").eval()  # as the export loads it
    contract = TextContract(pooling=pooling)
    source, output = tmp_path / "model.onnx", tmp_path / "model.unpadded.onnx"
    export_onnx(EncoderGraph(backbone, contract).eval(), source, encoder_fingerprint="0")
    convert_unpadded(source, output)
    batch = mixed_batch(config.pad_token_id)
    padded, unpadded = OnnxEncoder.load(source), OnnxEncoder.load(output)
    np.testing.assert_allclose(unpadded.embed(batch), padded.embed(batch), atol=1e-5)
    tokens = int(batch.attention_mask.sum())
    before, after = products_shapes(source, batch), products_shapes(output, batch)
    assert len(after) == len(before) >= 8  # four in each of two layers
    assert {shape[:2] for shape in before} == {batch.input_ids.shape}
    assert {shape[:2] for shape in after} == {(1, tokens)}


def test_it_is_what_the_export_ships_and_serves(generation: Generation) -> None:
    rows = {row["stage"]: row for row in generation.manifest.stages}
    for precision, stage, reference in (
        ("fp32", "unpadded", "PyTorch"), ("int8", "int8 unpadded", "the padded graph"),
    ):  # fmt: skip
        path = generation.cpu_graph(precision)
        assert path.name.endswith(".unpadded.onnx")
        assert path.relative_to(generation.folder).as_posix() in generation.manifest.files
        assert f"operators over tokens only, cosine to {reference} >= 0.999" in rows[stage]["proof"]
        assert "32x16" in rows[stage]["speed"]
    assert Identity.load(generation.version_folder("encoder")).graph == "model.unpadded.onnx"


def test_8_bits_run_over_tokens_alone(generation: Generation, tokenizer: TextTokenizer) -> None:
    rows = tokenizer.token_ids(["sofa", "red lamp", "Alba kettle blue", "x" * 40], "query")
    batch = pad(rows, pad_id=tokenizer.pad_id)
    padded, unpadded = (OnnxEncoder.load(path) for path in (generation.graph("int8"), generation.cpu_graph("int8")))
    np.testing.assert_allclose(unpadded.embed(batch), padded.embed(batch), atol=1e-5)
    model = onnx.load(str(generation.cpu_graph("int8")))
    rounded = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(rounded) >= 8
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None) for name in rounded
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    assert {values.shape[:2] for values in session.run(rounded, feeds)} == {(1, sum(map(len, rows)))}


@pytest.mark.parametrize("rows", [[[2, 7, 3], []], [[], [2, 7, 3]], [[]]], ids=["last", "first", "alone"])
def test_a_row_of_padding_gives_zeros(generation: Generation, rows: list[list[int]]) -> None:
    batch = pad([*rows, [2, 7, 3]], pad_id=0)  # one row more, so that none is of no length
    ids, mask = batch.input_ids[: len(rows)], batch.attention_mask[: len(rows)]
    padded, unpadded = (OnnxEncoder.load(path) for path in (generation.graph(), generation.cpu_graph()))
    found = unpadded.embed(TokenBatch(ids, mask))
    np.testing.assert_allclose(found, padded.embed(TokenBatch(ids, mask)), atol=1e-5)
    assert [bool(row.any()) for row in found] == [bool(row) for row in rows]


def only_words(generation: Generation, folder: Path) -> Path:
    """Write a graph that has no layers: the mean of its words' vectors."""
    model = onnx.load(str(generation.graph()))
    hidden = next(node for node in model.graph.node if node.op_type == "LayerNormalization")
    last = [node for node in model.graph.node if node.op_type == "LayerNormalization"][-1]
    for node in model.graph.node:
        node.input[:] = [hidden.input[0] if name == last.output[0] else name for name in node.input]
    kept = [node for node in model.graph.node if not node.op_type.startswith(("LayerNorm", "MatMul", "Softmax"))]
    made = {name for node in kept for name in node.output} | {"input_ids", "attention_mask"}
    made |= {tensor.name for tensor in model.graph.initializer}
    while len(runnable := [node for node in kept if made.issuperset(filter(None, node.input))]) < len(kept):
        kept = runnable
        made = {name for node in kept for name in node.output} | {"input_ids", "attention_mask"}
        made |= {tensor.name for tensor in model.graph.initializer}
    del model.graph.node[:]
    model.graph.node.extend(kept)
    onnx.save(model, str(folder / "model.onnx"))
    return folder / "model.onnx"


def test_an_encoder_without_layers_runs_with_its_padding(
    generation: Generation, tokenizer: TextTokenizer, tmp_path: Path
) -> None:
    path = only_words(generation, tmp_path)
    with pytest.raises(ExportError, match="no matrix product of this encoder can run over tokens without padding"):
        convert_unpadded(path, tmp_path / "other.onnx")
    padded, stages = OnnxEncoder.load(path), Stages(lambda _: None)
    output, probes = tmp_path / "model.unpadded.onnx", ProbeTexts(tokenizer, ["red sofa"], ["Alba sofa"])
    expected = Expected(padded.embed, "the padded graph")
    assert export_unpadded(stages, "fp32", padded, output, probes, expected) is padded
    assert stages.rows[0].proof.startswith("not made, batches run with their padding: no matrix product of this")
    assert not output.exists()


def test_a_graph_that_embeds_otherwise_is_not_served(
    generation: Generation, tokenizer: TextTokenizer, tmp_path: Path
) -> None:
    """The file is another's by the time that it is converted: one weight of it is."""
    path = tmp_path / "model.onnx"
    model = onnx.load(str(generation.graph()))
    onnx.save(model, str(path))
    padded, stages = OnnxEncoder.load(path), Stages(lambda _: None)
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 2 and tensor.dims[0] > WIDTH)
    values = onnx.numpy_helper.to_array(weight).copy()
    values[:, 0] += 1.0
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, str(path))
    output, probes = tmp_path / "model.unpadded.onnx", ProbeTexts(tokenizer, ["red sofa"], ["Alba sofa"])
    expected = Expected(padded.embed, "the padded graph")
    assert export_unpadded(stages, "fp32", padded, output, probes, expected) is padded
    assert "batches run with their padding: the ONNX graph must equal the padded graph" in stages.rows[0].proof
    assert not output.exists()
