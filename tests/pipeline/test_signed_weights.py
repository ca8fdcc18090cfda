"""Weights of the 8-bit graph in signed form: another encoding of the same numbers, run where that is exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from trident.encoder.encoder import INPUTS, OUTPUT, OnnxEncoder
from trident.encoder.graph_files import INT8_FILES
from trident.encoder.onnx_session import open_session
from trident.encoder.signed_weights import has_vnni, runs_signed, with_signed_weights
from trident.errors import ModelError
from trident.generation.generation import Generation

FLAGS = "processor\t: 0\nmodel name\t: a processor\nflags\t\t: fpu sse4_2 avx2 {}\n"


@pytest.fixture(params=sorted(INT8_FILES))
def graph(generation: Generation, request: pytest.FixtureRequest) -> Path:
    return generation.version_folder("encoder") / request.param


def weights_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Return what the constants that are taken out of their 8 bits stand for."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {
        node.output[0]: (tensors[node.input[0]].astype(np.float64) - tensors[node.input[2]]) * tensors[node.input[1]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors
    }


def test_the_numbers_stay_and_nothing_else_changes(graph: Path) -> None:
    before, after = onnx.load(str(graph)), onnx.load_from_string(with_signed_weights(graph))
    weights = weights_of(before)
    assert len(weights) > 5
    for name, value in weights_of(after).items():
        np.testing.assert_array_equal(value, weights[name])
    changed = {
        one.name for one, other in zip(before.graph.initializer, after.graph.initializer, strict=True) if one != other
    }
    read = {name for node in before.graph.node if node.op_type == "DequantizeLinear" for name in node.input}
    assert changed <= read
    assert list(before.graph.node) == list(after.graph.node)
    assert before.metadata_props == after.metadata_props
    onnx.checker.check_model(after)


def test_embeddings_are_the_same_to_the_last_bit(graph: Path) -> None:
    """Where the processor has VNNI; elsewhere signed products overflow, and nothing may run them."""
    if not has_vnni():
        assert not runs_signed(graph)
        return
    sessions = [open_session(graph, what="encoder", graph=content) for content in (None, with_signed_weights(graph))]
    generator = np.random.default_rng(0)
    for rows, tokens in ((1, 8), (32, 16), (7, 20)):
        ids = generator.integers(5, 100, size=(rows, tokens))
        mask = (np.arange(tokens) < generator.integers(1, tokens + 1, size=rows)[:, None]).astype(np.int64)
        unsigned, signed = (
            session.run([OUTPUT], dict(zip(INPUTS, (ids, mask), strict=True)))[0] for session in sessions
        )
        np.testing.assert_array_equal(unsigned, signed)


def test_it_is_run_where_the_processor_has_vnni_and_the_graph_has_8_bits(generation: Generation, graph: Path) -> None:
    assert runs_signed(graph) == has_vnni()
    assert not runs_signed(generation.graph("fp32"))
    encoder = OnnxEncoder.load(graph, threads=2)
    plain = open_session(graph, what="encoder")
    ids = np.array([[7, 8, 9]])
    expected = plain.run([OUTPUT], dict(zip(INPUTS, (ids, np.ones_like(ids)), strict=True)))[0]
    np.testing.assert_array_equal(encoder.embed_ids([[7, 8, 9]], pad_id=0), expected)


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.int8.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(ModelError, match=r"encoder .*model.int8.onnx is not an ONNX graph"):
        with_signed_weights(path)


@pytest.mark.parametrize(
    ("flags", "found"), [("avx512_vnni", True), ("avx_vnni f16c", True), ("avx512f", False), ("avx512_vnni2", False)]
)
def test_linux_tells_what_the_processor_has(tmp_path: Path, flags: str, found: bool) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(FLAGS.format(flags) * 2)
    assert has_vnni(info) == found
    assert not has_vnni(tmp_path / "absent")
