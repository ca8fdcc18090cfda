"""The kernels: the model's embeddings, the same bits in every batch, refusals of what they cannot run."""

from __future__ import annotations

import json
import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import random_encoders
import trident_kernels
from random_encoders import by_pytorch, saved
from safetensors.numpy import load_file, save_file
from transformers import BertConfig, DistilBertConfig, PreTrainedConfig, RobertaConfig, XLMRobertaConfig

from trident.encoder.encoder import OnnxEncoder
from trident.encoder.kernel_encoder import WEIGHTS_FILE, KernelEncoder, kernels_fault
from trident.encoder.served_encoder import load_encoder
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer, pad
from trident.errors import ConfigError, ModelError
from trident.generation.generation import Generation

SIZES = {"vocab_size": 90, "num_hidden_layers": 3, "max_position_embeddings": 80}
# Widths that fill panels and vectors, and widths that do not; heads narrower than a vector.
MODELS: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**SIZES, hidden_size=64, num_attention_heads=2, intermediate_size=160),
    "odd widths": BertConfig(**SIZES, hidden_size=42, num_attention_heads=3, intermediate_size=50),
    "narrow": BertConfig(**SIZES, hidden_size=12, num_attention_heads=3, intermediate_size=20, layer_norm_eps=1e-5),
    "roberta": RobertaConfig(**SIZES, hidden_size=48, num_attention_heads=4, intermediate_size=96, pad_token_id=1),
    "xlm-roberta": XLMRobertaConfig(**SIZES, hidden_size=48, num_attention_heads=4, intermediate_size=96),
}
ALL_INSTRUCTIONS = trident_kernels.instructions()
CLOSE = {"amx": 2e-5}  # to PyTorch: an input and a weight are sums of two bfloat16 there


def some_rows(longest: int) -> list[list[int]]:
    return random_encoders.some_rows(longest, vocabulary=SIZES["vocab_size"])


@pytest.mark.parametrize("instructions", ALL_INSTRUCTIONS)
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("name", MODELS)
def test_embeddings_are_those_of_pytorch(name: str, pooling: str, instructions: str, tmp_path: Path) -> None:
    """Lengths of one tile, of several, and longer than a vector of attention's scores."""
    folder, contract = saved(MODELS[name], tmp_path), TextContract(pooling=pooling)
    rows = some_rows(40)
    kernels = KernelEncoder.load(folder, contract, instructions=instructions)
    found, expected = kernels.embed_ids(rows, pad_id=0), by_pytorch(folder, rows, contract)
    assert kernels.instructions == instructions
    assert found.shape == (len(rows), kernels.dimension)
    np.testing.assert_allclose(found, expected, atol=CLOSE.get(instructions, 5e-6))


@pytest.mark.parametrize("instructions", ALL_INSTRUCTIONS)
def test_an_embedding_does_not_depend_on_its_batch(instructions: str, tmp_path: Path) -> None:
    folder, rows = saved(MODELS["bert"], tmp_path), some_rows(40)
    kernels = KernelEncoder.load(folder, TextContract(), instructions=instructions)
    together = kernels.embed_ids(rows, pad_id=0)
    for number, row in enumerate(rows):
        assert np.array_equal(kernels.embed_ids([row], pad_id=0)[0], together[number])
    assert np.array_equal(kernels.embed_ids(rows[::-1], pad_id=0)[::-1], together)
    dealt_out = KernelEncoder.load(folder, TextContract(), threads=3, instructions=instructions)
    assert np.array_equal(dealt_out.embed_ids(rows, pad_id=0), together)


@pytest.mark.parametrize("instructions", ALL_INSTRUCTIONS)
@pytest.mark.parametrize("name", ["bert", "odd widths"])
def test_a_row_that_two_cores_share_has_the_same_bits(name: str, instructions: str, tmp_path: Path) -> None:
    """One after the other, from several threads at once, where one at a time is helped, and in a fork, too."""
    folder, rows = saved(MODELS[name], tmp_path), some_rows(40)
    kernels = KernelEncoder.load(folder, TextContract(), instructions=instructions)
    expected, lone = kernels.embed_ids(rows, pad_id=0), kernels.for_lone(2)

    def each() -> bool:
        return all(
            np.array_equal(lone.embed_ids([row], pad_id=0)[0], one) for row, one in zip(rows, expected, strict=True)
        )

    assert kernels.for_lone(1) is kernels
    assert each()
    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(lambda _: each(), range(12)))
    child = os.fork()
    if child == 0:
        os._exit(0 if each() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(lone.embed_ids(rows, pad_id=0), expected)  # several rows go as they went
    assert lone.embed_ids([], pad_id=0).shape == (0, lone.dimension)
    with pytest.raises(ModelError, match="every row must have 1 to 80 tokens, got 81"):
        lone.embed_ids([[5] * 81], pad_id=0)


def test_large_and_small_numbers_pass_through_the_activations(tmp_path: Path) -> None:
    """Scores and sums far beyond where exponentials vanish and GELU is straight."""
    folder = saved(MODELS["bert"], tmp_path, scale=200)
    rows = some_rows(20)
    found = KernelEncoder.load(folder, TextContract()).embed_ids(rows, pad_id=0)
    cosines = (found * by_pytorch(folder, rows, TextContract())).sum(1)
    assert cosines.min() > 0.9999  # sums of thousands lose digits in any order


def test_a_padded_batch_embeds_as_the_graph_does(
    generation: Generation, tiny_merged: Path, tokenizer: TextTokenizer
) -> None:
    rows = [*some_rows(12), []]
    batch = pad(rows, pad_id=tokenizer.pad_id)
    kernels = KernelEncoder.load(tiny_merged, tokenizer.contract, threads=2)
    expected = OnnxEncoder.load(generation.graph("fp32")).embed(batch)
    np.testing.assert_allclose(kernels.embed(batch), expected, atol=CLOSE.get(kernels.instructions, 2e-6))
    assert not kernels.embed(pad([[], []], pad_id=0, length=4)).any()
    assert kernels.embed_ids([], pad_id=0).shape == (0, kernels.dimension)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[5, 6], []], "every row must have 1 to 128 tokens, got 0"),
        ([[5] * 129], "every row must have 1 to 128 tokens, got 129"),
        ([[5, -1]], r"token ids must be 0 to \d+, got -1"),
        ([[5, 100_000]], r"token ids must be 0 to \d+, got 100000"),
    ],
)
def test_rows_that_would_read_other_memory_are_refused(
    rows: list[list[int]], message: str, tiny_merged: Path, tokenizer: TextTokenizer
) -> None:
    with pytest.raises(ModelError, match=message):
        KernelEncoder.load(tiny_merged, tokenizer.contract).embed_ids(rows, pad_id=0)


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        (
            BertConfig(**SIZES, hidden_size=32, num_attention_heads=2, hidden_act="relu"),
            "hidden_act must be gelu, got relu",
        ),
        (DistilBertConfig(vocab_size=90, dim=32, n_layers=1, n_heads=2, hidden_dim=64), "model_type must be bert or"),
    ],
)
def test_other_models_run_their_graph(config: PreTrainedConfig, fault: str, tmp_path: Path) -> None:
    folder = saved(config, tmp_path)
    assert fault in str(kernels_fault(folder))
    with pytest.raises(ModelError, match=fault):
        KernelEncoder.load(folder, TextContract())


def test_weights_that_do_not_fit_are_refused(tiny_merged: Path, tokenizer: TextTokenizer, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_merged, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": 5}))
    with pytest.raises(ModelError, match="heads must divide the width, got 5 and 32"):
        KernelEncoder.load(folder, tokenizer.contract)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / WEIGHTS_FILE).write_bytes((tiny_merged / WEIGHTS_FILE).read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be read"):
        KernelEncoder.load(folder, tokenizer.contract)
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(ModelError, match=f"has no {WEIGHTS_FILE}"):
        KernelEncoder.load(folder, tokenizer.contract)
    with pytest.raises(ModelError, match="threads must be >= 1, got 0"):
        KernelEncoder.load(tiny_merged, tokenizer.contract, threads=0)
    with pytest.raises(ModelError, match="this processor must have sse2"):
        KernelEncoder.load(tiny_merged, tokenizer.contract, instructions="sse2")


def test_arrays_that_do_not_fit_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"weights must have embeddings\.word_embeddings\.weight"):
        trident_kernels.BertEncoder({}, heads=2, epsilon=1e-12, mean=True)
    words = np.zeros((9, 8), dtype=np.float32)
    weights = {"embeddings.word_embeddings.weight": words, "embeddings.position_embeddings.weight": words[:, :4]}
    with pytest.raises(ValueError, match=r"embeddings\.position_embeddings\.weight has a shape that does not fit"):
        trident_kernels.BertEncoder(weights, heads=2, epsilon=1e-12, mean=True)


def test_what_serves_is_chosen_and_can_be_asked_for(
    generation: Generation,
    tiny_merged: Path,
    tokenizer: TextTokenizer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    fingerprint = generation.manifest.encoder_fingerprint
    graph = generation.cpu_graph("fp32")
    assert isinstance(load_encoder(graph, tiny_merged, tokenizer, fingerprint=fingerprint), KernelEncoder)
    assert isinstance(load_encoder(graph, tiny_merged, tokenizer, fingerprint=fingerprint, kernels="on"), KernelEncoder)
    assert isinstance(load_encoder(graph, tiny_merged, tokenizer, fingerprint=fingerprint, kernels="off"), OnnxEncoder)
    assert "not on the kernels: they are switched off" in caplog.text
    eight_bits = load_encoder(generation.cpu_graph("int8"), tiny_merged, tokenizer, fingerprint=fingerprint)
    assert isinstance(eight_bits, KernelEncoder) == bool(trident_kernels.instructions_8_bits())
    half = generation.graph("fp16")
    assert isinstance(load_encoder(half, tiny_merged, tokenizer, fingerprint=fingerprint), OnnxEncoder)
    with pytest.raises(ModelError, match=r"they compute in float32 or 8 bits, model\.fp16\.onnx does not"):
        load_encoder(half, tiny_merged, tokenizer, fingerprint=fingerprint, kernels="on")
    with pytest.raises(ConfigError, match="kernels must be auto, on, off, got 'yes'"):
        load_encoder(graph, tiny_merged, tokenizer, fingerprint=fingerprint, kernels="yes")
    other = saved(MODELS["bert"], tmp_path)
    with pytest.raises(ModelError, match=f"must be encoder {fingerprint[:12]}, got "):
        load_encoder(graph, other, tokenizer, fingerprint=fingerprint)


@pytest.mark.parametrize("instructions", ALL_INSTRUCTIONS)
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("name", MODELS)
def test_two_encoders_of_a_models_layers_are_the_model(
    name: str, pooling: str, instructions: str, tmp_path: Path
) -> None:
    """What the layers below leave, the layers above embed: to the bit, in every batch, on any number of threads."""
    contract = TextContract(pooling=pooling)
    whole = saved(MODELS[name], tmp_path / "whole")
    weights = load_file(whole / WEIGHTS_FILE)
    parts = []
    for part, chosen in (("lower", [0, 1]), ("upper", [2])):
        folder = Path(shutil.copytree(whole, tmp_path / part))
        others = {name: value for name, value in weights.items() if not name.startswith("encoder.layer.")}
        own = {f"encoder.layer.{new}.": f"encoder.layer.{old}." for new, old in enumerate(chosen)}
        layers = {
            new + name.removeprefix(old): value
            for new, old in own.items()
            for name, value in weights.items()
            if name.startswith(old)
        }
        save_file(others | layers, folder / WEIGHTS_FILE)
        parts.append(KernelEncoder.load(folder, contract, instructions=instructions, threads=2))
    lower, upper = parts
    rows = some_rows(40)
    expected = KernelEncoder.load(whole, contract, instructions=instructions).embed_ids(rows, pad_id=0)
    states = lower.states(rows)
    assert states.shape == (sum(map(len, rows)), lower.dimension)
    each = [lower.states([row]) for row in rows]
    assert np.array_equal(np.concatenate(each), states)
    assert np.array_equal(upper.embed_states(each), expected)
    assert np.array_equal(upper.embed_states(each[7:8])[0], expected[7])
    assert upper.embed_states([]).shape == (0, upper.dimension)
    assert lower.states([]).shape == (0, lower.dimension)


def test_states_that_would_read_other_memory_are_refused(tiny_merged: Path, tokenizer: TextTokenizer) -> None:
    kernels = KernelEncoder.load(tiny_merged, tokenizer.contract)
    width = kernels.dimension
    with pytest.raises(ModelError, match="every row must have 1 to 128 tokens, got 0"):
        kernels.states([[5], []])
    with pytest.raises(ModelError, match=r"token ids must be 0 to \d+, got 100000"):
        kernels.states([[5, 100_000]])
    for lengths, message in (
        ([0], "every row must have 1 to 128 tokens, got 0"),
        ([129], "every row must have 1 to 128 tokens, got 129"),
    ):
        with pytest.raises(ModelError, match=message):
            kernels.embed_states([np.zeros((length, width), dtype=np.float32) for length in lengths])
    with pytest.raises(ModelError, match=rf"states must be \(3, {width}\), by the lengths and the width, got \(3, 5\)"):
        kernels.embed_states([np.zeros((3, 5), dtype=np.float32)])
    with pytest.raises(ValueError, match=rf"states must be \(4, {width}\)"):
        kernels._model.embed_states(np.zeros((3, width), dtype=np.float32), [4])
