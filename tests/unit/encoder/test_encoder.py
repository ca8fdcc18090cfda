"""The encoder on ONNX Runtime, over a real little graph: embedding table, mean over the mask, division by the norm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from trident.encoder.encoder import OnnxEncoder, balanced_runs
from trident.encoder.tokenization import TokenBatch, pad
from trident.errors import ModelError

ENCODER = "ab" * 32
VOCABULARY, DIMENSION, PAD = 50, 6, 0
TABLE = np.random.default_rng(1).normal(size=(VOCABULARY, DIMENSION)).astype(np.float32)


def write_graph(
    path: Path,
    *,
    names: tuple[str, str, str] = ("input_ids", "attention_mask", "embedding"),
    token_type: int = TensorProto.INT64,
    token_shape: tuple[Any, Any] = ("B", "L"),
    embedding_type: int = TensorProto.FLOAT,
    free_dimension: bool = False,
    metadata: dict[str, str] | None = None,
) -> Path:
    ids, mask, embedding = names
    width = "L" if free_dimension else DIMENSION
    nodes = [
        helper.make_node("Gather", ["table", ids], ["tokens"]),  # (B, L, D)
        helper.make_node("Cast", [mask], ["kept"], to=TensorProto.FLOAT),  # (B, L)
        helper.make_node("Unsqueeze", ["kept", "last"], ["weights"]),  # (B, L, 1)
        helper.make_node("Mul", ["tokens", "weights"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "one"], ["sum"], keepdims=0),  # (B, D)
        helper.make_node("LpNormalization", ["sum"], ["unit"], axis=-1, p=2),
        helper.make_node("Cast", ["unit"], ["cast" if free_dimension else embedding], to=embedding_type),
    ]
    if free_dimension:  # as many columns as there are tokens
        nodes.append(helper.make_node("Shape", [ids], ["length"], start=1))
        nodes.append(helper.make_node("Slice", ["cast", "zero", "length", "one"], [embedding]))
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info(name, token_type, token_shape) for name in (ids, mask)],
        [helper.make_tensor_value_info(embedding, embedding_type, ("B", width))],
        [
            numpy_helper.from_array(TABLE, "table"),
            numpy_helper.from_array(np.array([-1]), "last"),
            numpy_helper.from_array(np.array([0]), "zero"),
            numpy_helper.from_array(np.array([1]), "one"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"encoder_fingerprint": ENCODER} if metadata is None else metadata)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def expected(row: list[int]) -> NDArray[np.float32]:
    total = TABLE[row].sum(axis=0)
    return np.asarray(total / np.linalg.norm(total), dtype=np.float32)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> OnnxEncoder:
    return OnnxEncoder.load(write_graph(tmp_path_factory.mktemp("graph") / "model.onnx"), encoder_fingerprint=ENCODER)


@pytest.fixture(scope="module")
def rows() -> list[list[int]]:
    generator = np.random.default_rng(2)
    return [generator.integers(1, VOCABULARY, length).tolist() for length in generator.integers(1, 40, 120)]


def test_embeddings_are_those_of_numpy_in_the_order_of_the_rows(encoder, rows):
    embeddings = encoder.embed_ids(rows, pad_id=PAD)
    assert embeddings.dtype == np.float32
    assert encoder.dimension == DIMENSION
    np.testing.assert_allclose(embeddings, [expected(row) for row in rows], atol=1e-5)


@pytest.mark.parametrize("run_tokens", [1, 60, 4096])
def test_how_rows_are_cut_into_runs_changes_nothing(run_tokens, encoder, rows):
    embeddings = encoder.embed_ids(rows, pad_id=PAD, run_tokens=run_tokens)
    np.testing.assert_allclose(embeddings, encoder.embed_ids(rows, pad_id=PAD), atol=1e-6)


@pytest.mark.parametrize(("run_tokens", "multiple"), [(1, 1), (50, 1), (96, 2), (96, 3), (10_000, 4)])
def test_runs_are_consecutive_and_about_equal(run_tokens, multiple, rows):
    longest_first = sorted(rows, key=len, reverse=True)
    runs = balanced_runs(longest_first, run_tokens=run_tokens, multiple=multiple)
    assert [row for run in runs for row in run] == longest_first
    assert len(runs) == len(rows) or len(runs) % multiple == 0
    tokens = [sum(map(len, run)) for run in runs]
    assert max(tokens) <= max(run_tokens + len(longest_first[0]), len(longest_first[0]))
    if run_tokens > 40:
        assert max(tokens) - min(tokens) <= len(longest_first[0])


def test_few_rows_make_as_many_runs_as_there_are_threads():
    assert balanced_runs([[1] * 9, [2] * 8, [3] * 2], run_tokens=96, multiple=2) == [[[1] * 9], [[2] * 8, [3] * 2]]
    assert balanced_runs([[1] * 9], run_tokens=96, multiple=2) == [[[1] * 9]]
    assert balanced_runs([], run_tokens=96, multiple=2) == []


def test_a_row_of_a_batch_equals_the_row_alone_and_padding_changes_nothing(encoder, rows):
    together = encoder.embed(pad(rows, pad_id=PAD, length=64))
    for row, embedding in zip(rows, together, strict=True):
        np.testing.assert_allclose(encoder.embed(pad([row], pad_id=PAD))[0], embedding, atol=1e-6)


def test_equal_rows_run_once_and_get_one_embedding(encoder):
    done: list[int] = []
    rows = [[3, 4], [5], [3, 4], [6, 7, 8], [3, 4]]
    embeddings = encoder.embed_ids(rows, pad_id=PAD, run_tokens=1, progress=done.append)
    assert done == [1, 3, 1]
    assert embeddings[0].tobytes() == embeddings[2].tobytes() == embeddings[4].tobytes()
    np.testing.assert_allclose(embeddings, [expected(row) for row in rows], atol=1e-5)


def test_arrays_are_rows_too(encoder):
    np.testing.assert_array_equal(
        encoder.embed_ids([np.array([3, 4]), np.array([5])], pad_id=PAD), encoder.embed_ids([[3, 4], [5]], pad_id=PAD)
    )


def test_progress_counts_rows(encoder, rows):
    done: list[int] = []
    encoder.embed_ids(rows, pad_id=PAD, run_tokens=500, progress=done.append)
    assert len(done) > 2
    assert sum(done) == len(rows)


def test_no_row(encoder):
    assert encoder.embed_ids([], pad_id=PAD).shape == (0, DIMENSION)
    assert encoder.embed(pad([], pad_id=PAD)).shape == (0, DIMENSION)


def test_rows_run_side_by_side_are_the_same(encoder, rows):
    other = OnnxEncoder.load(encoder.path, threads=3)
    assert other.threads == 3
    batch = pad(rows[:2], pad_id=PAD)
    np.testing.assert_allclose(other.embed(batch), encoder.embed(batch), atol=1e-6)
    np.testing.assert_allclose(other.embed_ids(rows, pad_id=PAD), encoder.embed_ids(rows, pad_id=PAD), atol=1e-6)


def test_the_fingerprint_is_read_from_the_metadata(encoder, tmp_path):
    assert encoder.encoder_fingerprint == ENCODER
    unnamed = OnnxEncoder.load(write_graph(tmp_path / "model.onnx", metadata={}))
    assert unnamed.encoder_fingerprint is None


def test_a_graph_of_another_encoder(encoder, tmp_path):
    with pytest.raises(ModelError, match=r"must be of encoder cdcdcdcdcdcd, got encoder abababababab \(.*model\.onnx"):
        OnnxEncoder.load(encoder.path, encoder_fingerprint="cd" * 32)
    unnamed = write_graph(tmp_path / "model.onnx", metadata={})
    with pytest.raises(ModelError, match="must be of encoder abababababab, got no encoder_fingerprint"):
        OnnxEncoder.load(unnamed, encoder_fingerprint=ENCODER)


def test_files_that_are_no_encoder(tmp_path):
    with pytest.raises(ModelError, match=r"model\.onnx does not exist: export the model first"):
        OnnxEncoder.load(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_text("no graph\n")
    with pytest.raises(ModelError, match=r"is not an ONNX graph that ONNX Runtime loads: [^\n]+$"):
        OnnxEncoder.load(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ("ids", "attention_mask", "embedding")}, "must have inputs .* got inputs ids, attention_mask and"),
        ({"names": ("input_ids", "attention_mask", "vector")}, "output embedding, got .* outputs vector"),
        ({"token_type": TensorProto.INT32}, r"input input_ids .* must be int64 .* got tensor\(int32\)"),
        ({"token_shape": ("B", 16)}, r"input input_ids .* both free, got tensor\(int64\) of shape \('B', 16\)"),
        ({"embedding_type": TensorProto.FLOAT16}, r"output embedding .* must be float32 .* got tensor\(float16\)"),
        ({"free_dimension": True}, r"output embedding .* D fixed, got tensor\(float\) of shape \('B', '\w+'\)"),
    ],
)
def test_a_graph_with_another_signature(change, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        OnnxEncoder.load(write_graph(tmp_path / "model.onnx", **change))


def test_options_that_break_a_rule(encoder):
    with pytest.raises(ModelError, match="threads must be >= 1, got 0"):
        OnnxEncoder.load(encoder.path, threads=0)
    with pytest.raises(ModelError, match=r"provider AbacusExecutionProvider must be one of .*CPUExecution"):
        OnnxEncoder.load(encoder.path, providers=("AbacusExecutionProvider",))
    with pytest.raises(ModelError, match="execution provider none must be one of"):
        OnnxEncoder.load(encoder.path, providers=())
    with pytest.raises(ModelError, match="run_tokens must be >= 1, got 0"):
        encoder.embed_ids([[1]], pad_id=PAD, run_tokens=0)
    with pytest.raises(ModelError, match="at least one token, got none in row 1 of 2"):
        encoder.embed_ids([[1], []], pad_id=PAD)


def test_a_token_outside_the_vocabulary_is_one_clear_line(encoder, capfd):
    with pytest.raises(ModelError, match=r"cannot run a batch of shape \(1, 1\): [^\n]+$"):
        encoder.embed_ids([[VOCABULARY]], pad_id=PAD)
    with pytest.raises(ModelError, match=r"cannot run a batch of shape \(1, 2\): [^\n]+$"):
        encoder.embed(TokenBatch(np.ones((1, 2), np.int64), np.ones((1, 3), np.int64)))
    assert capfd.readouterr().err == ""
