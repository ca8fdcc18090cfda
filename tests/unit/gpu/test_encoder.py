"""The encoder of the GPU, run on the CPU: the same code, without CUDA graphs and in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from trident.encoder.encoder import OnnxEncoder
from trident.encoder.tokenization import pad
from trident.errors import ModelError
from trident.generation.generation import ENCODER_FOLDER, Generation
from trident_gpu.buckets import ROWS, Buckets
from trident_gpu.encoder import TorchEncoder

TOKENS = (8, 16, 20)


@pytest.fixture(scope="module")
def encoder(generation: Generation) -> TorchEncoder:
    folder = generation.folder / ENCODER_FOLDER
    return TorchEncoder.load(folder, generation.text_contract(), Buckets(tokens=TOKENS), device="cpu")


def rows_of_lengths(lengths: list[int]) -> list[list[int]]:
    generator = np.random.default_rng(0)
    return [generator.integers(5, 100, size=length).tolist() for length in lengths]


def test_embeddings_are_those_of_the_graph(encoder: TorchEncoder, generation: Generation) -> None:
    """Lengths in every bucket, on their edges, out of order, more rows than a batch has."""
    rows = rows_of_lengths([20, 1, 8, 9, 16, 17, 2, *[5] * 70])
    graph = OnnxEncoder.load(generation.graph("fp32"))
    np.testing.assert_allclose(encoder.embed_ids(rows, pad_id=0), graph.embed_ids(rows, pad_id=0), atol=2e-6)
    assert encoder.embed_ids([], pad_id=0).shape == (0, graph.dimension)


def test_a_batch_of_a_shape_needs_no_padding(encoder: TorchEncoder) -> None:
    rows = rows_of_lengths([8, 5, 3, 8])
    batch = pad(rows, pad_id=0, length=8)
    np.testing.assert_allclose(encoder.embed(batch), encoder.embed_ids(rows, pad_id=0), atol=1e-6)
    with pytest.raises(ModelError, match=r"one of the shapes of the buckets, got \(3, 8\)"):
        encoder.embed(pad(rows[:3], pad_id=0, length=8))


def test_every_run_has_a_shape_of_the_buckets_and_every_row_is_in_one() -> None:
    buckets = Buckets(tokens=TOKENS)
    lengths = [3, 8, 9, 20, *[1] * 130]
    runs = buckets.runs(lengths)
    assert sorted(number for run in runs for number in run.numbers) == list(range(len(lengths)))
    assert all(run.shape in buckets.shapes() for run in runs)
    assert [run.shape for run in runs] == [(64, 8), (64, 8), (4, 8), (1, 16), (1, 20)]
    for run in runs:
        assert len(run.numbers) <= run.shape[0]
        assert all(lengths[number] <= run.shape[1] for number in run.numbers)


@pytest.mark.parametrize(
    ("query_tokens", "most_tokens", "tokens"),
    [(16, 64, (16, 32, 64)), (16, 70, (16, 32, 64, 70)), (16, 16, (16,)), (32, 24, (24,))],
)
def test_lengths_double_from_that_of_queries(query_tokens: int, most_tokens: int, tokens: tuple[int, ...]) -> None:
    assert Buckets.of_lengths(query_tokens, most_tokens) == Buckets(rows=ROWS, tokens=tokens)


@pytest.mark.parametrize(("rows", "tokens"), [((), (8,)), ((1, 2), ()), ((2, 1), (8,)), ((1, 1), (8,)), ((1,), (0, 8))])
def test_buckets_ascend(rows: tuple[int, ...], tokens: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match=r"buckets of (rows|tokens) must be >= 1 and ascend, got \["):
        Buckets(rows=rows, tokens=tokens)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([], "every row must have 1 to 20 tokens, got 0 in row 1 of 2"),
        ([5] * 21, "every row must have 1 to 20 tokens, got 21 in row 1 of 2"),
        ([10**6], "token ids must be 0 to 107, got 0 to 1000000: the tokenizer is of another model"),
        ([-1, 7], "token ids must be 0 to 107, got -1 to 7"),
    ],
)
def test_rows_that_no_graph_fits_are_refused(encoder: TorchEncoder, row: list[int], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        encoder.embed_ids([[5], row], pad_id=0)


def test_what_cannot_be_loaded_is_named(generation: Generation, tmp_path: Path) -> None:
    folder, contract = generation.folder / ENCODER_FOLDER, generation.text_contract()
    with pytest.raises(ModelError, match=r"buckets must be <= \d+ tokens, the positions of .*, got 9999"):
        TorchEncoder.load(folder, contract, Buckets(tokens=(9999,)), device="cpu")
    with pytest.raises(ModelError, match=f"model folder {tmp_path} cannot be loaded: "):
        TorchEncoder.load(tmp_path, contract, Buckets(tokens=TOKENS), device="cpu")
    with pytest.raises(ModelError, match="device must be cuda, cpu or auto, got 'tpu'"):
        TorchEncoder.load(folder, contract, Buckets(tokens=TOKENS), device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="device cuda needs a GPU that PyTorch can use, got none"):
            TorchEncoder.load(folder, contract, Buckets(tokens=TOKENS), device="cuda")
