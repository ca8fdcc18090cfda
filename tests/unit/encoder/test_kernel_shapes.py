"""What the kernels run beside BERT: XLM-R and ModernBERT of random configurations, held against PyTorch; fallbacks."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trident_kernels
from random_encoders import by_pytorch, saved, some_rows
from safetensors.numpy import load_file, save_file
from transformers import (
    BertConfig,
    ModernBertConfig,
    MPNetConfig,
    NomicBertConfig,
    PreTrainedConfig,
    XLMRobertaConfig,
)

from trident.encoder.encoder import OnnxEncoder
from trident.encoder.kernel_encoder import CONFIG_FILE, WEIGHTS_FILE, KernelEncoder, kernels_fault
from trident.encoder.served_encoder import load_encoder
from trident.encoder.text import TextContract
from trident.encoder.tokenization import TextTokenizer
from trident.errors import ModelError
from trident.generation.generation import Generation

VOCABULARY = 90
POSITIONS = 80
SPECIAL = {"pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
ALL_INSTRUCTIONS = trident_kernels.instructions()
SEEDS = [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 40))]


def modernbert(**changes: Any) -> ModernBertConfig:
    values = {
        "vocab_size": VOCABULARY,
        "hidden_size": 48,
        "intermediate_size": 72,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "local_attention": 8,
        "max_position_embeddings": POSITIONS,
        **SPECIAL,
    }
    return ModernBertConfig(**(values | changes))


def drawn_modernbert(seed: int) -> ModernBertConfig:
    """Return a configuration by chance: what a model of this kind may have on or off, in every width."""
    draw = np.random.default_rng(seed)
    heads = int(draw.integers(1, 5))
    return modernbert(
        hidden_size=heads * 2 * int(draw.integers(1, 17)),
        num_attention_heads=heads,
        intermediate_size=int(draw.integers(8, 90)),
        num_hidden_layers=int(draw.integers(1, 6)),
        global_attn_every_n_layers=int(draw.integers(1, 4)),
        local_attention=int(draw.choice([0, 2, 6, 32, 128])),
        global_rope_theta=float(draw.choice([10_000, 160_000])),
        local_rope_theta=float(draw.choice([500, 10_000])),
        norm_bias=bool(draw.integers(2)),
        attention_bias=bool(draw.integers(2)),
        mlp_bias=bool(draw.integers(2)),
        norm_eps=float(draw.choice([1e-5, 1e-12])),
        classifier_pooling=str(draw.choice(["cls", "mean"])),  # of rerankers: an encoder's pooling is the contract's
    )


def drawn_xlm_roberta(seed: int) -> XLMRobertaConfig:
    draw = np.random.default_rng(seed)
    heads = int(draw.integers(1, 5))
    return XLMRobertaConfig(
        vocab_size=VOCABULARY,
        hidden_size=heads * int(draw.integers(1, 33)),
        num_attention_heads=heads,
        intermediate_size=int(draw.integers(8, 90)),
        num_hidden_layers=int(draw.integers(1, 5)),
        max_position_embeddings=POSITIONS + 2,
        pad_token_id=1,
        type_vocab_size=1,
    )


def check_against_pytorch(config: PreTrainedConfig, folder: Path, rows: list[list[int]], *, seed: int = 0) -> None:
    saved(config, folder, scale=8, seed=seed)
    assert kernels_fault(folder) is None
    for pooling in ("mean", "cls"):
        contract = TextContract(pooling=pooling)
        expected = by_pytorch(folder, rows, contract)
        for instructions in ALL_INSTRUCTIONS:
            kernels = KernelEncoder.load(folder, contract, instructions=instructions)
            found = kernels.embed_ids(rows, pad_id=0)
            np.testing.assert_allclose(found, expected, atol=2e-5)
            alone = np.concatenate([kernels.embed_ids([row], pad_id=0) for row in rows])
            assert np.array_equal(alone, found)  # to the last bit, whatever else is in the batch


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("draw", [drawn_modernbert, drawn_xlm_roberta], ids=["modernbert", "xlm-roberta"])
def test_random_configurations_embed_as_pytorch_does(draw: Any, seed: int, tmp_path: Path) -> None:
    """Lengths up to all positions, so that windows are smaller than the text."""
    rows = [*some_rows(40, vocabulary=VOCABULARY), *([7, 8] * (POSITIONS // 2), [9] * (POSITIONS - 1))]
    check_against_pytorch(draw(seed), tmp_path, rows, seed=seed)


@pytest.mark.parametrize(
    "config",
    [
        XLMRobertaConfig(vocab_size=250_002, hidden_size=24, num_attention_heads=3, num_hidden_layers=2,
                         intermediate_size=40, max_position_embeddings=514, pad_token_id=1, type_vocab_size=1),
        BertConfig(vocab_size=250_037, hidden_size=24, num_attention_heads=3, num_hidden_layers=2,
                   intermediate_size=40, max_position_embeddings=512, pad_token_id=0),
    ],
    ids=["multilingual-e5-base", "multilingual-e5-small"],
)  # fmt: skip
def test_the_vocabulary_of_multilingual_e5(config: PreTrainedConfig, tmp_path: Path) -> None:
    """250,000 words, of which every id is one, and 512 tokens a text."""
    rows = [[0, 5, config.vocab_size - 1, 2], *some_rows(20, vocabulary=config.vocab_size), [5, 6] * 256]
    check_against_pytorch(config, tmp_path, rows)


def test_the_padding_token_in_a_text_has_no_position(tmp_path: Path) -> None:
    """Whoever types "<pad>" gets that token: XLM-R counts positions over the others."""
    check_against_pytorch(drawn_xlm_roberta(1), tmp_path, [[0, 1, 7, 8, 2], [0, 7, 1, 1, 8, 2], [1], [0, 9, 2, 1]])


def test_a_window_as_far_as_transformers_takes_it(tmp_path: Path) -> None:
    """A token further away than half the window changes nothing in a layer of local attention, one nearer does."""
    folder = saved(modernbert(num_hidden_layers=1, layer_types=["sliding_attention"]), tmp_path)
    kernels = KernelEncoder.load(folder, TextContract(pooling="cls"))
    row = [5] * 20
    embedding = kernels.embed_ids([row], pad_id=0)
    for place in range(1, 20):
        changed = kernels.embed_ids([[*row[:place], 6, *row[place + 1 :]]], pad_id=0)
        assert np.array_equal(changed, embedding) == (place > 4)


def test_the_order_of_tokens_counts(tmp_path: Path) -> None:
    """Else a rotation that did nothing would be no fault: rows of the same tokens, turned around, lie far apart."""
    for config in (modernbert(), drawn_xlm_roberta(0)):
        kernels = KernelEncoder.load(saved(config, tmp_path / config.model_type, scale=16), TextContract())
        rows = some_rows(30, vocabulary=VOCABULARY)[5:30]
        found, turned = (kernels.embed_ids(each, pad_id=0) for each in (rows, [row[::-1] for row in rows]))
        assert np.abs(found - turned).max(axis=1).min() > 1e-2


def test_layers_that_do_not_alternate(tmp_path: Path) -> None:
    kinds = ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention"]
    check_against_pytorch(modernbert(layer_types=kinds), tmp_path, some_rows(30, vocabulary=VOCABULARY))


UNKNOWN: dict[str, tuple[PreTrainedConfig, str]] = {
    "mpnet, relative positions": (
        MPNetConfig(vocab_size=VOCABULARY, hidden_size=32, num_attention_heads=2, num_hidden_layers=1),
        "model_type must be bert or roberta or xlm-roberta or modernbert, got mpnet",
    ),
    "nomic bert": (
        NomicBertConfig(vocab_size=VOCABULARY, hidden_size=32, num_attention_heads=2, num_hidden_layers=1),
        "model_type must be bert or roberta or xlm-roberta or modernbert, got nomic_bert",
    ),
    "xlm-roberta, gelu_new": (
        XLMRobertaConfig(vocab_size=VOCABULARY, hidden_size=32, num_attention_heads=2, hidden_act="gelu_new"),
        "hidden_act must be gelu, got gelu_new",
    ),
    "modernbert, silu": (modernbert(hidden_activation="silu"), "hidden_activation must be gelu, got silu"),
    "modernbert, stretched positions": (
        modernbert(rope_scaling={"rope_type": "linear", "factor": 2.0}),
        "rope_parameters of full_attention: rope_type must be default, got linear",
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_model_with_what_the_kernels_do_not_know_is_served_by_its_graph(
    name: str, generation: Generation, tokenizer: TextTokenizer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The graph is the generation's, of another encoder: which way is taken depends on the configuration alone."""
    config, fault = UNKNOWN[name]
    config.save_pretrained(tmp_path)
    shutil.copyfile(generation.folder / "encoder" / WEIGHTS_FILE, tmp_path / WEIGHTS_FILE)
    assert kernels_fault(tmp_path) == fault
    caplog.set_level(logging.DEBUG)
    graph, fingerprint = generation.cpu_graph("fp32"), generation.manifest.encoder_fingerprint
    assert isinstance(load_encoder(graph, tmp_path, tokenizer, fingerprint=fingerprint), OnnxEncoder)
    assert f"not on the kernels: {fault}" in caplog.text
    with pytest.raises(ModelError, match=f"the kernels must run .*, and cannot: {fault}"):
        load_encoder(graph, tmp_path, tokenizer, fingerprint=fingerprint, kernels="on")


def test_kernels_of_an_earlier_version_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(modernbert(), tmp_path)
    monkeypatch.delattr(trident_kernels.Encoder, "embed_together")
    assert kernels_fault(tmp_path) == "trident_kernels is of an earlier version; install it: pip install ./kernels"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"layer_types": None}, "its config.json has no layer_types or no rope_parameters"),
        ({"layer_types": ["full_attention", "chunked_attention"]}, "or sliding_attention, got chunked_attention"),
        ({"num_attention_heads": 16}, "a head must be of an even width, got 3"),
    ],
)
def test_configurations_of_modernbert_that_say_something_else(
    changes: dict[str, Any], fault: str, tmp_path: Path
) -> None:
    saved(modernbert(), tmp_path)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    (tmp_path / CONFIG_FILE).write_text(json.dumps(config | changes))
    assert fault in str(kernels_fault(tmp_path))


def test_weights_of_modernbert_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = saved(modernbert(norm_bias=True), tmp_path)
    weights = load_file(folder / WEIGHTS_FILE)
    del weights["layers.1.attn_norm.bias"]  # which the configuration says is there
    save_file(weights, folder / WEIGHTS_FILE)
    with pytest.raises(ModelError, match=r"weights must have layers\.1\.attn_norm\.bias"):
        KernelEncoder.load(folder, TextContract())
    words = {"embeddings.tok_embeddings.weight": np.zeros((9, 8), dtype=np.float32)}
    options: dict[str, Any] = {"heads": 2, "epsilon": 1e-5, "mean": True, "positions": 9}
    few = np.ones(1, dtype=np.float32)
    for windows, frequencies, message in (
        ([], [], "every layer must have a window and frequencies, got 0 and 0"),
        ([-1], [], "every layer must have a window and frequencies, got 1 and 0"),
        ([-1], [few], r"weights must have embeddings\.norm\.weight"),
    ):
        with pytest.raises(ValueError, match=message):
            trident_kernels.ModernBertEncoder(words, windows=windows, frequencies=frequencies, **options)
    with pytest.raises(ValueError, match="a head must be of an even width, got 1"):
        trident_kernels.ModernBertEncoder(words, windows=[-1], frequencies=[few], **(options | {"heads": 8}))


def test_a_modernbert_has_no_states(tmp_path: Path) -> None:
    kernels = KernelEncoder.load(saved(modernbert(), tmp_path), TextContract())
    for refused in (
        lambda: kernels.states([[5, 6]]),
        lambda: kernels.embed_states([np.zeros((2, kernels.dimension), dtype=np.float32)]),
    ):
        with pytest.raises(ModelError, match="states are those of a BERT encoder, got a ModernBERT"):
            refused()


def test_rows_that_are_too_long_are_refused(tmp_path: Path) -> None:
    for config in (modernbert(), drawn_xlm_roberta(0)):
        kernels = KernelEncoder.load(saved(config, tmp_path / config.model_type), TextContract())
        with pytest.raises(ModelError, match=f"every row must have 1 to {POSITIONS} tokens, got {POSITIONS + 1}"):
            kernels.embed_ids([[5] * (POSITIONS + 1)], pad_id=0)
