"""Graphs whose weights are too large for one file; the limit is lowered, so that a tiny model is too large."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from trident.encoder.encoder import OnnxEncoder
from trident.encoder.graph_files import ONNX_FILE, UNPADDED_FILES, data_file, graph_sha256
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.errors import ExportError
from trident_export.graphs import graph_file
from trident_export.graphs.graph_file import check_graph, is_split, read_graph, write_graph
from trident_export.graphs.graphs import make_graph
from trident_export.graphs.onnx_graph import EncoderGraph, export_onnx
from trident_export.graphs.unpad import convert_unpadded
from trident_export.merge.merge import load_backbone

UNPADDED = UNPADDED_FILES["fp32"]
TEXTS = ["red kettle", "a", "cast iron kettle with a long spout " * 3]


def export(model: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    graph = EncoderGraph(load_backbone(model), TextContract()).eval()
    export_onnx(graph, folder / ONNX_FILE, encoder_fingerprint="ab" * 32)
    convert_unpadded(folder / ONNX_FILE, folder / UNPADDED)
    return folder


@pytest.fixture
def small(tiny_model: Path, tmp_path: Path) -> Path:
    return export(tiny_model, tmp_path / "small")


@pytest.fixture
def large(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(graph_file, "LARGEST_BYTES", 50_000)
    return export(tiny_model, tmp_path / "large")


def embeddings(model: Path, graph: Path) -> np.ndarray:
    tokenizer = TextTokenizer.load(model, TextContract())
    encoder = OnnxEncoder.load(graph, encoder_fingerprint="ab" * 32)
    return encoder.embed(tokenizer.encode(TEXTS, "product"))


def test_weights_lie_beside_the_graph_and_both_graphs_share_them(tiny_model: Path, small: Path, large: Path) -> None:
    assert sorted(path.name for path in small.iterdir()) == [ONNX_FILE, UNPADDED]
    assert sorted(path.name for path in large.iterdir()) == [ONNX_FILE, f"{ONNX_FILE}.data", UNPADDED]
    assert data_file(large / ONNX_FILE).stat().st_size > 0.6 * (small / ONNX_FILE).stat().st_size
    assert (large / ONNX_FILE).stat().st_size < 0.4 * (small / ONNX_FILE).stat().st_size
    for name in (ONNX_FILE, UNPADDED):
        assert is_split(read_graph(large / name, weights=False))
        assert not is_split(read_graph(large / name))
        check_graph(large / name)
        np.testing.assert_array_equal(embeddings(tiny_model, large / name), embeddings(tiny_model, small / name))


def test_a_link_to_the_graph_finds_its_weights(tiny_model: Path, large: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for name in (ONNX_FILE, UNPADDED):
        (tmp_path / "models" / name).symlink_to(large / name)
        found = embeddings(tiny_model, tmp_path / "models" / name)
        np.testing.assert_array_equal(found, embeddings(tiny_model, large / name))


def test_the_same_model_gives_the_same_bytes(tiny_model: Path, large: Path, tmp_path: Path) -> None:
    again = export(tiny_model, tmp_path / "again")
    for path in large.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()
    export(tiny_model, large)  # over what is there
    for path in large.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_the_hash_of_a_graph_is_that_of_its_weights_too(large: Path, small: Path) -> None:
    before = graph_sha256(large / ONNX_FILE)
    data = data_file(large / ONNX_FILE)
    content = bytearray(data.read_bytes())
    content[100] ^= 1
    data.write_bytes(content)
    assert graph_sha256(large / ONNX_FILE) != before
    with pytest.raises(FileNotFoundError):
        graph_sha256(small / "none.onnx")


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_other_precisions_say_why_they_are_not_made(precision: str, large: Path) -> None:
    words = rf"^{precision} is made of graphs of up to 2 GiB, model\.onnx is larger: it is served in fp32$"
    with pytest.raises(ExportError, match=words):
        make_graph(precision, large / ONNX_FILE, large / "model.lower.onnx", [])


def test_weights_that_are_gone_are_one_line(tiny_model: Path, large: Path, tmp_path: Path) -> None:
    shutil.copyfile(large / ONNX_FILE, tmp_path / ONNX_FILE)
    with pytest.raises(ExportError, match=r"the ONNX checker refused the encoder: .*model\.onnx\.data"):
        check_graph(tmp_path / ONNX_FILE)


def test_a_graph_of_no_sense_is_refused_in_both_forms(large: Path) -> None:
    for weights in (True, False):  # inside, and outside
        model = read_graph(large / ONNX_FILE, weights=weights)
        model.graph.node.append(onnx.helper.make_node("NoSuchOperator", ["input_ids"], ["nowhere"]))
        with pytest.raises(ExportError, match="the ONNX checker refused the encoder: "):
            write_graph(model, large / "wrong.onnx")
